//! The operators that `include/mxhal_cann.h` declares, as text.

use std::path::Path;

/// The first function of an operator.
pub(crate) struct Declaration {
    /// The name of the operator's second function.
    pub(crate) function: String,
    /// Where the signature comes from.
    pub(crate) source: String,
    /// The parameters, without the workspace and the executor at the end.
    pub(crate) parameters: Vec<String>,
}

/// Each operator of the header, in its order.
pub(crate) fn operators() -> Vec<Declaration> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/mxhal_cann.h");
    let header = std::fs::read_to_string(path).unwrap();
    let table = header.split("typedef struct mxhal_aclnn_operators {").nth(1).unwrap();
    let mut found = Vec::new();
    for declaration in table.split("/**").skip(1) {
        let (comment, rest) = declaration.split_once("*/").unwrap();
        let source = comment.rsplit_once('(').unwrap().1.trim_end().trim_end_matches(')').to_owned();
        let name = rest.split_once("(*").unwrap().1.split_once(')').unwrap().0;
        let Some(function) = name.strip_suffix("GetWorkspaceSize") else { continue };
        let list = rest.split_once(")(").unwrap().1.split_once(");").unwrap().0;
        let mut parameters: Vec<String> =
            list.split(',').map(|one| one.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(parameters.pop().unwrap(), "aclOpExecutor **executor", "{function}");
        assert_eq!(parameters.pop().unwrap(), "uint64_t *workspaceSize", "{function}");
        found.push(Declaration { function: function.to_owned(), source, parameters });
    }
    found
}
