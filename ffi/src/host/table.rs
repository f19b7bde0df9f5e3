//! The plugin's table with every required function known to be there.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;

use crate::sys::{
    mxhal_answer, mxhal_device, mxhal_device_info, mxhal_error, mxhal_event, mxhal_op, mxhal_plan,
    mxhal_plan_info, mxhal_plugin, mxhal_stream, mxhal_tensor, mxhal_weights, mxhal_weights_desc,
    mxhal_weights_info,
};

/// Why a table cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableError {
    /// The function is null.
    Null(&'static str),
    /// The plugin says that its table ends before it.
    Beyond { function: &'static str, wanted: usize, got: usize },
}

type Error = *mut mxhal_error;

macro_rules! table {
    (
        required { $($name:ident: ($($argument:ty),*)),* $(,)? }
        optional { $($maybe:ident: $kind:ty),* $(,)? }
    ) => {
        /// The functions of a plugin. A pointer beyond the plugin's struct does not exist.
        #[derive(Clone, Copy)]
        #[allow(clippy::type_complexity, reason = "the signatures are those of the header")]
        pub(crate) struct Table {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) -> i32,)*
            $(pub(crate) $maybe: Option<$kind>,)*
        }

        impl Table {
            pub(crate) fn new(raw: &mxhal_plugin) -> Result<Self, TableError> {
                let there = |end: usize| end <= raw.struct_size as usize;
                Ok(Self {
                    $($name: {
                        let end = offset_of!(mxhal_plugin, $name) + size_of::<usize>();
                        if !there(end) {
                            return Err(TableError::Beyond {
                                function: stringify!($name),
                                wanted: end,
                                got: raw.struct_size as usize,
                            });
                        }
                        raw.$name.ok_or(TableError::Null(stringify!($name)))?
                    },)*
                    $($maybe: if there(offset_of!(mxhal_plugin, $maybe) + size_of::<usize>()) {
                        raw.$maybe
                    } else {
                        None
                    },)*
                })
            }
        }
    };
}

table! {
    required {
        shutdown: (*mut c_void, Error),
        device_count: (*mut c_void, *mut u32, Error),
        device_open: (*mut c_void, u32, *mut *mut mxhal_device, Error),
        device_close: (*mut mxhal_device, Error),
        device_info: (*mut mxhal_device, *mut mxhal_device_info, Error),
        memory_alloc: (*mut mxhal_device, u64, *mut *mut c_void, Error),
        memory_free: (*mut mxhal_device, *mut c_void, Error),
        memory_info: (*mut mxhal_device, *mut u64, *mut u64, Error),
        memory_host_alloc: (*mut mxhal_device, u64, *mut *mut c_void, Error),
        memory_host_free: (*mut mxhal_device, *mut c_void, Error),
        stream_create: (*mut mxhal_device, *mut *mut mxhal_stream, Error),
        stream_destroy: (*mut mxhal_stream, Error),
        stream_synchronize: (*mut mxhal_stream, u64, Error),
        event_create: (*mut mxhal_device, *mut *mut mxhal_event, Error),
        event_destroy: (*mut mxhal_event, Error),
        event_record: (*mut mxhal_event, *mut mxhal_stream, Error),
        event_wait: (*mut mxhal_event, *mut mxhal_stream, Error),
        event_synchronize: (*mut mxhal_event, u64, Error),
        event_elapsed: (*mut mxhal_event, *mut mxhal_event, *mut f64, Error),
        copy_to_device: (*mut mxhal_stream, *mut c_void, *const c_void, u64, Error),
        copy_to_host: (*mut mxhal_stream, *mut c_void, *const c_void, u64, Error),
        copy_on_device: (*mut mxhal_stream, *mut c_void, *const c_void, u64, Error),
        fill: (*mut mxhal_stream, *mut c_void, u8, u64, Error),
        op_supports: (*mut mxhal_device, *const mxhal_op, *mut mxhal_answer, Error),
        plan_create: (*mut mxhal_device, *const mxhal_op, *mut *mut mxhal_plan, Error),
        plan_info: (*const mxhal_plan, *mut mxhal_plan_info, Error),
        plan_run: (
            *const mxhal_plan, *mut mxhal_stream, *const *const mxhal_tensor, u32, *const *const mxhal_weights,
            u32, *mut c_void, u64, Error
        ),
        plan_destroy: (*mut mxhal_plan, Error),
        weights_prepare: (
            *mut mxhal_device, *const mxhal_weights_desc, *const *const mxhal_tensor, u32,
            *mut *mut mxhal_weights, Error
        ),
        weights_export: (*const mxhal_weights, *const mxhal_tensor, Error),
        weights_info: (*const mxhal_weights, *mut mxhal_weights_info, Error),
        weights_destroy: (*mut mxhal_weights, Error),
    }
    optional {
        stream_wrap: unsafe extern "C" fn(*mut mxhal_device, *mut c_void, *mut *mut mxhal_stream, Error) -> i32,
        extension: unsafe extern "C" fn(*mut c_void, *const c_char) -> *const c_void,
    }
}
