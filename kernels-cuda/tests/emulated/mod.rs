//! The kernels on the CPU: compiled once, device memory, launches.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mxhal_cuda_emulation::{Checks, Error, Kernels, Shape, Tiled, compile, encode_tensor_map};
use mxhal_kernels_cuda::parameters::{Address, Parameters, ProductParameters, TensorProductParameters};
use mxhal_kernels_cuda::tensor_map::{TensorMap, TensorMapDesc};
use mxhal_kernels_cuda::{Launch, Product};

/// The library with these checks.
pub(crate) fn kernels(checks: Checks) -> &'static Kernels {
    static CHECKED: OnceLock<Kernels> = OnceLock::new();
    static FAST: OnceLock<Kernels> = OnceLock::new();
    let library = if checks == Checks::On { &CHECKED } else { &FAST };
    library.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let includes = ["kernels", "ptx"].map(|folder| here.join(folder));
        let mut sources: Vec<PathBuf> = std::fs::read_dir(&includes[0])
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "cu") && !path.ends_with("all.cu"))
            .collect();
        sources.sort();
        let library = compile(&sources, &includes, checks, Path::new(env!("CARGO_TARGET_TMPDIR")))
            .unwrap_or_else(|error| panic!("{error}"));
        Kernels::open(&library).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A device with its memory: buffers between red zones, poisoned where nothing was copied to them.
pub(crate) struct Device {
    kernels: &'static Kernels,
    pub(crate) seed: u64,
    buffers: HashMap<Address, Buffer>,
}

/// The words of a buffer between those of its red zones.
struct Buffer {
    words: Vec<u128>,
    own: Range<usize>,
}

/// Words before and behind a buffer, at least.
const RED_ZONE: usize = 16;
/// What addresses of device memory are a multiple of, as the driver promises.
const ALIGNMENT: usize = 256;
const RED: u128 = 0xa5a5_a5a5_a5a5_a5a5_a5a5_a5a5_a5a5_a5a5;

impl Device {
    pub(crate) fn new(checks: Checks, seed: u64) -> Self {
        Self::on(kernels(checks), seed)
    }

    /// With other kernels than those of the sources.
    pub(crate) fn on(kernels: &'static Kernels, seed: u64) -> Self {
        Self { kernels, seed, buffers: HashMap::new() }
    }

    /// A buffer of so many bytes, each 0xa5.
    pub(crate) fn alloc(&mut self, bytes: usize) -> Address {
        let len = bytes.div_ceil(16);
        let mut words = vec![RED; len + 2 * RED_ZONE + ALIGNMENT / 16];
        let misaligned = words[RED_ZONE..].as_ptr() as usize % ALIGNMENT;
        let first = RED_ZONE + (ALIGNMENT - misaligned) / 16;
        let address = words[first..].as_mut_ptr();
        self.kernels.announce(address.cast(), bytes);
        let address = address as Address;
        self.buffers.insert(address, Buffer { words, own: first..first + len });
        address
    }

    /// A buffer with a copy of the values.
    pub(crate) fn copy<T: Copy>(&mut self, values: &[T]) -> Address {
        let bytes = size_of_val(values);
        let address = self.alloc(bytes);
        // SAFETY: the buffer has so many bytes, and nobody else knows it yet.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), address as *mut u8, bytes) };
        address
    }

    /// The first `count` values of a buffer of numbers.
    pub(crate) fn read<T: Copy + Default>(&self, address: Address, count: usize) -> Vec<T> {
        let room = self.buffers[&address].own.len() * 16;
        assert!(count * size_of::<T>() <= room, "{count} values of a buffer of {room} bytes");
        let mut values = vec![T::default(); count];
        let bytes = size_of_val(values.as_slice());
        // SAFETY: the buffer has so many bytes, and every pattern of bits is a number.
        unsafe {
            std::ptr::copy_nonoverlapping(address as *const u8, values.as_mut_ptr().cast::<u8>(), bytes);
        }
        values
    }

    /// Runs to the end. Panics with the fault's words.
    pub(crate) fn launch<P: Parameters>(&self, launch: &Launch, parameters: P) {
        self.try_launch(launch, parameters).unwrap_or_else(|error| panic!("{error}"));
    }

    /// A product, with its tensor maps where it takes them.
    pub(crate) fn multiply(&self, product: Product, parameters: ProductParameters) {
        self.try_multiply(product, &product.launch(&parameters), parameters)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// The same by another launch than the product's own.
    pub(crate) fn try_multiply(
        &self,
        product: Product,
        launch: &Launch,
        parameters: ProductParameters,
    ) -> Result<(), Error> {
        // Of a matrix without rows there is no map.
        match parameters.tensor_maps(product) {
            Some(_) if !launch.is_empty() => {
                self.try_launch(launch, tensor_product_parameters(product, &parameters))
            }
            Some(_) => Ok(()),
            None => self.try_launch(launch, parameters),
        }
    }

    pub(crate) fn try_launch<P: Parameters>(&self, launch: &Launch, mut parameters: P) -> Result<(), Error> {
        assert_eq!(launch.kernel.parameter_bytes, size_of::<P>(), "{}", launch.kernel.name);
        if launch.is_empty() {
            return Ok(());
        }
        let shape = Shape::new(launch.grid, launch.block())
            .with_shared_bytes(launch.shared_bytes)
            .with_seed(self.seed);
        let arguments = [(&raw mut parameters).cast()];
        // SAFETY: the table says that the kernel takes this struct; its addresses are of buffers of this device.
        unsafe { self.kernels.launch(launch.kernel.name, &arguments, &shape)? };
        for buffer in self.buffers.values() {
            let Buffer { words, own } = buffer;
            let (before, after) = (&words[..own.start], &words[own.end..]);
            assert!(
                before.iter().chain(after).all(|word| *word == RED),
                "{} wrote into a red zone",
                launch.kernel.name
            );
        }
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for address in self.buffers.keys() {
            self.kernels.withdraw(*address as *const u8);
        }
    }
}

/// What a product in tensor memory takes: the maps of its operands, encoded as the emulation reads them.
pub(crate) fn tensor_product_parameters(
    product: Product,
    parameters: &ProductParameters,
) -> TensorProductParameters {
    let [w, a] = parameters.tensor_maps(product).expect("a product in tensor memory").map(|desc| {
        let map = encode_tensor_map(&Tiled {
            data_type: desc.codes.number(),
            address: desc.address,
            extents: &desc.extents,
            strides: &[desc.row_stride],
            tile: &desc.tile,
            element_strides: &[1, 1],
            interleave: 0,
            swizzle: TensorMapDesc::SWIZZLE,
            l2_promotion: TensorMapDesc::L2_PROMOTION,
            fill: 0,
        });
        TensorMap(map.unwrap_or_else(|error| panic!("{desc}: {error}")))
    });
    TensorProductParameters { w, a, product: *parameters }
}

/// splitmix64: numbers that a seed gives again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// With a seed of the clock's, or that of `MXHAL_SEED`; printed, for a test that fails.
    pub(crate) fn printed() -> Self {
        let seed = match std::env::var("MXHAL_SEED") {
            Ok(seed) => seed.parse().expect("MXHAL_SEED is a number"),
            Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64),
        };
        println!("MXHAL_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.within(0, of.len() - 1)]
    }

    /// From -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Of magnitudes over `powers` powers of two, some of them zero.
    pub(crate) fn value(&mut self, powers: i32) -> f32 {
        if self.next().is_multiple_of(16) {
            return 0.0;
        }
        let exponent = self.within(0, powers as usize) as i32 - powers / 2;
        self.unit() * 2f32.powi(exponent)
    }
}
