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
    let runtime = ["fibers.cpp", "mbarrier.cpp", "memory.cpp", "tensor_memory.cpp"]
        .map(|name| here.join("src").join(name));
    let mut headers = vec![here.join("include"), here.join("src")];
    headers.extend_from_slice(includes);

    let compiler = compiler()?;
    let mut hasher = DefaultHasher::new();
    checks.hash(&mut hasher);
    compiler.path().hash(&mut hasher);
    hash_files(sources.iter().chain(&runtime).cloned(), &mut hasher)?;
    for folder in &headers {
        hash_files(entries(folder)?, &mut hasher)?;
    }
    let key = hasher.finish();
    let library = folder.join(format!("libkernels-{key:016x}.so"));
    if library.is_file() {
        return Ok(library);
    }

    // Others may compile the same at the same time: each in a folder of its own, and the last step is a rename.
    let objects = folder.join(format!("{key:016x}-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir_all(&objects).map_err(|error| Error::File(objects.clone(), error))?;
    let steps: Vec<(Command, PathBuf)> = runtime
        .iter()
        .map(|source| (source, false))
        .chain(sources.iter().map(|source| (source, checks == Checks::On)))
        .enumerate()
        .map(|(place, (source, instrument))| {
            let object = objects.join(format!("{place}.o"));
            let mut command = compiler.to_command();
            command.args([
                "-std=c++17",
                "-ffp-contract=off",
                "-fvisibility=hidden",
                "-g1",
                "-Wall",
                "-Wextra",
            ]);
            command.args(["-Wno-unknown-pragmas", "-Wno-tsan", "-U_FORTIFY_SOURCE"]);
            if checks == Checks::On {
                command.arg("-DMXHAL_CHECKED");
            }
            if instrument {
                command.args(["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"]);
            }
            command.args(headers.iter().map(|folder| prefixed("-I", folder)));
            command.args(["-c", "-x", "c++"]).arg(source).arg("-o").arg(&object);
            (command, object)
        })
        .collect();
    let made: Vec<PathBuf> = steps.iter().map(|(_, object)| object.clone()).collect();
    run_all(steps.into_iter().map(|(command, _)| command).collect())?;

    let linked = objects.join("linked.so");
    let mut link = compiler.to_command();
    link.args(["-shared", "-Wl,--no-undefined", "-o"]).arg(&linked).args(&made).args(["-ldl", "-lm"]);
    run(link)?;
    fs::rename(&linked, &library).map_err(|error| Error::File(library.clone(), error))?;
    // What is left are objects that nobody needs; a failure to remove them harms nobody.
    let _ = fs::remove_dir_all(&objects);
    Ok(library)
}

fn compiler() -> Result<cc::Tool, Error> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .opt_level(2)
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
