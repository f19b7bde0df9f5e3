//! The table of signatures in the documentation is what the header declares. `MXHAL_BLESS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

const PREAMBLE: &str = "\
The operators of aclnn as `include/mxhal_cann.h` declares them, each with where its signature comes from.

Given are the parameters of the first function, `aclnn…GetWorkspaceSize`, without the last two, which are the same for
all: `uint64_t *workspaceSize, aclOpExecutor **executor`. The second function always takes
`void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream`. A parameter without a type is a
`const aclTensor *`.

Sources: NN is the repository hicann/ops-nn (2026-08), TR mirror-cann/ops-transformer (2026-07), OP Ascend/op-plugin; H is
a hand-written header there, D documentation and callers only, because CANN generates the header when it is built.

| function | source | parameters |
| --- | --- | --- |
";

#[test]
fn the_table_of_signatures_is_that_of_the_header() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = std::fs::read_to_string(root.join("include/mxhal_cann.h")).unwrap();
    let mut table = PREAMBLE.to_owned();
    let mut rows = 0;
    for (function, source, parameters) in operators(&header) {
        writeln!(table, "| `{function}` | {source} | {parameters} |").unwrap();
        rows += 1;
    }
    assert_eq!(rows, 25, "operators found in the header");

    let checked_in = root.join("src/signatures.md");
    if std::env::var_os("MXHAL_BLESS").is_some() {
        std::fs::write(&checked_in, &table).unwrap();
    }
    let found = std::fs::read_to_string(&checked_in).unwrap();
    assert!(
        found == table,
        "src/signatures.md is not what the header gives; write it anew with MXHAL_BLESS=1"
    );
}

/// Name, source and parameters of each first function, in the header's order.
fn operators(header: &str) -> Vec<(String, String, String)> {
    let table = header.split("typedef struct mxhal_aclnn_operators {").nth(1).unwrap();
    let mut found = Vec::new();
    let mut source = String::new();
    for declaration in table.split("/**").skip(1) {
        let (comment, rest) = declaration.split_once("*/").unwrap();
        if let Some((_, tag)) = comment.rsplit_once('(') {
            source = tag.trim_end().trim_end_matches(')').to_owned();
        }
        let name = rest.split_once("(*").unwrap().1.split_once(')').unwrap().0;
        let Some(function) = name.strip_suffix("GetWorkspaceSize") else { continue };
        let list = rest.split_once(")(").unwrap().1.split_once(");").unwrap().0;
        let parameters: Vec<String> =
            list.split(',').map(|one| one.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let (last_two, own) = (&parameters[parameters.len() - 2..], &parameters[..parameters.len() - 2]);
        assert_eq!(last_two, ["uint64_t *workspaceSize", "aclOpExecutor **executor"], "{function}");
        let own: Vec<String> = own
            .iter()
            .map(|one| match one.strip_prefix("const aclTensor *") {
                Some(name) => format!("`{name}`"),
                None => format!("`{one}`"),
            })
            .collect();
        found.push((function.to_owned(), source.clone(), own.join(", ")));
    }
    found
}
