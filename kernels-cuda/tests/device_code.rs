//! The device code, where the build found an nvcc. It is compiled, not run.

use mxhal_kernels_cuda::{DEVICE_CODE, KERNELS, MISSING};

#[test]
fn device_code_is_a_fatbin_or_says_how_to_get_one() {
    match DEVICE_CODE {
        // The first word of a fatbin.
        Ok(code) => assert_eq!(code[..4], 0xba55_ed50_u32.to_le_bytes(), "{} bytes", code.len()),
        Err(words) => {
            println!("skipped: {words}");
            assert_eq!(words, MISSING);
            assert!(words.contains("toolchain.sh"));
        }
    }
}

#[test]
fn the_table_lists_the_kernels_of_the_sources() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        names.extend(source.lines().filter_map(|line| {
            let name = line.strip_prefix("MXHAL_KERNEL(")?.strip_suffix(')')?;
            Some(name.to_owned())
        }));
        // Kernels that are one template are made by a macro of their file: DECODE(name, …).
        names.extend(source.lines().filter_map(|line| {
            let macros = ["DECODE(", "WGMMA(", "TENSOR(", "TENSOR_PAIR("];
            let arguments = macros.iter().find_map(|name| line.strip_prefix(name))?;
            Some(arguments.split(',').next()?.to_owned())
        }));
    }
    names.sort();
    assert_eq!(names, KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>());
}
