//! The table of signatures in the documentation is what the header declares. `MXHAL_BLESS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::header;

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
    let mut table = PREAMBLE.to_owned();
    let operators = header::operators();
    assert_eq!(operators.len(), 25, "operators found in the header");
    for header::Declaration { function, source, parameters } in operators {
        let parameters: Vec<String> = parameters
            .iter()
            .map(|parameter| {
                format!("`{}`", parameter.strip_prefix("const aclTensor *").unwrap_or(parameter))
            })
            .collect();
        writeln!(table, "| `{function}` | {source} | {} |", parameters.join(", ")).unwrap();
    }

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
