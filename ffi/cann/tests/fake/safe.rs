//! Ownership, contexts and errors, against a runtime that logs what is asked of it.

use std::ptr;

use crate::installation::Installation;
use mxhal_cann::library::Search;
use mxhal_cann::safe::op::{DynamicMxQuant, Gate, MoeGatingTopK, SwiGlu};
use mxhal_cann::safe::{
    Context, DataType, DeviceBuffer, Executor, HostBuffer, IntArray, Runtime, Stream, TensorList, TensorSpec,
    TensorView,
};
use mxhal_cann::{Error, sys};

/// A runtime on an installation, with its log emptied.
fn open(installation: &Installation) -> (Context, Stream) {
    let runtime = Runtime::open(&Search::only(installation.root())).unwrap();
    let context = Context::new(&runtime, 0).unwrap();
    let stream = Stream::new(&context).unwrap();
    installation.log();
    (context, stream)
}

/// A tensor that the log knows by this number.
fn tensor(context: &Context, number: i64) -> TensorView {
    let spec = TensorSpec::contiguous(DataType::Float, &[number]);
    let buffer = DeviceBuffer::new(context, spec.bytes().unwrap()).unwrap();
    TensorView::new(spec, &buffer, 0).unwrap()
}

fn quantise(context: &Context) -> Executor {
    let (x, y, scale) = (tensor(context, 1), tensor(context, 2), tensor(context, 3));
    DynamicMxQuant::new(&x, &y, &scale).prepare(context).unwrap()
}

#[test]
fn initialising_twice_is_no_error() {
    let installation = Installation::complete();
    let first = Runtime::open(&Search::only(installation.root())).unwrap();
    Runtime::new(first.library().clone()).unwrap();
    assert_eq!(installation.log(), "init\n");
    assert_eq!(first.soc_name().unwrap(), "Ascend950PR_9599");
    assert_eq!(first.device_count().unwrap(), 1);
}

#[test]
fn an_error_has_number_name_meaning_function_and_the_message_of_cann_once() {
    let installation = Installation::complete();
    let runtime = Runtime::open(&Search::only(installation.root())).unwrap();
    let Err(Error::Acl(error)) = Context::new(&runtime, 9) else { panic!("device 9 is not there") };
    assert_eq!(error.code, sys::ACL_ERROR_RT_INVALID_DEVICEID as i32);
    assert_eq!((error.name, error.function), ("ACL_ERROR_RT_INVALID_DEVICEID", "aclrtSetDevice"));
    assert_eq!(error.recent_message.as_deref(), Some("fake: there is device 0 only"));
    let text = error.to_string();
    assert!(
        text.contains("107001")
            && text.contains("no device of this number")
            && text.contains("device 0 only"),
        "{text}"
    );
    // Taken, and null from then on.
    assert_eq!(runtime.library().acl_get_recent_err_msg(), None);
}

#[test]
fn memory_that_is_not_there_is_an_error_with_its_number() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let error = DeviceBuffer::new(&context, 1 << 40).unwrap_err();
    assert_eq!(error.code(), Some(sys::ACL_ERROR_RT_MEMORY_ALLOCATION as i32));
    let error = DeviceBuffer::new(&context, 0).unwrap_err().to_string();
    assert!(error.contains("no bytes"), "{error}");
}

#[test]
fn a_function_that_this_cann_lacks_is_an_error_that_names_it() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let Err(Error::MissingFunction { function, .. }) = context.memory() else {
        panic!("the fake has no such function")
    };
    assert_eq!(function, "aclrtGetMemInfo");
}

#[test]
fn an_operator_that_this_cann_lacks_is_an_error_that_says_where_it_was_looked_for() {
    let installation = Installation::with_operators(|name| !name.starts_with("aclnnSwiGlu"));
    let (context, _stream) = open(&installation);
    let x = tensor(&context, 1);
    let error = SwiGlu::new(&x, &x).prepare(&context).unwrap_err().to_string();
    assert!(
        error.contains("aclnnSwiGlu is not available: not in ") && error.contains("libopapi.so"),
        "{error}"
    );
}

