//! Copies of tiles: what comes where, and each fault by its name.

mod compiled;

use core::ffi::c_void;

use mxhal_cuda_emulation::{Error, Kernels, Shape, Tiled, encode_tensor_map};

fn kernels() -> &'static Kernels {
    compiled::kernels("kernels.cu")
}

/// `CUtensorMap`.
#[repr(C, align(64))]
struct Map([u64; 16]);

/// Rows of bytes that tell where they are: three, the first 112 bytes of each 128 being the matrix's.
#[repr(C, align(64))]
struct Matrix([[u8; 128]; 3]);

impl Matrix {
    fn new() -> Self {
        Self(core::array::from_fn(|row| core::array::from_fn(|column| (row * 80 + column) as u8)))
    }

    fn map(&self) -> Map {
        self.encoded(0, [112, 3], 128)
    }

    /// Of 128 codes a row, whose bytes are one after the other.
    fn map_of_codes(&self) -> Map {
        self.encoded(14, [128, 6], 64)
    }

    fn encoded(&self, data_type: u32, extents: [u64; 2], stride: u64) -> Map {
        let tiled = Tiled {
            data_type,
            address: self.0.as_ptr() as u64,
            extents: &extents,
            strides: &[stride],
            tile: &[128, 4],
            element_strides: &[1, 1],
            interleave: 0,
            swizzle: 3,
            l2_promotion: 0,
            fill: 0,
        };
        Map(encode_tensor_map(&tiled).unwrap())
    }
}

/// The 512 bytes that a kernel saw of the tile which begins at row `y`.
fn run(kernel: &str, matrix: &Matrix, mut map: Map, y: i32, seed: u64) -> Result<[u8; 512], Error> {
    let mut to = [[0_i32; 4]; 32];
    let mut sink = to.as_mut_ptr();
    kernels().announce(matrix.0.as_ptr().cast(), size_of::<Matrix>());
    kernels().announce(sink.cast(), 512);
    let mut y = y;
    let arguments: [*mut c_void; 3] = [(&raw mut map).cast(), (&raw mut y).cast(), (&raw mut sink).cast()];
    let shape = Shape::new([1, 1, 1], [64, 1, 1]).with_seed(seed);
    // SAFETY: every kernel of tiles takes a map, a number and a pointer to 128 numbers.
    let result = unsafe { kernels().launch(kernel, &arguments, &shape) };
    kernels().withdraw(matrix.0.as_ptr().cast());
    kernels().withdraw(sink.cast());
    let words: Vec<u8> = to.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect();
    result.map(|()| words.try_into().expect("128 words"))
}

/// The same bytes without the swizzle.
fn straightened(bytes: &[u8; 512]) -> [[u8; 128]; 4] {
    core::array::from_fn(|row| {
        core::array::from_fn(|column| bytes[row * 128 + ((column / 16) ^ (row % 8)) * 16 + column % 16])
    })
}

#[test]
fn tiles_are_swizzled_and_zeros_where_the_matrix_ends() {
    let matrix = Matrix::new();
    let cell = |row: i32, column: usize| match (row, column) {
        (0..3, 0..112) => matrix.0[row as usize][column],
        _ => 0,
    };
    for (kernel, x) in [("tile", 0), ("tile_along", 16), ("tile_after_writing", 0)] {
        for y in [-1, 0, 2, 7] {
            for seed in 0..8 {
                let seen = straightened(&run(kernel, &matrix, matrix.map(), y, seed).unwrap());
                let wanted = core::array::from_fn(|row| {
                    core::array::from_fn(|column| cell(y + row as i32, x + column))
                });
                assert_eq!(seen, wanted, "{kernel} from row {y}, seed {seed}");
            }
        }
    }
}

#[test]
fn padded_codes_are_eight_bytes_of_sixteen() {
    let matrix = Matrix::new();
    let seen = run("tile_padded", &matrix, matrix.map_of_codes(), 1, 0).unwrap();
    let bytes = matrix.0.as_flattened();
    for row in 0..4 {
        for chunk in 0..8 {
            let place = (row * 8 + (chunk ^ row)) * 8;
            assert_eq!(seen[place..place + 8], bytes[(row + 1) * 64 + chunk * 8..][..8], "{row} {chunk}");
        }
    }
}

#[test]
fn each_fault_is_named() {
    let matrix = Matrix::new();
    for (kernel, words) in [
        ("tile_not_expected", "whose copy of a tile was not waited for"),
        ("tile_expected_more", "for 0 of 1 arrivals and 16 bytes"),
        ("tile_unpublished", "never published"),
        ("tile_left", "the block ended with 1 copies of tiles that nobody waited for"),
        ("tile_over_unfenced_writes", "thread 0 wrote without a fence of the asynchronous proxy"),
        (
            "tile_over_a_copy",
            "copy of a tile at offset 0 of shared memory, whose copy of a tile was not waited for",
        ),
    ] {
        let fault = run(kernel, &matrix, matrix.map(), 0, 0).unwrap_err().to_string();
        assert!(fault.contains(words), "{kernel}: {fault}");
    }
    let fault = run("tile", &matrix, Map([0; 16]), 0, 0).unwrap_err().to_string();
    assert!(fault.contains("no tensor map"), "{fault}");
    // The gaps between padded codes have nothing.
    let fault = run("tile_gaps", &matrix, matrix.map_of_codes(), 0, 0).unwrap_err().to_string();
    assert!(fault.contains("at offset 8 of shared memory, which nobody wrote"), "{fault}");
    // Beyond what was announced.
    let beyond = matrix.encoded(0, [112, 4], 128);
    let fault = run("tile", &matrix, beyond, 0, 0).unwrap_err().to_string();
    assert!(fault.contains("out of bounds: copy of a tile"), "{fault}");
}
