//! Hosts of other versions (R1): an older one with a shorter table, a newer one with longer structs full of poison. And a
//! plugin that was shut down is opened again.
//!
//! The plugin is shut down while these are asked, and each opens it with tables of its own.

use std::mem::offset_of;

use mxhal_core::Status::{InvalidArgument, Unavailable, Unsupported};
use mxhal_ffi::{Opening, sys};

use super::answer::{Answer, Finding, ensure, wrong};
use super::bytes::OpBytes;
use super::identity::complete;
use super::raw::{self, ErrorMode, Plan, Raw};
use super::session::{Planned, Session};
use super::tables::{HostMemory, TableMemory};
use crate::outcome::Outcome;

/// Asked of a plugin that is shut down, of the device with this index.
pub(super) type AskClosed = fn(&Opening, u32) -> Finding;

/// As the tables of other questions.
pub(super) const QUESTIONS: &[(&str, AskClosed)] = &[
    ("host/newer", newer),
    ("host/older-table", older_table),
    ("host/older-struct", older_struct),
    ("host/older-version", older_version),
    ("host/opened-again", opened_again),
];

const HOST: usize = size_of::<sys::mxhal_host>();
const TABLE: usize = size_of::<sys::mxhal_plugin>();

/// A version that is not there yet.
const LATER: u32 = sys::MXHAL_ABI_MINOR + 7;

const MAJOR: u32 = sys::MXHAL_ABI_MAJOR;

/// Every struct is longer than the plugin can know, and holds poison behind what it knows.
fn newer(opening: &Opening, index: u32) -> Finding {
    let mut visit = Visit::new(opening, HOST + 64, TABLE + 128, LATER)?;
    visit.open(ErrorMode::Longer)?.ok_and_silent().map_err(|outcome| of_a_newer_host(*outcome))?;
    let said = visit.filled()?;
    complete(visit.table())?;
    let built = opening.identity_data().abi_minor_built;
    let spoken = visit.table().abi_minor;
    ensure(spoken == built, || {
        format!(
            "to a host of version {MAJOR}.{LATER} the table's abi_minor is {spoken}; it is the plugin's, {built}"
        )
    })?;
    ensure(said <= TABLE || built > sys::MXHAL_ABI_MINOR, || {
        format!(
            "the table's struct_size is {said}; it is the smaller of both sides', and the plugin's is {TABLE}"
        )
    })?;
    let raw = visit.raw().with_errors(ErrorMode::Longer);
    let extension = raw.extension(c"mxhal.ext.of-a-later-version").filter(|table| !table.is_null());
    ensure(extension.is_none(), || "extension gave a table for a name of a later version".to_owned())?;
    works(raw, index)?;
    let session = Session::at(raw, index)?;
    let (mut plan, kind) = (Plan::NULL, 54_321);
    let op = OpBytes::head(size_of::<sys::mxhal_op_moe_ffn>() as u32 + 64, kind);
    raw.plan_create(session.device, Some(&op), Some(&mut plan))
        .refused(Unsupported, "a kind of a later version")?;
    drop(session);
    visit.shut_down()
}

/// The host's memory for the table ends early. What an operator needs is there as long as only `extension` is not.
fn older_table(opening: &Opening, index: u32) -> Finding {
    for bytes in [
        offset_of!(sys::mxhal_plugin, extension),
        offset_of!(sys::mxhal_plugin, weights_prepare),
        offset_of!(sys::mxhal_plugin, op_supports),
        offset_of!(sys::mxhal_plugin, device_count),
    ] {
        let mut visit = Visit::new(opening, HOST, bytes, sys::MXHAL_ABI_MINOR)?;
        let answer = visit.open(ErrorMode::Whole)?;
        let why = format!("a table of {bytes} bytes");
        let all_required = bytes == offset_of!(sys::mxhal_plugin, extension);
        if !all_required && answer.status != 0 {
            // Less than any version has.
            visit.refused(answer, &why)?;
            continue;
        }
        answer.ok_and_silent()?;
        visit.filled()?;
        if all_required {
            complete(visit.table())?;
            works(visit.raw(), index)?;
        }
        visit.shut_down()?;
    }
    Ok(())
}

/// The host's own table ends before its options, or its log: behind its end is no memory.
fn older_struct(opening: &Opening, _index: u32) -> Finding {
    for bytes in [offset_of!(sys::mxhal_host, option_keys), offset_of!(sys::mxhal_host, log)] {
        let visit = Visit::new(opening, bytes, TABLE, sys::MXHAL_ABI_MINOR)?;
        visit.opened_or_refused(&format!("a host's table of {bytes} bytes"))?;
    }
    Ok(())
}

