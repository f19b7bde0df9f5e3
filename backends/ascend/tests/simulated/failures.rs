//! What goes wrong, and what is said of it.

use std::fs;
use std::thread;
use std::time::Duration;

use mxhal_core::op::{Matmul, Quantize};
use mxhal_core::{Backend, Buffer, Format, Quantization, Span, Status};
use mxhal_simulated_cann_install::{Libraries, Variant};

use crate::numbers;
use crate::rig::{Rig, backend, in_a_child};

fn count_error() -> mxhal_core::Error {
    let (backend, _folder) = backend(Variant::All, Libraries::Split, |_| {});
    backend.device_count().unwrap_err()
}

#[test]
fn another_soc_is_refused_by_its_name() {
    if in_a_child("failures::another_soc_is_refused_by_its_name", &[("MXHAL_SIM_SOC", "Ascend910B1")]) {
        let error = count_error();
        assert_eq!(error.status(), Status::Unavailable);
        assert!(error.message().contains("Ascend910B1") && error.message().contains("Ascend 950"), "{error}");
    }
}

#[test]
fn without_a_device_there_are_none() {
    if in_a_child("failures::without_a_device_there_are_none", &[("MXHAL_SIM_DEVICES", "0")]) {
        let (backend, _folder) = backend(Variant::All, Libraries::Split, |_| {});
        assert_eq!(backend.device_count(), Ok(0));
        assert_eq!(backend.open_device(0).err().unwrap().status(), Status::InvalidArgument);
    }
}

#[test]
fn a_driver_that_does_not_match_is_unavailable_with_what_to_compare() {
    let name = "failures::a_driver_that_does_not_match_is_unavailable_with_what_to_compare";
    if in_a_child(name, &[("MXHAL_SIM_FAIL", "aclInit:1:507899")]) {
        let error = count_error();
        assert_eq!((error.status(), error.vendor_code()), (Status::Unavailable, 507_899));
        assert!(error.message().contains("npu-smi"), "{error}");
    }
}

#[test]
fn a_950dt_is_one_too_and_is_called_simulated() {
    let name = "failures::a_950dt_is_one_too_and_is_called_simulated";
    if in_a_child(name, &[("MXHAL_SIM_SOC", "Ascend950DT_9591")]) {
        let info = Rig::new().device.info().unwrap();
        assert_eq!(info.name, "Ascend 950DT (simulated)");
        assert_eq!((info.architecture.as_str(), info.units), ("Ascend950DT_9591", 36));
        assert!(info.driver.contains("simulated"), "{info:?}");
    }
}

#[test]
fn memory_that_is_not_there_is_said_with_what_is_free_and_everything_goes_on() {
    let name = "failures::memory_that_is_not_there_is_said_with_what_is_free_and_everything_goes_on";
    if in_a_child(name, &[("MXHAL_SIM_MEMORY", "1048576")]) {
        let rig = Rig::new();
        let error = rig.device.allocate(1 << 21).unwrap_err();
        assert_eq!((error.status(), error.vendor_code()), (Status::OutOfMemory, 207_001));
        assert!(error.message().contains("2097152 bytes") && error.message().contains("free"), "{error}");
        let address = rig.device.allocate(1 << 10).unwrap();
        assert!(address.is_multiple_of(rig.device.info().unwrap().alignment));
        rig.device.free(address).unwrap();
        let error = rig.device.free(address).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
    }
}

#[test]
fn a_kernel_that_fails_is_a_lost_device_for_whoever_waits() {
    let name = "failures::a_kernel_that_fails_is_a_lost_device_for_whoever_waits";
    if in_a_child(name, &[("MXHAL_SIM_FAIL", "kernel:1:507015")]) {
        let rig = Rig::new();
        let buffer = Buffer::new(&rig.device, 64).unwrap();
        rig.stream.fill(buffer.span(), 1).unwrap();
        let error = rig.stream.synchronize(None).unwrap_err();
        assert_eq!((error.status(), error.vendor_code()), (Status::DeviceLost, 507_015));
        assert!(error.message().contains("opened anew"), "{error}");
    }
}