#[test]
fn what_only_a_newer_version_can_do_is_refused_by_that_version_s_name() {
    let installation =
        Installation::with_operators(|name| !name.contains("QuantV") && !name.contains("TopKV2"));
    let (context, _stream) = open(&installation);
    let x = tensor(&context, 1);
    let mut quantise = DynamicMxQuant::new(&x, &x, &x);
    assert_eq!(quantise.prepare(&context).unwrap().function(), "aclnnDynamicMxQuant");
    quantise.dst_type_max = 6.0;
    let error = quantise.prepare(&context).unwrap_err().to_string();
    assert!(error.starts_with("aclnnDynamicMxQuantV2 is not available"), "{error}");
    quantise.max_low_bound = 1.0;
    let error = quantise.prepare(&context).unwrap_err().to_string();
    assert!(error.starts_with("aclnnDynamicMxQuantV3 is not available"), "{error}");

    let mut gate = MoeGatingTopK::new(&x, 2, Gate::SqrtSoftplus, &x, &x);
    assert_eq!(gate.prepare(&context).unwrap().function(), "aclnnMoeGatingTopK");
    gate.token_to_expert = Some(&x);
    let error = gate.prepare(&context).unwrap_err().to_string();
    assert!(error.starts_with("aclnnMoeGatingTopKV2 is not available"), "{error}");
}

#[test]
fn a_thread_without_a_context_gets_it_for_the_call() {
    let installation = Installation::complete();
    let (context, stream) = open(&installation);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let buffer = DeviceBuffer::from_host(&context, &[1, 2, 3]).unwrap();
            assert_eq!(buffer.to_host().unwrap(), [1, 2, 3]);
            stream.synchronize().unwrap();
            // The message of the query for a context that was not there is not left behind.
            assert_eq!(context.library().acl_get_recent_err_msg(), None);
        });
    });
    assert!(installation.log().starts_with("set context\nmalloc 3\n"));
}

#[test]
fn the_context_of_somebody_else_is_put_back() {
    let installation = Installation::complete();
    let (context, stream) = open(&installation);
    let mut somebody = 0_u8;
    let other: sys::aclrtContext = ptr::from_mut(&mut somebody).cast();
    // SAFETY: the fake does not look behind the handle.
    unsafe { context.library().aclrt_set_current_context(other) }.unwrap();
    stream.synchronize().unwrap();
    assert_eq!(context.library().aclrt_get_current_context().unwrap(), other);
    assert_eq!(installation.log(), "set context\nset context\nsynchronize\nset context\n");
}

#[test]
fn ranges_beyond_a_buffer_are_refused() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let buffer = DeviceBuffer::new(&context, 8).unwrap();
    for (offset, bytes) in [(0, 9), (8, 1), (usize::MAX, 2)] {
        let error = buffer.write(offset, &vec![0; bytes]).unwrap_err().to_string();
        assert!(error.contains("8 bytes of the buffer"), "{error}");
    }
    buffer.write(8, &[]).unwrap();
}

#[test]
fn page_locked_memory_is_zero_at_first() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let mut buffer = HostBuffer::new(&context, 100).unwrap();
    assert!(buffer.iter().all(|byte| *byte == 0));
    buffer[99] = 7;
    assert_eq!((buffer.len(), buffer[99]), (100, 7));
}

#[test]
fn tensors_that_are_not_aligned_are_refused() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let buffer = DeviceBuffer::new(&context, 128).unwrap();
    let error =
        TensorView::new(TensorSpec::contiguous(DataType::Float, &[4]), &buffer, 16).unwrap_err().to_string();
    assert!(error.contains("aligned to 32"), "{error}");
}

#[test]
fn an_executor_keeps_its_tensors_and_their_memory_until_it_has_run() {
    let installation = Installation::complete();
    let (context, stream) = open(&installation);
    let executor = quantise(&context);
    assert_eq!(executor.workspace_bytes(), 100);
    let log = installation.log();
    assert!(!log.contains('~') && !log.contains("free"), "{log}");
    executor.run_and_wait(&stream).unwrap();
    let expected = "malloc 100\nrun aclnnDynamicMxQuantV3\nsynchronize\nfree\n\
                    ~tensor 1\nfree\n~tensor 2\nfree\n~tensor 3\nfree\n";
    assert_eq!(installation.log(), expected);
}

