//! The devices that the driver can pretend to have.

/// A device, as its architecture decides it.
#[derive(Debug)]
pub(crate) struct Product {
    /// The architecture: `sm_120`.
    pub(crate) architecture: &'static str,
    pub(crate) name: &'static str,
    /// Compute capability.
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) multiprocessors: i32,
    /// Bytes of memory.
    pub(crate) memory: usize,
    /// Bytes of shared memory that a block may have when its kernel asks for it.
    pub(crate) most_shared_bytes: u32,
    /// Bytes of shared memory of a multiprocessor.
    pub(crate) shared_bytes: u32,
}

/// NVIDIA's data sheets, and the table of compute capabilities in the CUDA programming guide.
pub(crate) const PRODUCTS: [Product; 5] = [
    Product {
        architecture: "sm_90",
        name: "NVIDIA H200 (simulated)",
        major: 9,
        minor: 0,
        multiprocessors: 132,
        memory: 141 << 30,
        most_shared_bytes: 227 << 10,
        shared_bytes: 228 << 10,
    },
    Product {
        architecture: "sm_100",
        name: "NVIDIA B200 (simulated)",
        major: 10,
        minor: 0,
        multiprocessors: 148,
        memory: 180 << 30,
        most_shared_bytes: 227 << 10,
        shared_bytes: 228 << 10,
    },
    Product {
        architecture: "sm_103",
        name: "NVIDIA B300 (simulated)",
        major: 10,
        minor: 3,
        multiprocessors: 148,
        memory: 268 << 30,
        most_shared_bytes: 227 << 10,
        shared_bytes: 228 << 10,
    },
    Product {
        architecture: "sm_120",
        name: "NVIDIA RTX PRO 6000 Blackwell (simulated)",
        major: 12,
        minor: 0,
        multiprocessors: 188,
        memory: 96 << 30,
        most_shared_bytes: 99 << 10,
        shared_bytes: 100 << 10,
    },
    Product {
        architecture: "sm_121",
        name: "NVIDIA GB10 (simulated)",
        major: 12,
        minor: 1,
        multiprocessors: 48,
        memory: 128 << 30,
        most_shared_bytes: 99 << 10,
        shared_bytes: 100 << 10,
    },
];

/// What a block may have without asking.
pub(crate) const SHARED_BYTES: u32 = 48 << 10;
/// What the driver takes of each block's shared memory.
pub(crate) const RESERVED_SHARED_BYTES: u32 = 1 << 10;
/// 32-bit registers of a block, and of a multiprocessor.
pub(crate) const REGISTERS: u32 = 64 << 10;

impl Product {
    pub(crate) fn of(architecture: &str) -> Option<&'static Self> {
        PRODUCTS.iter().find(|product| product.architecture == architecture)
    }

    /// An attribute by its number in `CUdevice_attribute`; `None` for those that are not simulated.
    pub(crate) fn attribute(&self, number: i32) -> Option<i32> {
        let bytes = |bytes: u32| i32::try_from(bytes).expect("less than 2 GiB");
        Some(match number {
            // Threads of a block, together and along x, y, z; blocks of a grid along x, y, z.
            1..=3 => 1024,
            4 => 64,
            5 => i32::MAX,
            6 | 7 => 65535,
            8 => bytes(SHARED_BYTES),
            // Warp.
            10 => 32,
            12 | 82 => bytes(REGISTERS),
            // Kilohertz of clock and memory, bits of the bus, bytes of L2: nothing here is timed.
            13 | 36 => 1_000_000,
            37 => 512,
            38 => 64 << 20,
            16 => self.multiprocessors,
            // Neither integrated nor with a time limit.
            17 | 18 => 0,
            // Host memory can be mapped; kernels run at the same time; ECC; one address space for host and device.
            19 | 31 | 32 | 41 => 1,
            // Compute mode, PCI bus, device and domain.
            20 | 33 | 34 | 50 => 0,
            // Threads and blocks of a multiprocessor; copy engines.
            39 => {
                if self.major == 12 {
                    1536
                } else {
                    2048
                }
            }
            40 => 2,
            106 => {
                if self.major == 12 {
                    24
                } else {
                    32
                }
            }
            75 => i32::try_from(self.major).expect("small"),
            76 => i32::try_from(self.minor).expect("small"),
            // Priorities of streams; pools; clusters.
            78 | 115 | 120 => 1,
            81 => bytes(self.shared_bytes),
            // Managed memory and cooperative launches are not simulated.
            83 | 95 => 0,
            97 => bytes(self.most_shared_bytes),
            111 => bytes(RESERVED_SHARED_BYTES),
            _ => return None,
        })
    }
}
