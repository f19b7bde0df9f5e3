"""Compares include/mxhal_cann.h with the ACL headers of a torch-npu package, declaration by declaration.

usage: verify.py FOLDER_OF_THE_ACL_HEADERS

Both sides are parsed by libclang and only what they mean is compared: the canonical types of a function's result and
parameters, the values of enumerators and of constants, the offsets and sizes of members. Nothing of the headers' text
is printed or kept. The aclnn operators, the functions about tensors and executors and their error numbers are not among those headers;
of the rest, one that is absent is a fault like one that differs. Exit status: 0 all agrees, 1 something does not, 2
ours cannot be parsed.
"""

import collections
import pathlib
import subprocess
import sys
import tempfile

from clang.cindex import Config, CursorKind, Index, TranslationUnit, TypeKind

HERE = pathlib.Path(__file__).resolve().parent
RUNTIME, *_ = TABLES = ("mxhal_acl_runtime", "mxhal_acl_meta", "mxhal_aclnn_operators")


class Side:
    """What one set of headers declares."""

    def __init__(self):
        self.functions, self.enumerators, self.constants, self.layouts = {}, {}, {}, {}
        self.structs = {}
        # What the package's headers need not have.
        self.elsewhere = set()


def main():
    theirs_folder = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        ours = read_ours(pathlib.Path(scratch))
        theirs = read_theirs(theirs_folder, ours, pathlib.Path(scratch))
    rows = (
        compare("function", ours.functions, theirs.functions, ours.elsewhere)
        + compare("enumerator", ours.enumerators, theirs.enumerators, ours.elsewhere)
        + compare("constant", ours.constants, theirs.constants, ours.elsewhere)
        + compare("layout", ours.layouts, theirs.layouts, ours.elsewhere)
    )
    width = max(len(name) for _, name, _, _ in rows)
    everything = "--all" in sys.argv
    for kind, name, verdict, detail in rows:
        if everything or verdict in ("DIFFERS", "ABSENT"):
            print(f"{kind:<10}  {name:<{width}}  {verdict}{'  ' + detail if detail else ''}")
    counts = collections.Counter(verdict for _, _, verdict, _ in rows)
    print(f"\n{len(rows)} declarations: {counts['ok']} ok, {counts['DIFFERS']} differ, {counts['ABSENT']} absent, "
          f"{counts['not in the headers']} not in the headers, as expected")
    return 1 if counts["DIFFERS"] or counts["ABSENT"] else 0


def compare(kind, ours, theirs, elsewhere):
    rows = []
    for name, mine in ours.items():
        if name not in theirs:
            rows.append((kind, name, "not in the headers" if name in elsewhere else "ABSENT", ""))
        elif theirs[name] == mine:
            rows.append((kind, name, "ok", ""))
        else:
            rows.append((kind, name, "DIFFERS", f"ours {mine}, there {theirs[name]}"))
    return rows


def read_ours(scratch):
    side = Side()
    header = HERE / "include" / "mxhal_cann.h"
    unit = parse(header, ["-x", "c++", "-std=c++17"])
    macros = [
        node.spelling
        for node in unit.cursor.get_children()
        if node.kind == CursorKind.MACRO_DEFINITION
        and node.location.file
        and pathlib.Path(node.location.file.name).resolve() == header
        and node.spelling != "MXHAL_CANN_H"
    ]
    side.elsewhere.update(name for name in macros if name.startswith("ACLNN_"))
    probe = scratch / "ours.cpp"
    write_probe(probe, [header], macros)
    unit = parse(probe, ["-std=c++17"])
    collect(unit, side)
    for table in TABLES:
        for name, cursor in side.structs[table]:
            side.functions[name] = signature(cursor.type.get_pointee())
            if table != RUNTIME:
                side.elsewhere.add(name)
        del side.layouts[table]
    for name in [name for name in side.layouts if not name.startswith("acl")]:
        del side.layouts[name]
    return side


