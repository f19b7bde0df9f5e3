//! The kernels on the CPU: compiled once, device memory, launches.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mxhal_cuda_emulation::{Checks, Error, Kernels, Shape, compile};
use mxhal_kernels_cuda::Launch;
use mxhal_kernels_cuda::parameters::{Address, Parameters};

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
    buffers: HashMap<Address, Vec<u128>>,
}

const RED_ZONE: usize = 16;
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
        let mut buffer = vec![RED; bytes.div_ceil(16) + 2 * RED_ZONE];
        let address = buffer[RED_ZONE..].as_mut_ptr();
        self.kernels.announce(address.cast(), bytes);
        let address = address as Address;
        self.buffers.insert(address, buffer);
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
        let room = (self.buffers[&address].len() - 2 * RED_ZONE) * 16;
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
            let (before, after) = (&buffer[..RED_ZONE], &buffer[buffer.len() - RED_ZONE..]);
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
