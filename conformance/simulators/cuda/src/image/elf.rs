//! The ELF file of one architecture: its kernels, and what `.nv.info` says of each.
//!
//! Attributes of `.nv.info` are a format (8 bits), a number (8) and a size or value (16), and then the bytes of that size
//! where the format is 4. Their numbers are not documented; `cuobjdump -elf` names them.

use std::collections::BTreeMap;

use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol};

use super::{index, invalid, number};
use crate::product::RESERVED_SHARED_BYTES;
use crate::refusal::Answer;

type Header = object::elf::FileHeader64<Endianness>;

/// A kernel of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Offset and bytes of each parameter, in order.
    pub(crate) parameters: Vec<(u32, u32)>,
    /// Threads of a block, at most, or exactly.
    pub(crate) most_threads: Option<u32>,
    pub(crate) exact_threads: Option<[u32; 3]>,
    /// Blocks of a cluster that the kernel was compiled for.
    pub(crate) cluster: Option<[u32; 3]>,
    pub(crate) registers: u32,
    /// Bytes of shared memory of fixed size.
    pub(crate) shared_bytes: u32,
}

impl Function {
    /// One of which only the emulation is there: parameters of these bytes, each a multiple of eight from the first, and
    /// so many blocks along x in a cluster.
    pub(crate) fn emulated(name: &str, sizes: &[u32], cluster: u32) -> Self {
        let mut end = 0;
        let parameters = sizes.iter().map(|bytes| {
            let offset = end;
            end += bytes.next_multiple_of(8);
            (offset, *bytes)
        });
        let parameters = parameters.collect();
        let cluster = (cluster != 1).then_some([cluster, 1, 1]);
        Self { name: name.to_owned(), parameters, cluster, ..Self::default() }
    }
}

const MACHINE_CUDA: u16 = 190;

/// Attributes of `.nv.info`.
const SIZED: u64 = 4;
const MAX_THREADS: u64 = 0x05;
const REQUIRED_THREADS: u64 = 0x10;
const PARAMETER: u64 = 0x17;
const REGISTERS: u64 = 0x2f;
const CLUSTER: u64 = 0x3d;

/// All bytes of an ELF file, to the end of its headers and sections.
///
/// # Safety
///
/// `image` leads to a whole ELF file.
pub(super) unsafe fn bytes<'a>(image: *const u8) -> Answer<&'a [u8]> {
    // SAFETY: the file header is there.
    let head = unsafe { std::slice::from_raw_parts(image, size_of::<Header>()) };
    let header = Header::parse(head).map_err(|error| invalid(error.to_string()))?;
    let endian = header.endian().map_err(|error| invalid(error.to_string()))?;
    let table = |offset: u64, each: u16, count: u16| offset + u64::from(each) * u64::from(count);
    let sections_end = table(header.e_shoff(endian), header.e_shentsize(endian), header.e_shnum(endian));
    let segments_end = table(header.e_phoff(endian), header.e_phentsize(endian), header.e_phnum(endian));
    let mut end = sections_end.max(segments_end).max(size_of::<Header>() as u64);
    let tables = usize::try_from(end).map_err(|_| invalid("it is larger than the address space".into()))?;
    // SAFETY: so much the file header says.
    let tables = unsafe { std::slice::from_raw_parts(image, tables) };
    let sections = header.section_headers(endian, tables).map_err(|error| invalid(error.to_string()))?;
    for section in sections {
        if section.sh_type(endian) != object::elf::SHT_NOBITS {
            end = end.max(section.sh_offset(endian).saturating_add(section.sh_size(endian)));
        }
    }
    let end = usize::try_from(end).map_err(|_| invalid("it is larger than the address space".into()))?;
    // SAFETY: so much its section headers say.
    Ok(unsafe { std::slice::from_raw_parts(image, end) })
}

/// The number of its architecture: 120.
pub(super) fn architecture(bytes: &[u8]) -> Answer<u32> {
    if number::<2>(bytes, 18)? != u64::from(MACHINE_CUDA) {
        return Err(invalid("an ELF file that is not for a CUDA device".into()));
    }
    let flags = number::<4>(bytes, 48)?;
    Ok(u32::try_from(flags >> 8 & 0xff).expect("eight bits"))
}

