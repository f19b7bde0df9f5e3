//! Finding and opening CANN: what is tried, what is chosen, what is said when it is not there.

use crate::header;
use crate::installation::{self, Installation};
use mxhal_cann::library::{Library, LoadError, Operator, Search};

fn refused(search: &Search) -> LoadError {
    Library::open(search).expect_err("nothing there to open")
}

#[test]
fn without_an_installation_every_path_that_was_tried_is_listed() {
    let (one, other) = (Installation::empty(), Installation::empty());
    let mut search = Search::only(one.root());
    search.roots.push(other.root().to_owned());
    let text = refused(&search).to_string();
    for installation in [&one, &other] {
        for name in ["libacl_rt.so", "libascendcl.so"] {
            let path = installation.lib64(name);
            assert!(text.contains(&format!("{}: no such file", path.display())), "{text}");
        }
    }
    assert!(text.contains("ASCEND_HOME_PATH") && text.contains("cann_path"), "{text}");
}

#[test]
fn without_any_folder_the_error_says_that_none_was_named() {
    let text = refused(&Search::default()).to_string();
    assert!(text.contains("no folder was named"), "{text}");
}

#[test]
fn a_file_that_is_no_library_is_refused_with_the_reason() {
    let installation = Installation::empty();
    std::fs::write(installation.lib64("libacl_rt.so"), "not a library").unwrap();
    let error = refused(&Search::only(installation.root()));
    let tried = error.tried.iter().find(|tried| tried.path == installation.lib64("libacl_rt.so")).unwrap();
    assert_ne!(tried.reason, "no such file");
    assert!(!tried.reason.is_empty());
}

#[test]
fn a_runtime_that_lacks_a_function_is_refused_by_its_name_and_the_other_library_is_taken() {
    let installation = Installation::empty();
    installation::compile(&installation.lib64("libacl_rt.so"), "", &["-DWITHOUT_MALLOC"]);
    let error = refused(&Search::only(installation.root()));
    assert!(error.tried.iter().any(|tried| tried.reason == "lacks aclrtMalloc"), "{error}");

    installation::compile(&installation.lib64("libascendcl.so"), "", &[]);
    installation::compile(&installation.lib64("libnnopbase.so"), "", &[]);
    let library = Library::open(&Search::only(installation.root())).unwrap();
    assert_eq!(
        library.opened(),
        [installation.lib64("libascendcl.so"), installation.lib64("libnnopbase.so")]
    );
}

#[test]
fn without_the_library_of_tensors_the_error_names_it() {
    let installation = Installation::empty();
    installation::compile(&installation.lib64("libacl_rt.so"), "", &[]);
    let text = refused(&Search::only(installation.root())).to_string();
    assert!(
        text.contains(&format!("{}: no such file", installation.lib64("libnnopbase.so").display())),
        "{text}"
    );
}

#[test]
fn the_first_installation_that_has_the_runtime_is_taken() {
    let (empty, complete) = (Installation::empty(), Installation::complete());
    let mut search = Search::only(empty.root());
    search.roots.push(complete.root().to_owned());
    assert_eq!(Library::open(&search).unwrap().root(), complete.root());
}

#[test]
fn the_newest_version_that_has_both_functions_is_chosen() {
    for (has, expected) in
        [(3, "aclnnDynamicMxQuantV3"), (2, "aclnnDynamicMxQuantV2"), (1, "aclnnDynamicMxQuant")]
    {
        let installation = Installation::with_operators(|name| {
            !(has < 3 && name.starts_with("aclnnDynamicMxQuantV3")
                || has < 2 && name.starts_with("aclnnDynamicMxQuantV2"))
        });
        let library = Library::open(&Search::only(installation.root())).unwrap();
        let chosen = library.operator(Operator::DynamicMxQuant).chosen().unwrap();
        assert_eq!((chosen.symbol, chosen.number), (expected, has));
        assert_eq!(chosen.found.as_deref(), Ok(installation.lib64("libopapi.so").as_path()));
    }
}

