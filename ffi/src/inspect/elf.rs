//! The parts of an ELF file that matter, by way of its program headers, as the dynamic linker reads them: section headers
//! may be stripped.

use object::elf;
use object::endian::Endianness;
use object::read::elf::{FileHeader, GnuHashTable, HashTable, ProgramHeader};
use object::read::{ReadRef, StringTable};

use super::{Class, IDENTITY_SYMBOL, InspectError, Machine};

/// What was read of a file.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) class: Class,
    pub(super) little_endian: bool,
    pub(super) machine: Machine,
    pub(super) is_shared_object: bool,
    /// `DT_NEEDED`, in order.
    pub(super) needed: Vec<String>,
    pub(super) rpath: Vec<String>,
    pub(super) runpath: Vec<String>,
    pub(super) exported: Vec<String>,
    pub(super) undefined: Vec<String>,
    pub(super) glibc_needed: Option<(u32, u32)>,
    /// The bytes of the identity, if this machine's byte order is the file's.
    pub(super) identity: Option<Vec<u8>>,
}

impl Elf {
    /// Reads all of it. Of a 32-bit file only the header is read.
    pub(super) fn parse<'data>(data: impl ReadRef<'data>) -> Result<Self, InspectError> {
        let (mut this, dynamic) = Self::parse_head(data)?;
        if let Some(dynamic) = dynamic {
            dynamic.read_symbols(&mut this)?;
            dynamic.read_versions(&mut this)?;
        }
        Ok(this)
    }

    /// Reads what the search for libraries needs.
    pub(super) fn parse_needs<'data>(data: impl ReadRef<'data>) -> Result<Self, InspectError> {
        Self::parse_head(data).map(|(this, _)| this)
    }

    /// Whether the dynamic linker would take it where it takes `other`.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.class == other.class
            && self.machine == other.machine
            && self.little_endian == other.little_endian
    }

    fn parse_head<'data, R: ReadRef<'data>>(
        data: R,
    ) -> Result<(Self, Option<Dynamic<'data, R>>), InspectError> {
        let ident = data.read_bytes_at(0, 16).map_err(|()| not_elf(data))?;
        if !ident.starts_with(&elf::ELFMAG) {
            return Err(not_elf(data));
        }
        match ident[4] {
            1 => {
                let header = elf::FileHeader32::<Endianness>::parse(data).map_err(damaged)?;
                Ok((Self::of_header(header, Class::Elf32)?, None))
            }
            2 => {
                let header = elf::FileHeader64::<Endianness>::parse(data).map_err(damaged)?;
                let mut this = Self::of_header(header, Class::Elf64)?;
                let dynamic = Dynamic::find(header, data)?;
                if let Some(dynamic) = &dynamic {
                    dynamic.read_needs(&mut this)?;
                }
                Ok((this, dynamic))
            }
            other => Err(InspectError::Damaged(format!("its class is {other}, and there are only 1 and 2"))),
        }
    }

    fn of_header<H: FileHeader<Endian = Endianness>>(header: &H, class: Class) -> Result<Self, InspectError> {
        let endian = header.endian().map_err(damaged)?;
        Ok(Self {
            class,
            little_endian: endian == Endianness::Little,
            machine: Machine(header.e_machine(endian).0),
            is_shared_object: header.e_type(endian) == elf::ET_DYN,
            needed: Vec::new(),
            rpath: Vec::new(),
            runpath: Vec::new(),
            exported: Vec::new(),
            undefined: Vec::new(),
            glibc_needed: None,
            identity: None,
        })
    }
}

fn damaged(error: object::read::Error) -> InspectError {
    InspectError::Damaged(error.to_string())
}

fn broken(what: &str) -> InspectError {
    InspectError::Damaged(format!("{what} lies outside the file"))
}

/// What it is instead, as far as its first bytes tell.
fn not_elf<'data>(data: impl ReadRef<'data>) -> InspectError {
    let length = data.len().unwrap_or(0);
    let begins = data.read_bytes_at(0, length.min(32)).unwrap_or_default();
    InspectError::NotElf(if begins.is_empty() {
        "it is empty".to_owned()
    } else if begins.starts_with(&elf::ELFMAG) {
        format!("it ends after {length} bytes")
    } else if begins.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')) {
        format!("it is text that begins with {:?}", String::from_utf8_lossy(begins))
    } else {
        let first: Vec<String> = begins.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("it begins with the bytes {}", first.join(" "))
    })
}

/// Longer than compilers make them, and short enough that a damaged file does not fill the memory.
const LONGEST_NAME: usize = 1 << 16;

/// The same for the number of versions.
const MOST_VERSIONS: usize = 1 << 16;

type Header = elf::FileHeader64<Endianness>;

