//! Devices and their memory.

use mxhal_core::{Backend, Buffer, Status};

use crate::rig::{Rig, cuda, under};

#[test]
fn each_architecture_is_one_with_its_name() {
    for (product, capability) in [("sm_90", 90), ("sm_103", 103), ("sm_120", 120)] {
        let expected = capability.to_string();
        if under(product, "memory::each_architecture_is_one_with_its_name", &[("EXPECTED", &expected)]) {
            let info = Rig::new().device.info().unwrap();
            assert_eq!(info.architecture, format!("sm_{}", std::env::var("EXPECTED").unwrap()));
            assert!(info.name.contains("simulated"), "{info:?}");
            assert!(info.driver.contains("CUDA 13.0, device code of"), "{info:?}");
            assert!(info.units > 0 && info.memory_bytes > 0);
            return;
        }
    }
}

#[test]
fn two_devices_are_told_apart() {
    let name = "memory::two_devices_are_told_apart";
    if under("sm_120", name, &[("MXHAL_SIM_DEVICES", "2")]) {
        let cuda = cuda(|_| {});
        assert_eq!(cuda.device_count(), Ok(2));
        let (one, other) = (cuda.open_device(0).unwrap(), cuda.open_device(1).unwrap());
        assert_eq!(cuda.open_device(2).err().unwrap().status(), Status::InvalidArgument);
        let address = one.allocate(64).unwrap();
        let error = other.free(address).unwrap_err();
        assert!(error.message().contains("this device"), "{error}");
        one.free(address).unwrap();
        let stream = other.create_stream().unwrap();
        let buffer = Buffer::new(&other, 64).unwrap();
        buffer.write(&*stream, &[7; 64]).unwrap();
        let mut bytes = [0; 64];
        buffer.read(&*stream, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 64]);
    }
}

#[test]
fn memory_that_is_not_there_is_said_with_what_is_free_and_everything_goes_on() {
    let name = "memory::memory_that_is_not_there_is_said_with_what_is_free_and_everything_goes_on";
    if under("sm_120", name, &[("MXHAL_SIM_MEMORY", "67108864")]) {
        let device = Rig::new().device;
        let error = device.allocate(1 << 27).unwrap_err();
        assert_eq!((error.status(), error.vendor_code()), (Status::OutOfMemory, 2));
        for part in ["134217728 bytes", "free", "CUDA_ERROR_OUT_OF_MEMORY", "nvidia-smi"] {
            assert!(error.message().contains(part), "{error}");
        }
        assert_eq!(device.allocate(u64::MAX).unwrap_err().status(), Status::OutOfMemory);
        let address = device.allocate(1 << 10).unwrap();
        assert!(address.is_multiple_of(device.info().unwrap().alignment));
        device.free(address).unwrap();
        assert_eq!(device.free(address).unwrap_err().status(), Status::InvalidArgument);
        device.free(0).unwrap();
    }
}

#[test]
fn what_was_freed_is_free_though_the_pool_keeps_it() {
    if under("sm_120", "memory::what_was_freed_is_free_though_the_pool_keeps_it", &[]) {
        let device = Rig::new().device;
        let before = device.memory().unwrap();
        let address = device.allocate(1 << 24).unwrap();
        assert!(device.memory().unwrap().free <= before.free - (1 << 24));
        device.free(address).unwrap();
        // What is freed is so when the stream has come by, which the next allocation waits for.
        let next = device.allocate(16).unwrap();
        assert!(device.memory().unwrap().free > before.free - (1 << 24));
        device.free(next).unwrap();
    }
}

#[test]
fn memory_of_the_host_is_the_host_s() {
    if under("sm_90", "memory::memory_of_the_host_is_the_host_s", &[]) {
        let rig = Rig::new();
        let address = rig.device.allocate_host(32).unwrap();
        // SAFETY: allocated for the host a moment ago, and used by nobody else.
        let bytes = unsafe { std::slice::from_raw_parts_mut(address as *mut u8, 32) };
        bytes.fill(3);
        let buffer = Buffer::new(&rig.device, 32).unwrap();
        buffer.write(&*rig.stream, bytes).unwrap();
        rig.stream.fill(buffer.span().part(0, 8).unwrap(), 9).unwrap();
        buffer.read(&*rig.stream, bytes).unwrap();
        assert_eq!((bytes[7], bytes[8]), (9, 3));
        rig.device.free_host(address).unwrap();
        assert_eq!(rig.device.free_host(address).unwrap_err().status(), Status::InvalidArgument);
    }
}
