//! From kernels' sources to a shared library.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::{Checks, Error};

/// Compiles `sources` (CUDA C++), which find their headers in `includes`, to a shared library in `folder`, and gives
/// its path. A library that was made from the same files before is used as it is.
///
/// # Errors
///
/// [`Error::Compiler`] with what the compiler said, and [`Error::File`].
pub fn compile(
    sources: &[PathBuf],
    includes: &[PathBuf],
    checks: Checks,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runtime =
        ["fibers.cpp", "guard.cpp", "mbarrier.cpp", "memory.cpp", "tensor_map.cpp", "tensor_memory.cpp"]
            .map(|name| here.join("src").join(name));
    let mut headers = vec![here.join("include"), here.join("src")];
    headers.extend_from_slice(includes);

    let compiler = compiler(checks)?;
    let mut common = DefaultHasher::new();
    checks.hash(&mut common);
    compiler.path().hash(&mut common);
    compiler.args().hash(&mut common);
    for folder in &headers {
        hash_files(entries(folder)?, &mut common)?;
    }
    let mut hasher = common.clone();
    hash_files(sources.iter().chain(&runtime).cloned(), &mut hasher)?;
    let library = folder.join(format!("libkernels-{:016x}.so", hasher.finish()));
    if library.is_file() {
        return Ok(library);
    }

    // Objects are kept, for libraries that share some of their sources. Others may compile the same at the same time:
    // each under names of its own, and the last step is a rename.
    let objects = folder.join("objects");
    fs::create_dir_all(&objects).map_err(|error| Error::File(objects.clone(), error))?;
    let own = format!("{}-{:?}", std::process::id(), std::thread::current().id());
    let mut made = Vec::new();
    let mut steps = Vec::new();
    let instrumented = sources.iter().map(|source| (source, checks == Checks::On));
    for (source, instrument) in runtime.iter().map(|source| (source, false)).chain(instrumented) {
        let mut hasher = common.clone();
        hash_files([source.clone()], &mut hasher)?;
        let object = objects.join(format!("{:016x}.o", hasher.finish()));
        made.push(object.clone());
        if object.is_file() {
            continue;
        }
        let unfinished = object.with_extension(&own);
        let mut command = compiler.to_command();
        command.args(["-std=c++17", "-ffp-contract=off", "-fvisibility=hidden", "-g1", "-Wall", "-Wextra"]);
        // Tensor maps are passed by value, aligned to 128 bytes: as every GCC since 4.6 does it.
        command.args(["-Wno-unknown-pragmas", "-Wno-tsan", "-Wno-psabi", "-U_FORTIFY_SOURCE"]);
        if checks == Checks::On {
            command.arg("-DMXHAL_CHECKED");
        }
        if instrument {
            command.args(["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"]);
        }
        command.args(headers.iter().map(|folder| prefixed("-I", folder)));
        command.args(["-c", "-x", "c++"]).arg(source).arg("-o").arg(&unfinished);
        steps.push((command, unfinished, object));
    }
    let (commands, renames): (Vec<_>, Vec<_>) =
        steps.into_iter().map(|(command, from, to)| (command, (from, to))).unzip();
    run_all(commands)?;
    for (from, to) in renames {
        fs::rename(&from, &to).map_err(|error| Error::File(to.clone(), error))?;
    }

    let linked = library.with_extension(&own);
    let mut link = compiler.to_command();
    link.args(["-shared", "-Wl,--no-undefined", "-o"]).arg(&linked).args(&made).args(["-ldl", "-lm"]);
    run(link)?;
    fs::rename(&linked, &library).map_err(|error| Error::File(library.clone(), error))?;
    Ok(library)
}

/// The kernels' sources in a folder: every `.cu` but `all.cu`, which is all of them as nvcc is given them.
///
/// # Errors
///
/// [`Error::File`] where the folder cannot be read.
pub fn kernel_sources(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut sources = entries(folder)?;
    sources.retain(|path| {
        path.extension().is_some_and(|extension| extension == "cu") && !path.ends_with("all.cu")
    });
    Ok(sources)
}

fn compiler(checks: Checks) -> Result<cc::Tool, Error> {
    // Loops of the models of instructions become vectors; what calls the checks at each access has no such loops.
    let optimization = if checks == Checks::Off { 3 } else { 2 };
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .opt_level(optimization)
        .cargo_metadata(false)
        .cargo_warnings(false)
        .host(&target)
        .target(&target)
        .out_dir(std::env::temp_dir())
        .try_get_compiler()
        .map_err(|error| Error::Compiler(format!("{error}; install g++, or name a compiler in CXX")))
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(prefix);
    argument.push(path);
    argument
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let at = |error| Error::File(folder.to_owned(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn hash_files(files: impl IntoIterator<Item = PathBuf>, hasher: &mut DefaultHasher) -> Result<(), Error> {
    for file in files {
        file.hash(hasher);
        fs::read(&file).map_err(|error| Error::File(file, error))?.hash(hasher);
    }
    Ok(())
}

/// As many at a time as there are cores.
fn run_all(commands: Vec<Command>) -> Result<(), Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let left = Mutex::new(commands.into_iter());
    let failure = Mutex::new(Ok(()));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    // Not in the `while let`, which would hold the lock for the whole run.
                    let next = left.lock().expect("nothing panics while it is held").next();
                    let Some(command) = next else { break };
                    if let Err(error) = run(command) {
                        *failure.lock().expect("nothing panics while it is held") = Err(error);
                        break;
                    }
                }
            });
        }
    });
    failure.into_inner().expect("nothing panics while it is held")
}

fn run(mut command: Command) -> Result<(), Error> {
    let program = command.get_program().to_owned();
    let output = command.output().map_err(|error| Error::File(program.into(), error))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(Error::Compiler(format!("{command:?}\n{words}"))) }
}