/// The dynamic segment of a 64-bit file.
struct Dynamic<'data, R: ReadRef<'data>> {
    data: R,
    endian: Endianness,
    segments: &'data [elf::ProgramHeader64<Endianness>],
    entries: Vec<(i64, u64)>,
    strings: StringTable<'data, R>,
}

/// Tags of the dynamic segment: generic ABI, chapter 5, and the GNU extensions.
mod tag {
    pub(super) const NULL: i64 = 0;
    pub(super) const NEEDED: i64 = 1;
    pub(super) const HASH: i64 = 4;
    pub(super) const STRTAB: i64 = 5;
    pub(super) const SYMTAB: i64 = 6;
    pub(super) const STRSZ: i64 = 10;
    pub(super) const RPATH: i64 = 15;
    pub(super) const RUNPATH: i64 = 29;
    pub(super) const GNU_HASH: i64 = 0x6fff_fef5;
    pub(super) const VERNEED: i64 = 0x6fff_fffe;
    pub(super) const VERNEEDNUM: i64 = 0x6fff_ffff;
}

impl<'data, R: ReadRef<'data>> Dynamic<'data, R> {
    fn find(header: &Header, data: R) -> Result<Option<Self>, InspectError> {
        let endian = header.endian().map_err(damaged)?;
        let segments = header.program_headers(endian, data).map_err(damaged)?;
        for segment in segments {
            let Some(entries) = segment.dynamic(endian, data).map_err(damaged)? else { continue };
            let entries: Vec<(i64, u64)> = entries
                .iter()
                .map(|entry| (entry.d_tag.get(endian).0, entry.d_val.get(endian)))
                .take_while(|(tag, _)| *tag != tag::NULL)
                .collect();
            let mut this = Self { data, endian, segments, entries, strings: StringTable::default() };
            if let (Some(at), Some(size)) = (this.value(tag::STRTAB), this.value(tag::STRSZ)) {
                let start = this.offset(at).ok_or_else(|| broken("its string table"))?;
                let end = start.checked_add(size).ok_or_else(|| broken("its string table"))?;
                this.strings = StringTable::new(data, start, end);
            }
            return Ok(Some(this));
        }
        Ok(None)
    }

    fn value(&self, tag: i64) -> Option<u64> {
        self.entries.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value)
    }

    /// Where in the file an address lies.
    fn offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.p_type.get(self.endian) == elf::PT_LOAD).find_map(
            |segment| {
                let inside = address.checked_sub(segment.p_vaddr.get(self.endian))?;
                if inside >= segment.p_filesz.get(self.endian) {
                    return None;
                }
                segment.p_offset.get(self.endian).checked_add(inside)
            },
        )
    }

    /// The file from an address on, to the end of its segment.
    fn bytes_at(&self, address: u64) -> Option<&'data [u8]> {
        self.segments.iter().filter(|segment| segment.p_type.get(self.endian) == elf::PT_LOAD).find_map(
            |segment| {
                let inside = address.checked_sub(segment.p_vaddr.get(self.endian))?;
                let rest = segment.p_filesz.get(self.endian).checked_sub(inside)?;
                self.data.read_bytes_at(segment.p_offset.get(self.endian).checked_add(inside)?, rest).ok()
            },
        )
    }

    fn string(&self, offset: u64) -> Result<String, InspectError> {
        let bytes = u32::try_from(offset).ok().and_then(|offset| self.strings.get(offset).ok());
        let bytes = bytes.ok_or_else(|| broken("a name"))?;
        if bytes.len() > LONGEST_NAME {
            return Err(InspectError::Damaged(format!("a name has {} bytes", bytes.len())));
        }
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn read_needs(&self, into: &mut Elf) -> Result<(), InspectError> {
        for &(tag, value) in &self.entries {
            match tag {
                tag::NEEDED => into.needed.push(self.string(value)?),
                tag::RPATH => into.rpath.extend(self.string(value)?.split(':').map(str::to_owned)),
                tag::RUNPATH => into.runpath.extend(self.string(value)?.split(':').map(str::to_owned)),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_symbols(&self, into: &mut Elf) -> Result<(), InspectError> {
        let Some(at) = self.value(tag::SYMTAB) else { return Ok(()) };
        let count = self.symbol_count(at).ok_or_else(|| broken("its symbol table"))?;
        let offset = self.offset(at).ok_or_else(|| broken("its symbol table"))?;
        let symbols: &[elf::Sym64<Endianness>] =
            self.data.read_slice_at(offset, count).map_err(|()| broken("its symbol table"))?;
        for symbol in symbols.iter().skip(1) {
            let binding = symbol.st_info.0 >> 4;
            let section = symbol.st_shndx.get(self.endian);
            let defined = section != elf::SHN_UNDEF;
            if section == elf::SHN_ABS {
                // The name of a version, not of anything that could be called.
                continue;
            }
            let visible = matches!(symbol.st_other.0 & 3, 0 | 3);
            let name = || self.string(symbol.st_name.get(self.endian).into());
            match (binding, defined) {
                (GLOBAL | WEAK | UNIQUE, true) if visible => {
                    let name = name()?;
                    if name == IDENTITY_SYMBOL
                        && (self.endian == Endianness::Little) == cfg!(target_endian = "little")
                    {
                        into.identity = Some(self.identity(symbol)?);
                    }
                    into.exported.push(name);
                }
                (GLOBAL, false) => into.undefined.push(name()?),
                _ => {}
            }
        }
        into.exported.sort_unstable();
        into.undefined.sort_unstable();
        Ok(())
    }

    /// The table does not say how long it is; its hash tables do.
    fn symbol_count(&self, symbols: u64) -> Option<usize> {
        let by_gnu = || {
            let table =
                GnuHashTable::<Header>::parse(self.endian, self.bytes_at(self.value(tag::GNU_HASH)?)?)
                    .ok()?;
            table.symbol_table_length(self.endian)
        };
        let by_hash = || {
            let table =
                HashTable::<Header>::parse(self.endian, self.bytes_at(self.value(tag::HASH)?)?).ok()?;
            Some(table.symbol_table_length())
        };
        // Where nothing is exported there is nothing in the hash table; linkers put the strings behind the symbols.
        let by_neighbour = || {
            let bytes = self.value(tag::STRTAB)?.checked_sub(symbols)?;
            u32::try_from(bytes / size_of::<elf::Sym64<Endianness>>() as u64).ok()
        };
        let count = by_gnu().or_else(by_hash).or_else(by_neighbour)?;
        usize::try_from(count).ok()
    }

    fn identity(&self, symbol: &elf::Sym64<Endianness>) -> Result<Vec<u8>, InspectError> {
        // More than any identity will ever have; less than a damaged size may ask for.
        let size = symbol.st_size.get(self.endian).min(4096);
        let bytes =
            self.bytes_at(symbol.st_value.get(self.endian)).ok_or_else(|| broken("mxhal_identity"))?;
        Ok(bytes[..bytes.len().min(size as usize)].to_vec())
    }

    fn read_versions(&self, into: &mut Elf) -> Result<(), InspectError> {
        let (Some(at), Some(count)) = (self.value(tag::VERNEED), self.value(tag::VERNEEDNUM)) else {
            return Ok(());
        };
        let outside = || broken("its table of versions");
        let table = self.bytes_at(at).ok_or_else(outside)?;
        let (mut place, mut seen) = (0_u64, 0);
        for _ in 0..count {
            let file: &elf::Verneed<Endianness> = table.read_at(place).map_err(|()| outside())?;
            let mut version_at =
                place.checked_add(file.vn_aux.get(self.endian).into()).ok_or_else(outside)?;
            for _ in 0..file.vn_cnt.get(self.endian) {
                let version: &elf::Vernaux<Endianness> = table.read_at(version_at).map_err(|()| outside())?;
                let name = self.string(version.vna_name.get(self.endian).into())?;
                into.glibc_needed = into.glibc_needed.max(glibc_version(&name));
                seen += 1;
                let next = u64::from(version.vna_next.get(self.endian));
                if next == 0 {
                    break;
                }
                version_at += next;
            }
            let next = u64::from(file.vn_next.get(self.endian));
            if next == 0 || seen > MOST_VERSIONS {
                break;
            }
            place += next;
        }
        Ok(())
    }
}

/// `STB_GLOBAL`, `STB_WEAK`, `STB_GNU_UNIQUE`.
const GLOBAL: u8 = 1;
const WEAK: u8 = 2;
const UNIQUE: u8 = 10;

/// `GLIBC_2.34` is (2, 34); `GLIBC_PRIVATE` is no version.
fn glibc_version(name: &str) -> Option<(u32, u32)> {
    let mut numbers = name.strip_prefix("GLIBC_")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().map_or(Ok(0), str::parse).ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_glibc_are_numbers() {
        assert_eq!(glibc_version("GLIBC_2.34"), Some((2, 34)));
        assert_eq!(glibc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc_version("GLIBC_PRIVATE"), None);
        assert_eq!(glibc_version("GCC_3.0"), None);
    }

    #[test]
    fn what_is_no_elf_file_is_described() {
        let described = |bytes: &[u8]| Elf::parse(bytes).unwrap_err().to_string();
        assert_eq!(described(b""), "it is no ELF file: it is empty");
        assert_eq!(
            described(b"INPUT ( libx.so )"),
            "it is no ELF file: it is text that begins with \"INPUT ( libx.so )\""
        );
        assert_eq!(described(b"\x7fELF\x02"), "it is no ELF file: it ends after 5 bytes");
        assert_eq!(
            described(&[0x4d, 0x5a, 0x90, 0, 3]),
            "it is no ELF file: it begins with the bytes 4d 5a 90 00"
        );
    }
}