def read_theirs(folder, ours, scratch):
    headers = sorted(folder.rglob("*.h"))
    if not headers:
        raise SystemExit(f"not verified: no headers under {folder}")
    include = [f"-I{folder}", f"-I{folder.parent}"]
    # First which of the names are there at all, then their values.
    probe = scratch / "theirs.cpp"
    write_probe(probe, headers, [])
    unit = parse(probe, ["-std=c++17", *include])
    present = {
        node.spelling
        for node in unit.cursor.walk_preorder()
        if node.kind in (CursorKind.MACRO_DEFINITION, CursorKind.VAR_DECL)
    }
    write_probe(probe, headers, [name for name in ours.constants if name in present])
    side = Side()
    collect(parse(probe, ["-std=c++17", *include]), side)
    # A flag that the headers write as a macro and we as an enumerator, or the other way round, is the same number.
    for name in ours.constants:
        if name not in side.constants and name in side.enumerators:
            side.constants[name] = side.enumerators[name]
    return side


def write_probe(path, headers, constants):
    """A source that includes the headers and gives each constant as an enumerator."""
    lines = [f'#include "{header}"' for header in headers]
    lines += [f"enum : long long {{ probe_{name} = (long long)({name}) }};" for name in constants]
    path.write_text("\n".join(lines) + "\n")


def parse(path, arguments):
    unit = Index.create().parse(
        str(path),
        args=[*arguments, *system_headers()],
        options=TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD,
    )
    # Their headers are C++ in places and want others that the package does not carry: what could not be read is
    # reported as not being there, but a fault in ours is fatal.
    faults = [fault for fault in unit.diagnostics if fault.severity >= 3]
    for fault in faults[:5]:
        print(f"note: {path.name}: {fault.spelling}", file=sys.stderr)
    if faults and "ours" in path.name:
        raise SystemExit(2)
    return unit


def system_headers():
    """The pip package of libclang has no stddef.h of its own; the C compiler's will do."""
    folders = []
    for compiler, question in (("cc", "include"), ("cc", "include-fixed")):
        answer = subprocess.run([compiler, f"-print-file-name={question}"], capture_output=True, text=True)
        folders.append(f"-I{answer.stdout.strip()}")
    return folders


def collect(unit, side):
    for node in unit.cursor.walk_preorder():
        if node.kind == CursorKind.FUNCTION_DECL:
            side.functions.setdefault(node.spelling, signature(node.type))
        elif node.kind == CursorKind.ENUM_CONSTANT_DECL:
            name = node.spelling
            if name.startswith("probe_"):
                side.constants[name.removeprefix("probe_")] = node.enum_value
            else:
                side.enumerators.setdefault(name, node.enum_value)
        elif node.kind in (CursorKind.STRUCT_DECL, CursorKind.UNION_DECL) and node.is_definition():
            layout(node, node.spelling, side)
        elif node.kind == CursorKind.TYPEDEF_DECL and node.spelling.startswith("acl"):
            # A structure that has its name by a typedef only.
            under = node.underlying_typedef_type.get_canonical().get_declaration()
            if under.kind in (CursorKind.STRUCT_DECL, CursorKind.UNION_DECL) and under.is_definition():
                if under.spelling != node.spelling:
                    layout(under, node.spelling, side)


def layout(node, name, side):
    members = [child for child in node.get_children() if child.kind == CursorKind.FIELD_DECL]
    side.structs.setdefault(name, [(child.spelling, child) for child in members])
    side.layouts.setdefault(
        name,
        (node.type.get_size(), node.type.get_align())
        + tuple(
            sorted(
                (child.spelling, child.get_field_offsetof() // 8, child.type.get_size())
                for child in members
            )
        ),
    )


def signature(function):
    return (spelled(function.get_result()),) + tuple(spelled(kind) for kind in function.argument_types())


def spelled(kind):
    """The canonical type, with what C++ and C call differently brought to one form."""
    text = kind.get_canonical().spelling
    for word in ("struct ", "enum ", "union "):
        text = text.replace(word, "")
    # What is const itself, rather than what it points to, is no part of a signature.
    if kind.get_canonical().kind == TypeKind.POINTER:
        text = text.removesuffix("const")
    else:
        text = text.removeprefix("const ")
    return text.replace("_Bool", "bool")


if __name__ == "__main__":
    sys.exit(main())