#[test]
fn a_wait_ends_with_its_time_and_the_work_goes_on() {
    let name = "failures::a_wait_ends_with_its_time_and_the_work_goes_on";
    if in_a_child(name, &[("MXHAL_SIM_FAIL", "stall:1:500")]) {
        let rig = Rig::new();
        let buffer = Buffer::new(&rig.device, 64).unwrap();
        let event = rig.device.create_event().unwrap();
        assert_eq!(event.synchronize(Some(Duration::ZERO)), Ok(()), "nothing was recorded");
        rig.stream.fill(buffer.span(), 7).unwrap();
        rig.stream.record(&*event).unwrap();
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            assert_eq!(rig.stream.synchronize(Some(timeout)).unwrap_err().status(), Status::Timeout);
        }
        assert_eq!(event.synchronize(Some(Duration::ZERO)).unwrap_err().status(), Status::NotReady);
        assert_eq!(event.synchronize(Some(Duration::from_millis(20))).unwrap_err().status(), Status::Timeout);
        event.synchronize(None).unwrap();
        rig.stream.synchronize(Some(Duration::from_secs(5))).unwrap();
        let mut bytes = [0; 64];
        mxhal_core::buffer::read(&*rig.stream, buffer.span(), &mut bytes).unwrap();
        assert_eq!(bytes, [7; 64]);
    }
}

#[test]
fn functions_are_called_from_threads_that_have_no_context() {
    let rig = Rig::new();
    let device = rig.device.clone();
    let stream = rig.stream;
    let copied = thread::spawn(move || {
        let buffer = Buffer::new(&device, 256).unwrap();
        let event = device.create_event().unwrap();
        buffer.write(&*stream, &[3; 256]).unwrap();
        stream.record(&*event).unwrap();
        event.synchronize(None).unwrap();
        let mut bytes = [0; 256];
        mxhal_core::buffer::read(&*stream, buffer.span(), &mut bytes).unwrap();
        bytes
    });
    assert_eq!(copied.join().unwrap(), [3; 256]);
}

#[test]
fn times_are_those_of_recorded_events() {
    let rig = Rig::new();
    let (start, end) = (rig.device.create_event().unwrap(), rig.device.create_event().unwrap());
    assert_eq!(end.elapsed_since(&*start).unwrap_err().status(), Status::InvalidArgument);
    rig.stream.record(&*start).unwrap();
    let buffer = Buffer::new(&rig.device, 1 << 16).unwrap();
    rig.stream.fill(buffer.span(), 0).unwrap();
    rig.stream.record(&*end).unwrap();
    rig.stream.synchronize(None).unwrap();
    assert!(end.elapsed_since(&*start).unwrap() > Duration::ZERO);
}

#[test]
fn an_address_of_the_host_is_not_taken_for_one_of_the_device() {
    let rig = Rig::new();
    let mut bytes = [0_u8; 64];
    let error = rig.stream.fill(Span::of_mut(&mut bytes), 1).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(bytes, [0; 64]);
}

#[test]
fn no_rule_of_canns_is_broken_and_nothing_is_left_over() {
    let name = "failures::no_rule_of_canns_is_broken_and_nothing_is_left_over";
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("rules");
    if in_a_child(name, &[("MXHAL_SIM_REPORT", report.to_str().unwrap())]) {
        let rig = Rig::new();
        let to = Quantization::new(Format::Mxfp8);
        numbers::quantize(&rig, Quantize { rows: 3, k: 96, input: Format::Bf16, to }, 3);
        numbers::matmul(&rig, Matmul::mxfp4(3, 5, 96, Quantization::deepseek()), 3);
        drop(rig);
        return;
    }
    let broken = fs::read_to_string(&report).unwrap_or_default();
    // Whether a thread has a context is asked, and the answer that it has none is no rule broken.
    let broken: Vec<&str> = broken.lines().filter(|line| !line.contains("aclrtGetCurrentContext")).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn an_engines_own_stream_is_used_and_stays_its_own() {
    let rig = Rig::new();
    // CANN's default stream has the handle 0.
    let stream = rig.device.wrap_stream(0).unwrap();
    let buffer = Buffer::new(&rig.device, 64).unwrap();
    stream.fill(buffer.span(), 9).unwrap();
    drop(stream);
    let again = rig.device.wrap_stream(0).unwrap();
    let mut bytes = [0; 64];
    mxhal_core::buffer::read(&*again, buffer.span(), &mut bytes).unwrap();
    assert_eq!(bytes, [9; 64]);
}