/// A host from before the least version that the plugin says it runs on.
fn older_version(opening: &Opening, _index: u32) -> Finding {
    let Some(earlier) = opening.identity_data().abi_minor_least.checked_sub(1) else {
        let text = "the plugin runs on hosts of every minor version".to_owned();
        return Err(Box::new(Outcome::Skipped { text }));
    };
    Visit::new(opening, HOST, TABLE, earlier)?
        .opened_or_refused(&format!("a host of version {MAJOR}.{earlier}"))
}

/// After its shutdown a plugin may be opened again.
fn opened_again(opening: &Opening, index: u32) -> Finding {
    for _ in 0..3 {
        let mut visit = Visit::new(opening, HOST, TABLE, sys::MXHAL_ABI_MINOR)?;
        visit.open(ErrorMode::Whole)?.ok_and_silent()?;
        visit.filled()?;
        works(visit.raw(), index)?;
        visit.shut_down()?;
    }
    Ok(())
}

/// A device opens, and an operator runs if there is one.
fn works(raw: Raw<'_>, index: u32) -> Finding {
    match Planned::at(raw, index)? {
        Some(planned) => planned.run(),
        None => Session::at(raw, index).map(drop),
    }
}

fn of_a_newer_host(outcome: Outcome) -> Box<Outcome> {
    match outcome {
        Outcome::Fail(failure) => wrong(format!(
            "a newer host has longer structs and a greater minor version, and is served as far as both know them \
             (R1: >=, never ==): {}",
            failure.message
        )),
        other => Box::new(other),
    }
}

/// One time that the plugin is open; it is shut down at the end as far as a question has not.
struct Visit<'a> {
    opening: &'a Opening,
    host: HostMemory,
    memory: TableMemory,
    /// The plugin's, while it is open.
    table: Option<Box<sys::mxhal_plugin>>,
}

impl<'a> Visit<'a> {
    /// With a host's table and room for the plugin's of so many bytes.
    fn new(opening: &'a Opening, host: usize, table: usize, abi_minor: u32) -> Finding<Self> {
        let texts = opening.host_table().map_err(Outcome::from)?;
        let host = HostMemory::new(texts, host, abi_minor)?;
        Ok(Self { opening, host, memory: TableMemory::new(table), table: None })
    }

    fn open(&mut self, mode: ErrorMode) -> Finding<Answer> {
        let answer = raw::open(self.opening, &self.host, &mut self.memory, mode);
        if answer.status == 0 {
            self.within_its_memory()?;
            self.table = Some(Box::new(self.memory.table()));
        }
        Ok(answer)
    }

    /// A plugin that opens all the same keeps to the sizes; one that refuses says why, and has done nothing.
    fn opened_or_refused(mut self, why: &str) -> Finding {
        let answer = self.open(ErrorMode::Whole)?;
        if answer.status != 0 {
            return self.refused(answer, why);
        }
        answer.ok_and_silent()?;
        self.filled()?;
        self.shut_down()
    }

    fn refused(&self, answer: Answer, why: &str) -> Finding {
        answer.refused_as(&[InvalidArgument, Unsupported, Unavailable], why)?;
        ensure(self.memory.said() == self.memory.given() && self.memory.written(8).is_none(), || {
            format!("mxhal_plugin_open with {why} failed, and wrote to the plugin's table (R2)")
        })
    }

    fn within_its_memory(&self) -> Finding {
        let (given, said) = (self.memory.given(), self.memory.said());
        if let Some(byte) = self.memory.written(given) {
            return Err(wrong(format!(
                "mxhal_plugin_open wrote byte {byte} of the plugin's table, of which the host has {given} (R1)"
            )));
        }
        ensure(said <= given && said >= offset_of!(sys::mxhal_plugin, device_count), || {
            format!(
                "the table's struct_size is {said} after it was {given}; it is the smaller of both sides'"
            )
        })
    }

    /// All that the plugin says it filled is filled, and nothing else; gives how much that is.
    fn filled(&self) -> Finding<usize> {
        let said = self.memory.said();
        if let Some(byte) = self.memory.unwritten(said) {
            return Err(wrong(format!(
                "the table's struct_size is {said}, and the 8 bytes from {byte} on were left as they were: it is the \
                 smaller of both sides', and what may be null is written too"
            )));
        }
        if let Some(byte) = self.memory.written(said) {
            return Err(wrong(format!("the table's struct_size is {said}, and byte {byte} was written")));
        }
        Ok(said)
    }

    fn table(&self) -> &sys::mxhal_plugin {
        self.table.as_ref().expect("it is asked for while the plugin is open")
    }

    fn raw(&self) -> Raw<'_> {
        Raw::of(self.table())
    }

    fn shut_down(mut self) -> Finding {
        let table = self.table.take().expect("it is shut down once, while it is open");
        Raw::of(&table).shutdown().ok_and_silent()
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // What a question found was said; the next one needs the plugin shut down.
        if let Some(table) = self.table.take().filter(|table| table.shutdown.is_some()) {
            let _ = Raw::of(&table).shutdown();
        }
    }
}