/// Whether it is the file without code that the simulator's installation comes with: the bytes of the ELF
/// identification that mean nothing say so.
pub(super) fn is_stand_in(bytes: &[u8]) -> bool {
    bytes.get(9..16) == Some(b"standin")
}

/// Its kernels, by name.
pub(super) fn functions(bytes: &[u8]) -> Answer<Vec<Function>> {
    architecture(bytes)?;
    let file = object::File::parse(bytes).map_err(|error| invalid(error.to_string()))?;
    let mut functions: BTreeMap<String, Function> = BTreeMap::new();
    for section in file.sections() {
        let name = section.name().map_err(|error| invalid(error.to_string()))?;
        if let Some(kernel) = name.strip_prefix(".nv.info.") {
            let attributes = section.data().map_err(|error| invalid(error.to_string()))?;
            read_attributes(attributes, functions.entry(kernel.to_owned()).or_default())?;
        } else if let Some(kernel) = name.strip_prefix(".nv.shared.") {
            // What the driver takes of each block is in there.
            let bytes = u32::try_from(section.size()).unwrap_or(u32::MAX);
            let bytes = bytes.saturating_sub(RESERVED_SHARED_BYTES);
            functions.entry(kernel.to_owned()).or_default().shared_bytes = bytes;
        } else if name == ".nv.info" {
            let attributes = section.data().map_err(|error| invalid(error.to_string()))?;
            for_each(attributes, |attribute, at| {
                if attribute != REGISTERS {
                    return Ok(());
                }
                let symbol = object::SymbolIndex(index::<4>(attributes, at)?);
                let symbol = file.symbol_by_index(symbol);
                if let Some(kernel) = symbol.ok().and_then(|symbol| symbol.name().ok()) {
                    let count = u32::try_from(number::<4>(attributes, at + 4)?).expect("32 bits");
                    functions.entry(kernel.to_owned()).or_default().registers = count;
                }
                Ok(())
            })?;
        }
    }
    // Registers are told of device functions too; kernels are those with attributes of their own.
    let kernels: Vec<_> = file
        .sections()
        .filter_map(|section| section.name().ok()?.strip_prefix(".nv.info.").map(str::to_owned))
        .collect();
    functions.retain(|name, _| kernels.contains(name));
    let named = functions.into_iter().map(|(name, function)| Function { name, ..function });
    Ok(named.collect())
}

fn read_attributes(bytes: &[u8], function: &mut Function) -> Answer {
    let word = |at: usize| number::<4>(bytes, at).map(|word| u32::try_from(word).expect("32 bits"));
    let three = |at: usize| Ok([word(at)?, word(at + 4)?, word(at + 8)?]);
    let mut parameters = BTreeMap::new();
    for_each(bytes, |attribute, at| {
        match attribute {
            MAX_THREADS => function.most_threads = Some(three(at)?.iter().product()),
            REQUIRED_THREADS => function.exact_threads = Some(three(at)?),
            CLUSTER => function.cluster = Some(three(at)?).filter(|cluster| *cluster != [0; 3]),
            PARAMETER => {
                let (ordinal, offset) = (number::<2>(bytes, at + 4)?, number::<2>(bytes, at + 6)?);
                let offset = u32::try_from(offset).expect("16 bits");
                parameters.insert(ordinal, (offset, word(at + 8)? >> 18));
            }
            _ => {}
        }
        Ok(())
    })?;
    function.parameters = parameters.into_values().collect();
    Ok(())
}

/// Calls `see` with the number of each attribute that has bytes, and where they begin.
fn for_each(bytes: &[u8], mut see: impl FnMut(u64, usize) -> Answer) -> Answer {
    let mut at = 0;
    while at < bytes.len() {
        let (format, attribute) = (number::<1>(bytes, at)?, number::<1>(bytes, at + 1)?);
        let size = if format == SIZED { index::<2>(bytes, at + 2)? } else { 0 };
        if format == SIZED {
            see(attribute, at + 4)?;
        }
        at += 4 + size;
    }
    Ok(())
}
