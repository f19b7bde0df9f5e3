//! As many products as the machine can do: the instructions of the kernels, twelve that do not wait for each other.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::kernel::{Peak, exclusive_or};

/// Turns of a loop: with twelve instructions each, some half a millisecond.
const TURNS: u64 = 150_000;

pub(super) const AVX512: Peak = Peak {
    integers_name: "vpdpbusd",
    // SAFETY: the table that holds this function is made only where the instructions are; so for all below.
    integers: || unsafe { dpbusd() },
    floats_name: "vdpbf16ps",
    // SAFETY: as above.
    floats: || unsafe { dpbf16ps() },
    // SAFETY: as above.
    read: |bytes| unsafe { read512(bytes) },
};

pub(super) const AVX2: Peak = Peak {
    integers_name: "vpmaddubsw + vpaddw",
    // SAFETY: as above.
    integers: || unsafe { maddubsw() },
    floats_name: "vfmadd231ps",
    // SAFETY: as above.
    floats: || unsafe { fmadd231ps() },
    // SAFETY: as above.
    read: |bytes| unsafe { read256(bytes) },
};

/// Twelve times an instruction that adds products of registers 14 and 15 to a register, over and over.
macro_rules! twelve {
    ($instruction:literal, $register:literal) => {
        asm!(
            concat!("vpbroadcastd ", $register, "14, {word:x}"),
            concat!("vpbroadcastd ", $register, "15, {word:x}"),
            twelve!(@each $instruction $register "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11"),
            // One in BF16 and in the upper half of float32: small enough that sums stay numbers.
            word = in(xmm_reg) f32::from_bits(0x3f80_3f80),
            turns = inout(reg) TURNS => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm14") _, out("xmm15") _,
            options(nomem, nostack),
        )
    };
    (@each $instruction:literal $register:literal $($place:literal)*) => {
        concat!(
            $("vpxor xmm", $place, ", xmm", $place, ", xmm", $place, "\n",)*
            "2:\n",
            $($instruction, " ", $register, $place, ", ", $register, "14, ", $register, "15\n",)*
            "dec {turns}\njnz 2b\n",
        )
    };
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn dpbusd() -> u64 {
    // SAFETY: it changes the registers that it says it does.
    unsafe { twelve!("vpdpbusd", "zmm") };
    TURNS * 12 * 128
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn dpbf16ps() -> u64 {
    // SAFETY: as above.
    unsafe { twelve!("vdpbf16ps", "zmm") };
    TURNS * 12 * 64
}

#[target_feature(enable = "avx2,fma")]
fn fmadd231ps() -> u64 {
    // SAFETY: as above.
    unsafe { twelve!("vfmadd231ps", "ymm") };
    TURNS * 12 * 16
}

/// Six products and six sums of them: each product of bytes is added to another by the first instruction, and to the sum
/// so far by the second.
#[target_feature(enable = "avx2")]
fn maddubsw() -> u64 {
    macro_rules! six {
        ($($product:literal $sum:literal)*) => {
            concat!(
                "2:\n",
                $("vpmaddubsw ymm", $product, ", ymm14, ymm15\n",)*
                $("vpaddw ymm", $sum, ", ymm", $sum, ", ymm", $product, "\n",)*
                "dec {turns}\njnz 2b\n",
            )
        };
    }
    // SAFETY: as above.
    unsafe {
        asm!(
            "vpbroadcastd ymm14, {word}",
            "vpbroadcastd ymm15, {word}",
            six!("0" "6" "1" "7" "2" "8" "3" "9" "4" "10" "5" "11"),
            word = in(xmm_reg) f32::from_bits(0x0102_0304),
            turns = inout(reg) TURNS => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm14") _, out("xmm15") _,
            options(nomem, nostack),
        );
    }
    TURNS * 6 * 64
}

#[target_feature(enable = "avx512f")]
fn read512(bytes: &[u8]) -> u64 {
    let mut lanes = [_mm512_setzero_si512(); 4];
    for chunk in bytes.as_chunks::<256>().0 {
        for (i, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: four times 64 bytes.
            let register = unsafe { _mm512_loadu_si512(chunk.as_ptr().add(64 * i).cast()) };
            *lane = _mm512_xor_si512(*lane, register);
        }
    }
    let [a, b, c, d] = lanes;
    _mm512_reduce_or_epi64(_mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d))).cast_unsigned()
}

#[target_feature(enable = "avx2")]
fn read256(bytes: &[u8]) -> u64 {
    exclusive_or(bytes)
}
