//! Who the plugin says that it is, and the table that it gave.

use std::ffi::c_char;

use mxhal_ffi::{Source, convert, inspect, sys};

use super::Questions;
use super::answer::{Finding, ensure, wrong};
use super::raw::Raw;
use super::session::Session;
use crate::outcome::Outcome;
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("identity/texts", texts),
    ("identity/file-equals-memory", file_equals_memory),
    ("identity/versions", versions),
    ("table/complete", table),
    ("table/unknown-extension", unknown_extension),
    ("device/info", device_info),
];

fn texts(subject: &Subject) -> Finding {
    let identity = subject.plugin().identity_data();
    let name = printable("identity.name", &identity.name)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    ensure(!name.is_empty() && name.chars().all(allowed), || {
        format!("identity.name is `{name}`; it has lower-case letters, digits, `-` and `_`, at least one")
    })?;
    for (what, text) in [("vendor", &identity.vendor[..]), ("version", &identity.version[..])] {
        let text = printable(&format!("identity.{what}"), text)?;
        ensure(!text.is_empty(), || format!("identity.{what} is empty"))?;
    }
    Ok(())
}

fn file_equals_memory(subject: &Subject) -> Finding {
    let Source::File(path) = subject.plugin().source() else {
        let text = "the embedded plugin has no file".to_owned();
        return Err(Box::new(Outcome::Skipped { text }));
    };
    let inspection = inspect::inspect(path)
        .map_err(|error| wrong(format!("the file was loaded, and now it cannot be inspected: {error}")))?;
    let Some(identity) = inspection.identity else {
        return Err(wrong("the file was loaded, and no mxhal_identity is found in it"));
    };
    let memory = subject.plugin().identity_data();
    let text = |bytes: &[c_char]| convert::text(bytes);
    let pairs = [
        ("name", identity.name.clone(), text(&memory.name)),
        ("vendor", identity.vendor.clone(), text(&memory.vendor)),
        ("version", identity.version.clone(), text(&memory.version)),
    ];
    for (what, file, memory) in pairs {
        ensure(file == memory, || {
            format!("identity.{what} is `{file}` in the file and `{memory}` in memory; it is constant data")
        })?;
    }
    Ok(())
}

fn versions(subject: &Subject) -> Finding {
    let identity = subject.plugin().identity_data();
    let sys::mxhal_plugin_identity { struct_size, abi_minor_least, abi_minor_built, .. } = *identity;
    ensure(struct_size as usize >= size_of::<sys::mxhal_plugin_identity>(), || {
        format!("identity.struct_size is {struct_size}; it is that of mxhal_plugin_identity, or more")
    })?;
    ensure(abi_minor_least <= abi_minor_built, || {
        format!("identity.abi_minor_least is {abi_minor_least}, above abi_minor_built, {abi_minor_built}")
    })?;
    let known = sys::MXHAL_PLUGIN_MAY_UNLOAD;
    ensure(identity.flags & !known == 0 || abi_minor_built > sys::MXHAL_ABI_MINOR, || {
        format!("identity.flags is {:#x}; this version knows {known:#x}", identity.flags)
    })?;
    let spoken = subject.plugin().table().abi_minor;
    ensure(spoken == abi_minor_built, || {
        format!("the table's abi_minor is {spoken}, and the identity was built for {abi_minor_built}")
    })
}

fn table(subject: &Subject) -> Finding {
    let table = subject.plugin().table();
    let ours = size_of::<sys::mxhal_plugin>();
    ensure(table.struct_size as usize <= ours, || {
        format!(
            "the table's struct_size is {}; it is the smaller of both sides', and ours is {ours}",
            table.struct_size
        )
    })?;
    complete(table)
}

/// Every function is there but those that may be null.
pub(super) fn complete(table: &sys::mxhal_plugin) -> Finding {
    macro_rules! present {
        ($($function:ident)*) => {
            [$((stringify!($function), table.$function.is_some())),*]
        };
    }
    let functions = present!(
        shutdown device_count device_open device_close device_info memory_alloc memory_free memory_info
        memory_host_alloc memory_host_free stream_create stream_destroy stream_synchronize event_create
        event_destroy event_record event_wait event_synchronize event_elapsed copy_to_device copy_to_host
        copy_on_device fill op_supports plan_create plan_info plan_run plan_destroy weights_prepare
        weights_export weights_info weights_destroy
    );
    let missing: Vec<&str> = functions.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    ensure(missing.is_empty(), || {
        format!("the table lacks {}; only extension and stream_wrap may be null", missing.join(", "))
    })
}

fn unknown_extension(subject: &Subject) -> Finding {
    let raw = Raw::new(subject.plugin());
    for name in [c"mxhal.ext.no-such-extension", c""] {
        let given = raw.extension(name).filter(|table| !table.is_null());
        ensure(given.is_none(), || format!("extension({name:?}) gave a table; an unknown one is null"))?;
    }
    Ok(())
}

fn device_info(subject: &Subject) -> Finding {
    let session = Session::open(subject)?;
    let mut info: sys::mxhal_device_info = convert::empty();
    session.raw.device_info(session.device, Some(&mut info)).ok_and_silent()?;
    let name = printable("device_info.name", &info.name)?;
    ensure(!name.is_empty(), || "device_info.name is empty; reports print it".to_owned())?;
    printable("device_info.architecture", &info.architecture)?;
    printable("device_info.driver", &info.driver)?;
    ensure(info.alignment.is_power_of_two() && info.alignment <= 4096, || {
        format!("device_info.alignment is {}; it is a power of two, at most 4096", info.alignment)
    })?;
    ensure(info.memory_bytes > 0 && info.units > 0, || {
        format!("device_info says {} bytes of memory and {} units", info.memory_bytes, info.units)
    })
}

/// A text of the header: ends in 0, UTF-8, and nothing in it that a terminal obeys.
pub(super) fn printable(what: &str, text: &[c_char]) -> Finding<String> {
    let bytes: Vec<u8> = text.iter().map(|character| character.to_ne_bytes()[0]).collect();
    let Some(end) = bytes.iter().position(|byte| *byte == 0) else {
        return Err(wrong(format!("{what} does not end in 0 within its {} bytes", bytes.len())));
    };
    match String::from_utf8(bytes[..end].to_vec()) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text),
        Ok(text) => Err(wrong(format!("{what} is {text:?}; it holds no control characters"))),
        Err(error) => Err(wrong(format!("{what} is not UTF-8: {error}"))),
    }
}