#[test]
fn half_an_operator_is_none_and_the_reason_names_the_function_that_is_absent() {
    let installation = Installation::with_operators(|name| {
        name != "aclnnDynamicMxQuantV3"
            && name != "aclnnMoeGatingTopKV2GetWorkspaceSize"
            && !name.contains("SwiGlu")
    });
    let library = Library::open(&Search::only(installation.root())).unwrap();

    let quantise = library.operator(Operator::DynamicMxQuant);
    assert_eq!(quantise.chosen().unwrap().number, 2);
    let reason = quantise.versions[0].found.as_ref().unwrap_err();
    assert!(
        reason.contains("has aclnnDynamicMxQuantV3GetWorkspaceSize, but not aclnnDynamicMxQuantV3"),
        "{reason}"
    );
    assert!(library.operator_table().aclnnDynamicMxQuantV3GetWorkspaceSize.is_none());

    let gate = &library.operator(Operator::MoeGatingTopK).versions[0];
    assert!(gate.found.as_ref().unwrap_err().ends_with("but not aclnnMoeGatingTopKV2GetWorkspaceSize"));

    let absent = library.operator(Operator::SwiGlu);
    assert!(absent.chosen().is_none());
    let expected =
        format!("SwiGlu: not available; aclnnSwiGlu: not in {}", installation.lib64("libopapi.so").display());
    assert_eq!(absent.to_string(), expected);
}

#[test]
fn every_operator_of_the_header_is_looked_for() {
    let installation = Installation::complete();
    let library = Library::open(&Search::only(installation.root())).unwrap();
    assert_eq!(library.operators().len(), Operator::ALL.len());
    let mut symbols: Vec<&str> = library
        .operators()
        .iter()
        .flat_map(|operator| &operator.versions)
        .map(|version| version.symbol)
        .collect();
    assert!(
        library
            .operators()
            .iter()
            .all(|operator| operator.versions.iter().all(|version| version.found.is_ok()))
    );
    let declared = header::operators();
    let mut declared: Vec<&str> = declared.iter().map(|declaration| declaration.function.as_str()).collect();
    symbols.sort_unstable();
    declared.sort_unstable();
    assert_eq!(symbols, declared);
}

#[test]
fn split_libraries_and_operators_of_ones_own_come_before_the_single_library() {
    let installation = Installation::complete();
    let split = installation.lib64("libopapi_nn.so");
    installation::compile(
        &split,
        &installation::operators(&|name: &str| name.contains("DynamicMxQuant")),
        &[],
    );
    let opp = installation.root().join("elsewhere");
    let own = opp.join("vendors/mine/op_api/lib/libcust_opapi.so");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    installation::compile(
        &own,
        &installation::operators(&|name: &str| name.contains("DynamicMxQuantV2")),
        &[],
    );

    let library = Library::open(&Search::only(installation.root()).with_opp(&opp)).unwrap();
    let quantise = library.operator(Operator::DynamicMxQuant);
    let places: Vec<_> = quantise.versions.iter().map(|version| version.found.clone().unwrap()).collect();
    assert_eq!(places, [split.clone(), own, split]);
    let matmul = library.operator(Operator::QuantMatmul).chosen().unwrap().found.clone().unwrap();
    assert_eq!(matmul, installation.lib64("libopapi.so"));
}

#[test]
fn an_operator_library_that_cannot_be_opened_is_named_where_its_operators_are_missed() {
    let installation = Installation::with_operators(|_| false);
    let broken = installation.lib64("libopapi_nn.so");
    std::fs::write(&broken, "not a library").unwrap();
    let library = Library::open(&Search::only(installation.root())).unwrap();
    let text = library.operator(Operator::QuantMatmul).to_string();
    assert!(text.contains(&format!("{} could not be opened", broken.display())), "{text}");
}
