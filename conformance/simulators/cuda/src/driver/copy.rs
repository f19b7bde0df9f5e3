//! Copies and fills.
//!
//! The device's side is looked at twice: when the host asks, and when the stream comes to it. Pinned memory of the host is
//! read and written when the stream comes to it; other memory is read at once, and written before the call returns, as
//! the driver's staging has it.

use core::ffi::{c_uint, c_void};
use std::ptr;

use super::capture;
use super::context::current;
use super::stream::{Stream, stream_of};
use crate::memory;
use crate::refusal::{Answer, Refusal, code, cu};

/// `CU_MEMORYTYPE_DEVICE` and `…_UNIFIED`.
const DEVICE: c_uint = 2;
const UNIFIED: c_uint = 4;

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Copy2D {
    from: Side,
    to: Side,
    width: usize,
    height: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Side {
    x: usize,
    y: usize,
    kind: c_uint,
    host: *mut c_void,
    device: u64,
    array: *mut c_void,
    pitch: usize,
}

impl Side {
    /// The first byte that is copied, on the device.
    fn first(&self, copy: &Copy2D, argument: &str) -> Answer<usize> {
        if self.kind != DEVICE && self.kind != UNIFIED {
            let what = format!("{argument}MemoryType is {}, only the device (2) is simulated", self.kind);
            return Err(Refusal::new(code::NOT_SUPPORTED, what));
        }
        let pitch = self.pitch(copy);
        if self.x + copy.width > pitch {
            return Err(Refusal::invalid(format!(
                "{argument}Pitch is {pitch}, less than the {} bytes of a row",
                self.x + copy.width
            )));
        }
        Ok(address(self.device) + self.y * pitch + self.x)
    }

    /// 0 stands for rows without anything in between.
    fn pitch(&self, copy: &Copy2D) -> usize {
        if self.pitch == 0 { copy.width } else { self.pitch }
    }
}

fn address(address: u64) -> usize {
    usize::try_from(address).unwrap_or(0)
}

fn to_device(name: &'static str, to: u64, from: *const c_void, len: usize, stream: &Stream) -> Answer {
    if len == 0 {
        return Ok(());
    }
    let (to, from) = (address(to), from as usize);
    memory::expect(to, len, "dstDevice")?;
    if from == 0 {
        return Err(Refusal::invalid("srcHost is null"));
    }
    if memory::is_device_address(from) {
        return Err(Refusal::invalid(format!("srcHost {from:#x} is an address of the device")));
    }
    let is_captured = stream.capture().is_some();
    if is_captured || memory::is_pinned(from, len) {
        return stream.enqueue(name, move || {
            let span = memory::span(to, len)?;
            // SAFETY: the span is live, and so is the host's memory until the stream is synchronised.
            unsafe { ptr::copy_nonoverlapping(from as *const u8, span.bytes(), len) };
            Ok(())
        });
    }
    // SAFETY: the caller has so many bytes there.
    let staged = unsafe { std::slice::from_raw_parts(from as *const u8, len) }.to_vec();
    stream.enqueue(name, move || {
        let span = memory::span(to, len)?;
        // SAFETY: the span is live, and no part of what is staged.
        unsafe { ptr::copy_nonoverlapping(staged.as_ptr(), span.bytes(), len) };
        Ok(())
    })
}

fn to_host(name: &'static str, to: *mut c_void, from: u64, len: usize, stream: &Stream) -> Answer {
    if len == 0 {
        return Ok(());
    }
    let (to, from) = (to as usize, address(from));
    memory::expect(from, len, "srcDevice")?;
    if to == 0 {
        return Err(Refusal::invalid("dstHost is null"));
    }
    if memory::is_device_address(to) {
        return Err(Refusal::invalid(format!("dstHost {to:#x} is an address of the device")));
    }
    let is_staged = stream.capture().is_none() && !memory::is_pinned(to, len);
    stream.enqueue(name, move || {
        let span = memory::span(from, len)?;
        // SAFETY: the span is live, and the host's memory is until the call or the synchronisation returns.
        unsafe { ptr::copy_nonoverlapping(span.bytes(), to as *mut u8, len) };
        Ok(())
    })?;
    if is_staged {
        stream.synchronise();
        current()?;
    }
    Ok(())
}

fn on_device(name: &'static str, to: u64, from: u64, len: usize, stream: &Stream) -> Answer {
    if len == 0 {
        return Ok(());
    }
    let (to, from) = (address(to), address(from));
    memory::expect(to, len, "dstDevice")?;
    memory::expect(from, len, "srcDevice")?;
    stream.enqueue(name, move || {
        let (to, from) = (memory::span(to, len)?, memory::span(from, len)?);
        // SAFETY: both spans are live and of this length; they may overlap.
        unsafe { ptr::copy(from.bytes(), to.bytes(), len) };
        Ok(())
    })
}

fn rows_on_device(name: &'static str, copy: Copy2D, stream: &Stream) -> Answer {
    if copy.width == 0 || copy.height == 0 {
        return Ok(());
    }
    let (from, to) = (copy.from.first(&copy, "src")?, copy.to.first(&copy, "dst")?);
    let pitches = (copy.from.pitch(&copy), copy.to.pitch(&copy));
    let extent = move |pitch: usize| (copy.height - 1) * pitch + copy.width;
    memory::expect(from, extent(pitches.0), "srcDevice")?;
    memory::expect(to, extent(pitches.1), "dstDevice")?;
    stream.enqueue(name, move || {
        let from = memory::span(from, extent(pitches.0))?;
        let to = memory::span(to, extent(pitches.1))?;
        for row in 0..copy.height {
            // SAFETY: both spans are live and have so many rows.
            unsafe {
                ptr::copy(from.bytes().add(row * pitches.0), to.bytes().add(row * pitches.1), copy.width);
            }
        }
        Ok(())
    })
}

/// Fills with a value of one, two or four bytes, `count` times.
fn fill(name: &'static str, to: u64, value: &[u8], count: usize, stream: &Stream) -> Answer {
    let len = count * value.len();
    if len == 0 {
        return Ok(());
    }
    let to = address(to);
    if !to.is_multiple_of(value.len()) {
        return Err(Refusal::invalid(format!("dstDevice {to:#x} is no multiple of {}", value.len())));
    }
    memory::expect(to, len, "dstDevice")?;
    let value = value.to_vec();
    stream.enqueue(name, move || {
        let span = memory::span(to, len)?;
        // SAFETY: the span is live; work that races with this breaks the order of streams, as on a device.
        let bytes = unsafe { std::slice::from_raw_parts_mut(span.bytes(), span.len) };
        match value[..] {
            [byte] => bytes.fill(byte),
            _ => bytes.chunks_exact_mut(value.len()).for_each(|part| part.copy_from_slice(&value)),
        }
        Ok(())
    })
}

/// A call without a stream: on the legacy one, and over when it returns.
fn at_once(function: &str, enqueue: impl FnOnce(&Stream) -> Answer) -> Answer {
    capture::expect_none(function)?;
    let stream = stream_of(ptr::null_mut())?;
    enqueue(&stream)?;
    stream.synchronise();
    current().map(|_| ())
}

fn read(copy: *const Copy2D) -> Answer<Copy2D> {
    if copy.is_null() {
        return Err(Refusal::invalid("pCopy is null"));
    }
    // SAFETY: not null; a CUDA_MEMCPY2D, as the C declaration asks.
    Ok(unsafe { copy.read() })
}

cu! {
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, len: usize, stream: *mut c_void) {
        to_device("cuMemcpyHtoDAsync", to, from, len, &*stream_of(stream)?)
    }

    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, len: usize, stream: *mut c_void) {
        to_host("cuMemcpyDtoHAsync", to, from, len, &*stream_of(stream)?)
    }

    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, len: usize, stream: *mut c_void) {
        on_device("cuMemcpyDtoDAsync", to, from, len, &*stream_of(stream)?)
    }

    fn cuMemcpy2DAsync_v2(copy: *const Copy2D, stream: *mut c_void) {
        rows_on_device("cuMemcpy2DAsync", read(copy)?, &*stream_of(stream)?)
    }

    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, len: usize) {
        at_once("cuMemcpyHtoD", |stream| to_device("cuMemcpyHtoD", to, from, len, stream))
    }

    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, len: usize) {
        at_once("cuMemcpyDtoH", |stream| to_host("cuMemcpyDtoH", to, from, len, stream))
    }

    fn cuMemcpyDtoD_v2(to: u64, from: u64, len: usize) {
        at_once("cuMemcpyDtoD", |stream| on_device("cuMemcpyDtoD", to, from, len, stream))
    }

    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: *mut c_void) {
        fill("cuMemsetD8Async", to, &[value], count, &*stream_of(stream)?)
    }

    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: *mut c_void) {
        fill("cuMemsetD16Async", to, &value.to_le_bytes(), count, &*stream_of(stream)?)
    }

    fn cuMemsetD32Async(to: u64, value: c_uint, count: usize, stream: *mut c_void) {
        fill("cuMemsetD32Async", to, &value.to_le_bytes(), count, &*stream_of(stream)?)
    }

    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        at_once("cuMemsetD8", |stream| fill("cuMemsetD8", to, &[value], count, stream))
    }
}
