#!/usr/bin/env python3
"""What on-device.sh measured, as a section for docs/performance.md.

    performance.py FOLDER

FOLDER is that of on-device.sh's results: bench.json, and where they are there graph.json, ceilings.log, device.csv and
clocks.csv. Fractions of a copy are bytes touched over the rate of the copy kernel, which counts what it reads and what it
writes; fractions of the BF16 product are operations over the rate of cuBLAS. Both are of the same machine, minutes apart.
"""

import datetime
import json
import pathlib
import statistics
import sys

# Fewer rows than this are bound by memory, and set beside a copy.
FEW_ROWS = 64

# What is wanted on Hopper: name, cases (operator, scheme), rows, what it is a fraction of, least fraction.
GOALS = [
    ("layer of experts, W4A16, 1 to 8 tokens", "moe-ffn", "bf16", range(1, 9), "copy", 0.75),
    ("product, W4A16, 1 to 8 rows", "matmul", "bf16", range(1, 9), "copy", 0.80),
    ("product, W4A16, 4096 rows", "matmul", "bf16", range(4096, 4097), "cublas", 0.60),
    ("quantize, rows that no cache holds", "quantize", None, range(4097, 1 << 31), "copy", 0.80),
]


def read_ceilings(folder):
    """The JSON object that bench/ceilings.cu printed; nothing where it was not run."""
    log = folder / "ceilings.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return next((json.loads(line) for line in lines if line.startswith("{")), {})


def read_clocks(folder):
    """The median of the multiprocessors' clock while they were measured; nothing where it was not watched."""
    watched = folder / "clocks.csv"
    lines = watched.read_text().splitlines()[1:] if watched.exists() else []
    clocks = [line.split(",")[0].split()[0] for line in lines if line.strip()]
    clocks = [int(clock) for clock in clocks if clock.isdigit()]
    return f"; clock while measured {statistics.median(clocks):.0f} MHz (median)" if clocks else ""


def fractions(case, ceilings):
    """Of the copy kernel's and of cuBLAS's rate; None where it is not known."""
    seconds = case["seconds"]["median"]
    copy, product = ceilings.get("copy_bytes_per_second"), ceilings.get("bf16_4096_flops")
    return {
        "copy": case["bytes"] / seconds / copy if copy else None,
        "cublas": case["flops"] / seconds / product if product else None,
    }


def duration(seconds):
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.4g} {unit}"
    return f"{seconds:.3g} s"


def cell(case, ceilings):
    if case is None:
        return ""
    if not case.get("seconds"):
        return "refused"
    seconds, shares = case["seconds"]["median"], fractions(case, ceilings)
    if case["scheme"] is None or case["rows"] < FEW_ROWS:
        rate, share, of = f"{case['bytes'] / seconds / 1e9:.0f} GB/s", shares["copy"], "copy"
    else:
        rate, share, of = f"{case['flops'] / seconds / 1e12:.3g} TFLOP/s", shares["cublas"], "cuBLAS"
    return f"{duration(seconds)}, {rate}" + (f", {share:.2f} of {of}" if share is not None else "")


def sweep(title, cases, ceilings):
    """One table of an operator and shape: rows down, schemes across."""
    schemes = list(dict.fromkeys(case["scheme"] for case in cases))
    rows = sorted({case["rows"] for case in cases})
    at = {(case["rows"], case["scheme"]): case for case in cases}
    lines = ["", f"### {title}", "", "| rows | " + " | ".join(f"`{scheme}`" for scheme in schemes) + " |"]
    lines.append("| ---: |" + " ---: |" * len(schemes))
    for count in rows:
        cells = (cell(at.get((count, scheme)), ceilings) for scheme in schemes)
        lines.append(f"| {count} | " + " | ".join(cells) + " |")
    return lines


def goals(cases, ceilings):
    lines = ["", "| wanted on Hopper | at least | reached |", "| --- | ---: | --- |"]
    for name, operator, scheme, rows, of, least in GOALS:
        found = []
        for case in cases:
            matches = case["name"].startswith(operator + "/") and scheme in (None, case["scheme"]) and case["rows"] in rows
            share = fractions(case, ceilings)[of] if matches and case.get("seconds") else None
            if share is not None:
                found.append(f"{share:.2f} ({case['name'].split('/', 1)[1]})")
        lines.append(f"| {name} | {least:.2f} of {'copy' if of == 'copy' else 'cuBLAS'} | {', '.join(found) or 'not measured'} |")
    return lines


def graphs(folder, cases, ceilings):
    """Runs that the host enqueued one by one, beside the same as one graph."""
    if not (folder / "graph.json").exists():
        return ["", "Graphs were not measured."]
    enqueued = {case["name"]: case for case in cases}
    lines = ["", "### Runs as one graph", "", "| case | enqueued one by one | as a graph | graph : one by one |", "| --- | ---: | ---: | ---: |"]
    for case in json.loads((folder / "graph.json").read_text())["runs"][0]["cases"]:
        alone = enqueued.get(case["name"])
        if case.get("seconds") and alone and alone.get("seconds"):
            ratio = case["seconds"]["median"] / alone["seconds"]["median"]
            lines.append(f"| `{case['name']}` | {cell(alone, ceilings)} | {cell(case, ceilings)} | {ratio:.2f} |")
    return lines


def section(folder):
    report, ceilings = json.loads((folder / "bench.json").read_text()), read_ceilings(folder)
    run = report["runs"][0]
    cases, device = run["cases"], run["device"]
    date = datetime.datetime.fromtimestamp(report["started"], datetime.timezone.utc).date()
    lines = [f"## The CUDA backend on {device['name']}", ""]
    if (folder / "device.csv").exists():
        fields = [field.strip() for field in (folder / "device.csv").read_text().strip().split(",")]
        device_line = "driver {1}, compute capability {2}, clocks of at most {3} (SM) and {4} (memory)".format(*fields)
    else:
        device_line = device["driver"]
    lines.append(f"Measured on {date} by `kernels-cuda/on-device.sh`: {device_line}{read_clocks(folder)}.")
    if ceilings:
        product = (
            f"cuBLAS's BF16 product, {ceilings['bf16_4096_flops'] / 1e12:.4g} TFLOP/s of 4096 cubed and "
            f"{ceilings['bf16_8192_flops'] / 1e12:.4g} of 8192 cubed"
            if "bf16_4096_flops" in ceilings
            else "there was no cuBLAS to measure"
        )
        lines += ["", f"Ceilings: a copy kernel, {ceilings['copy_bytes_per_second'] / 1e12:.3g} TB/s (read and written); {product}."]
    else:
        lines += ["", "The copy kernel and cuBLAS were not measured: there are no fractions."]
    lines += goals(cases, ceilings)
    shapes = dict.fromkeys(case["name"].rsplit("/", 2)[0] for case in cases if case["scheme"])
    for shape in shapes:
        of_shape = [case for case in cases if case["scheme"] and case["name"].rsplit("/", 2)[0] == shape]
        lines += sweep(f"`{shape}`", of_shape, ceilings)
    lines += graphs(folder, cases, ceilings)
    others = [case for case in cases if not case["scheme"]]
    lines += ["", "### Row by row", "", "| case | |", "| --- | ---: |"]
    lines += [f"| `{case['name']}` | {cell(case, ceilings)} |" for case in others]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    print(section(pathlib.Path(sys.argv[1])))
