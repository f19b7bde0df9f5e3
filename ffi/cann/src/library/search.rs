//! Where the libraries of CANN are looked for.

use std::env;
use std::path::{Path, PathBuf};

/// Where CANN is installed when nobody says where; `~` is the user's home. In this order, after `ASCEND_HOME_PATH`.
pub const USUAL_PLACES: &[&str] = &[
    "/usr/local/Ascend/ascend-toolkit/latest",
    "/usr/local/Ascend/cann",
    "~/Ascend/ascend-toolkit/latest",
    "~/Ascend/cann",
];

/// Where to look for CANN.
///
/// An installation is a folder with a `lib64`. The first one that has the runtime library is taken, and everything else
/// comes from it: the libraries of two installations are never mixed. Only operators of one's own, `libcust_opapi.so`,
/// may lie elsewhere, under `ASCEND_OPP_PATH`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search {
    /// The folders that may be an installation, first choice first.
    pub roots: Vec<PathBuf>,
    /// The folder of the operator package, with `vendors` in it: `ASCEND_OPP_PATH`. `opp` of the installation is
    /// looked at after it.
    pub opp: Option<PathBuf>,
}

impl Search {
    /// As the environment and the configuration say.
    ///
    /// With a `cann_path` it is the only installation considered; without one `ASCEND_HOME_PATH` is, and then
    /// [`USUAL_PLACES`].
    pub fn from_environment(cann_path: Option<&Path>) -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let roots = match cann_path {
            Some(path) => vec![path.to_owned()],
            None => places(variable("ASCEND_HOME_PATH"), variable("HOME").as_deref()),
        };
        Self { roots, opp: variable("ASCEND_OPP_PATH") }
    }

    /// Every path at which the runtime's library may lie, in the order in which they are tried. Nothing is opened.
    pub fn runtime_candidates(&self) -> Vec<PathBuf> {
        let folders = self.roots.iter().flat_map(|root| library_folders(root));
        folders.flat_map(|folder| super::RUNTIME_LIBRARIES.map(|name| folder.join(name))).collect()
    }

    /// This installation and nothing else.
    pub fn only(root: impl Into<PathBuf>) -> Self {
        Self { roots: vec![root.into()], opp: None }
    }

    /// The same with this folder of operators of one's own.
    pub fn with_opp(mut self, opp: impl Into<PathBuf>) -> Self {
        self.opp = Some(opp.into());
        self
    }
}

/// The folders of an installation that hold libraries.
pub(super) fn library_folders(root: &Path) -> [PathBuf; 2] {
    [root.join("lib64"), root.join(format!("{}-linux", env::consts::ARCH)).join("lib64")]
}

/// The libraries that may hold operators, first choice first: those of the user, the split ones, the single one.
pub(super) fn operator_libraries(root: &Path, opp: Option<&Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for opp in opp.into_iter().map(Path::to_owned).chain([root.join("opp")]) {
        for vendor in sorted_entries(&opp.join("vendors")) {
            found.push(vendor.join("op_api").join("lib").join("libcust_opapi.so"));
        }
    }
    for folder in library_folders(root) {
        found.extend(sorted_entries(&folder).into_iter().filter(|path| is_split_library(path)));
    }
    for folder in library_folders(root) {
        found.push(folder.join("libopapi.so"));
    }
    found.retain(|path| path.is_file());
    found.dedup();
    found
}

fn places(home: Option<PathBuf>, user_home: Option<&Path>) -> Vec<PathBuf> {
    let usual = USUAL_PLACES.iter().filter_map(|place| match place.strip_prefix("~/") {
        Some(rest) => user_home.map(|user_home| user_home.join(rest)),
        None => Some(PathBuf::from(place)),
    });
    home.into_iter().chain(usual).collect()
}

fn is_split_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("libopapi_") && name.ends_with(".so")
}

/// The entries of a folder in alphabetical order; none where it cannot be read.
fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_places_follow_the_environment_and_the_home_folder_is_filled_in() {
        let places = places(Some("/opt/cann".into()), Some(Path::new("/home/anna")));
        assert_eq!(places[0], Path::new("/opt/cann"));
        assert_eq!(places.len(), 1 + USUAL_PLACES.len());
        assert!(places.contains(&PathBuf::from("/home/anna/Ascend/cann")), "{places:?}");
    }

    #[test]
    fn without_a_home_folder_the_places_under_it_are_left_out() {
        let places = places(None, None);
        assert!(places.iter().all(|place| place.is_absolute()), "{places:?}");
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn a_given_path_is_the_only_one() {
        assert_eq!(Search::from_environment(Some(Path::new("/a/b"))).roots, [PathBuf::from("/a/b")]);
    }

    #[test]
    fn operators_of_ones_own_come_first_then_the_split_libraries_then_the_single_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let opp = folder.path().join("opp");
        for file in
            ["lib64/libopapi.so", "lib64/libopapi_nn.so", "lib64/libopapi_math.so", "lib64/libascendcl.so"]
        {
            std::fs::create_dir_all(root.join("lib64")).unwrap();
            std::fs::write(root.join(file), "").unwrap();
        }
        for (opp, vendor) in [(&opp, "zeta"), (&opp, "alpha"), (&root.join("opp"), "customize")] {
            let lib = opp.join("vendors").join(vendor).join("op_api/lib");
            std::fs::create_dir_all(&lib).unwrap();
            std::fs::write(lib.join("libcust_opapi.so"), "").unwrap();
        }
        let found = operator_libraries(&root, Some(&opp));
        let short: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(
            short,
            [
                "opp/vendors/alpha/op_api/lib/libcust_opapi.so",
                "opp/vendors/zeta/op_api/lib/libcust_opapi.so",
                "root/opp/vendors/customize/op_api/lib/libcust_opapi.so",
                "root/lib64/libopapi_math.so",
                "root/lib64/libopapi_nn.so",
                "root/lib64/libopapi.so",
            ]
        );
    }
}
