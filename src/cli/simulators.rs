//! Simulators: what stands in for a vendor's driver where there is none of its devices.
//!
//! A simulator is a library of this workspace that computes on the CPU under the names of a vendor's driver. It is looked
//! for beside this program, where cargo puts both, and then beside the plugin; it is laid out in a temporary folder as
//! the vendor lays its driver out, and the environment of the workers leads there. One more simulator is one more entry
//! of [`SIMULATORS`].

use std::env;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use mxhal_conformance::runner::{RunOptions, Target};
use mxhal_simulated_cann_install as cann;
use mxhal_simulated_cuda_install as cuda;

use super::failure::Usage;
use super::scratch_folder::ScratchFolder;

const SIMULATORS: &[Simulator] = &[
    Simulator {
        driver: "CANN",
        products: cann::PRODUCTS,
        package: "mxhal-simulated-cann",
        library: cann::LIBRARY,
        driver_options: &["cann_path", "kernels"],
        install: |folder, library, product, _| {
            let mut environment = cann::link(folder, library, cann::Libraries::Split)?;
            environment.insert(cann::PRODUCT_VARIABLE.to_owned(), product.to_owned());
            Ok(Installed { environment: environment.into_iter().collect(), ..Installed::default() })
        },
    },
    Simulator {
        driver: "CUDA",
        products: cuda::PRODUCTS,
        package: "mxhal-simulated-cuda",
        library: cuda::LIBRARY,
        driver_options: &[],
        install: |folder, library, product, plugin| {
            let environment = cuda::install(folder, library, product)?.into_iter().collect();
            if cuda::holds_device_code(plugin)? {
                return Ok(Installed { environment, ..Installed::default() });
            }
            let image = folder.join(cuda::STAND_IN).display().to_string();
            Ok(Installed {
                environment,
                options: vec![("device_code".to_owned(), image)],
                remark: "the plugin holds no device code: parameters of kernels were not compared with compiled code",
            })
        },
    },
];

/// What time limits are multiplied by: they are made for devices.
const SLOWER: f64 = 10.0;

/// What simulates the driver of one vendor.
#[derive(Debug)]
struct Simulator {
    /// The driver that is simulated.
    driver: &'static str,
    /// The products that it can be, by the names that the driver gives them.
    products: &'static [&'static str],
    /// The package that builds it.
    package: &'static str,
    /// The file that is built.
    library: &'static str,
    /// Options of backends that lead to a driver, or to code for its devices, which would be the real ones.
    driver_options: &'static [&'static str],
    /// Lays the library out in an empty folder, as a product, for a plugin.
    install: fn(&Path, &Path, &str, &Path) -> anyhow::Result<Installed>,
}

/// What leads a plugin to a simulator.
#[derive(Default)]
struct Installed {
    /// Variables with which a process finds it.
    environment: Variables,
    /// Options for the plugin, where they are not given.
    options: Variables,
    /// What reports say beside its name; may be empty.
    remark: &'static str,
}

/// Names and values.
type Variables = Vec<(String, String)>;

/// A product of which there is a simulator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    name: &'static str,
    simulator: &'static Simulator,
}

/// A simulator that is laid out, until this is dropped.
pub(super) struct Simulation {
    _folder: ScratchFolder,
}

/// Takes the names of products, and lists them.
pub(super) fn products() -> impl TypedValueParser<Value = Product> {
    PossibleValuesParser::new(all().map(|product| product.name))
        .try_map(|name| all().find(|product| product.name == name).ok_or("no such product"))
}

fn all() -> impl Iterator<Item = Product> {
    SIMULATORS
        .iter()
        .flat_map(|simulator| simulator.products.iter().map(move |name| Product { name, simulator }))
}

impl Product {
    /// As its driver and the command line name it.
    pub(super) const fn name(self) -> &'static str {
        self.name
    }

    /// Lays the simulator out, and leads the workers of a run to it.
    pub(super) fn simulate(self, options: &mut RunOptions) -> anyhow::Result<Simulation> {
        let Simulator { package, driver_options, install, .. } = *self.simulator;
        let Target::File { path, .. } = &options.target else {
            let text = "--simulate stands in for the driver that a plugin uses, and the embedded backend uses none; choose a \
                        plugin with --backend or --plugin";
            return Err(Usage(text.to_owned()).into());
        };
        let library = self.library(path)?;
        let folder = ScratchFolder::new()?;
        let Installed { environment, options: added, remark } =
            install(folder.path(), &library, self.name, path)?;
        let given = &mut options.host_options;
        given.retain(|(key, _)| !driver_options.contains(&&**key));
        for (key, value) in added {
            if given.iter().all(|(other, _)| *other != key) {
                given.push((key, value));
            }
        }
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
        options.worker.environment.extend(environment);
        options.time_factor *= SLOWER;
        let separator = if remark.is_empty() { "" } else { "; " };
        options.simulated = Some(format!("{package}, as {}{separator}{remark}", self.name));
        Ok(Simulation { _folder: folder })
    }

    fn library(self, plugin: &Path) -> anyhow::Result<PathBuf> {
        let Simulator { driver, package, library, .. } = *self.simulator;
        let program = env::current_exe()?;
        let tried: Vec<PathBuf> =
            [&*program, plugin].into_iter().map(|beside| beside.with_file_name(library)).collect();
        if let Some(found) = tried.iter().find(|path| path.is_file()) {
            // The link to it lies elsewhere.
            return Ok(std::path::absolute(found)?);
        }
        let tried: String = tried.iter().map(|path| format!("\n  {}", path.display())).collect();
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        let text = format!(
            "there is no simulator of {driver}; build it with `cargo build{profile} -p {package}`, in the target folder of \
             this program or of the plugin; looked for:{tried}"
        );
        Err(Usage(text).into())
    }
}