#[test]
fn an_executor_that_never_runs_is_destroyed() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let executor = quantise(&context);
    installation.log();
    drop(executor);
    assert!(installation.log().starts_with("repeatable\n~executor\n~tensor 1\n"));
}

#[test]
fn a_workspace_that_is_too_small_is_refused_before_cann_sees_it() {
    let installation = Installation::complete();
    let (context, stream) = open(&installation);
    let executor = quantise(&context);
    let workspace = DeviceBuffer::new(&context, 99).unwrap();
    // SAFETY: the workspace is alive, and refused.
    let error = unsafe { executor.run(&stream, workspace.pointer(), 99) }.unwrap_err().to_string();
    assert_eq!(
        error.split(" at ").next(),
        Some("aclnnDynamicMxQuantV3 wants 100 bytes of workspace, but was given 99")
    );
    let executor = quantise(&context);
    // SAFETY: as above.
    assert!(unsafe { executor.run(&stream, ptr::null_mut(), 100) }.is_err());
    assert!(!installation.log().contains("run"));
}

#[test]
fn a_repeatable_executor_runs_often_on_other_memory_and_is_destroyed_once() {
    let installation = Installation::complete();
    let (context, stream) = open(&installation);
    let x = tensor(&context, 1);
    let mut executor = SwiGlu::new(&x, &x).prepare(&context).unwrap().into_repeatable().unwrap();
    let other = DeviceBuffer::new(&context, 64).unwrap();
    installation.log();
    executor.run_and_wait(&stream).unwrap();
    // SAFETY: the buffer is as large as the tensor and lives until the executor is gone.
    unsafe { executor.set_input_address(0, &x, other.pointer()) }.unwrap();
    // SAFETY: refused.
    assert!(unsafe { executor.set_input_address(0, &x, other.pointer().wrapping_byte_add(8)) }.is_err());
    executor.run_and_wait(&stream).unwrap();
    drop(executor);
    let log = installation.log();
    let events: Vec<&str> = log.lines().filter(|line| !line.contains("malloc") && *line != "free").collect();
    let expected =
        ["run aclnnSwiGlu", "synchronize", "input 0 of 1", "run aclnnSwiGlu", "synchronize", "~executor"];
    assert_eq!(events, expected);
}

#[test]
fn a_list_takes_its_tensors_over_and_they_are_destroyed_with_it_alone() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let list = TensorList::new(&context, vec![tensor(&context, 5), tensor(&context, 6)]).unwrap();
    assert_eq!(list.len(), 2);
    installation.log();
    drop(list);
    assert_eq!(installation.log(), "~list 5\nfree\nfree\n");
}

#[test]
fn a_tensor_that_is_used_elsewhere_is_not_taken_over() {
    let installation = Installation::complete();
    let (context, _stream) = open(&installation);
    let (one, shared) = (tensor(&context, 5), tensor(&context, 6));
    installation.log();
    let error = TensorList::new(&context, vec![one, shared.clone()]).unwrap_err().to_string();
    assert!(error.contains("tensor 1 of 2 is used elsewhere"), "{error}");
    // The one that could have been is destroyed, the other lives on.
    assert_eq!(installation.log(), "~tensor 5\nfree\n");
    drop(shared);
    assert_eq!(installation.log(), "~tensor 6\nfree\n");
}

#[test]
fn the_device_is_given_back_after_everything_made_on_it_whatever_the_order() {
    let installation = Installation::complete();
    let (context, stream) = open(&installation);
    let numbers = IntArray::new(&context, &[1]).unwrap();
    let buffer = DeviceBuffer::new(&context, 4).unwrap();
    installation.log();
    drop(context);
    drop(stream);
    drop(numbers);
    assert_eq!(installation.log(), "~stream\n~ints\n");
    drop(buffer);
    assert_eq!(installation.log(), "free\nreset device\n");
}
