//! `.npz` files: zip archives of `.npy` files.

use super::{
    archive::Archive,
    failure::Failure,
    input::{Source, Stretch},
    meter::{Meter, Progress},
    npy,
    selection::{Left, Selection},
    source::write_npy,
    target::{Taken, Target},
};
use crate::{array::any::AnyArray, segment::draft::Draft, sys::process::Bounded};
use crc32fast::Hasher;
use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
};
use zip::{CompressionMethod, ZipArchive, read::ZipFile, result::ZipError};

/// Ends the name of each entry, after the key of its array.
const SUFFIX: &str = ".npy";
/// The most bytes that a byte of deflated data stands for.
const DEFLATE_RATIO: u64 = 1032;
/// Bytes of the buffer between the file and the archive's reader.
const BUFFER: usize = 1 << 18;

impl From<ZipError> for Failure {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => Failure::Io(error),
            other => Failure::Format(format!("it is not a readable .npz file: {other}")),
        }
    }
}

/// Writes an archive with one entry for each array.
pub(super) fn write(
    arrays: &[(&str, AnyArray)],
    compresses: bool,
    meter: &mut Meter<'_>,
    file: &mut Bounded<'_>,
) -> Result<(), Failure> {
    // Entries have no time, so that equal arrays make equal files.
    let mut archive = Archive::new(file, compresses);
    for (key, array) in arrays {
        archive.add(format!("{key}{SUFFIX}"), |out| write_npy(array, meter, out))?;
    }
    archive.finish()
}

/// An entry that can be taken.
struct Member {
    index: usize,
    key: String,
    /// The bytes of the `.npy` file.
    len: u64,
}

/// Reads the chosen entries into drafts, each with its key, and lists those that were left.
///
/// All headers are read before the first draft is made.
pub(super) fn read(
    target: &Target<'_>,
    selection: &Selection,
    progress: Progress<'_>,
    file: File,
) -> Result<Taken, Failure> {
    let file_len = file.metadata()?.len();
    let places = file.try_clone()?;
    let mut archive = ZipArchive::new(BufReader::with_capacity(BUFFER, file))?;
    let (members, left) = survey(target, selection, &mut archive, file_len)?;
    let total = members.iter().map(|member| member.len).sum();
    let mut meter = Meter::new(progress, total);
    let mut drafts = Vec::new();
    for Member { index, key, .. } in members {
        let entry = archive.by_index(index)?;
        let size = entry.size();
        let draft = receive(
            target,
            &key,
            &mut meter,
            size,
            &mut Body::new(entry, &places),
        )
        .map_err(|failure| in_entry(&key, failure))?;
        drafts.push((key, draft));
    }
    Ok((drafts, left))
}

/// The chosen entries that can be taken, and the others with the reason. Directories are neither.
fn survey(
    target: &Target<'_>,
    selection: &Selection,
    archive: &mut ZipArchive<BufReader<File>>,
    file_len: u64,
) -> Result<(Vec<Member>, Vec<Left>), Failure> {
    let (mut keys, mut members, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(_) => String::from_utf8_lossy(entry.name_raw()).into_owned(),
        };
        if entry.is_dir() {
            continue;
        }
        // As NumPy names entries that are no arrays.
        let key = name.strip_suffix(SUFFIX).unwrap_or(&name).to_owned();
        let len = entry.size();
        keys.push(key.clone());
        if !selection.takes(&key) {
            continue;
        }
        if let Some(reason) = unreadable(&entry, key.len() == name.len()) {
            left.push(Left::new(key, reason));
            continue;
        }
        check_size(&entry, file_len).map_err(|failure| in_entry(&key, failure))?;
        drop(entry);
        match look(target, archive, index) {
            Ok(()) => members.push(Member { index, key, len }),
            Err(Failure::Format(reason)) => left.push(Left::new(key, reason)),
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                left.push(Left::new(key, "it ends too early"));
            }
            Err(failure) => return Err(in_entry(&key, failure)),
        }
    }
    selection.check(keys.iter().map(String::as_str), &left)?;
    Ok((members, left))
}

/// Why an entry cannot be read as a `.npy` file, from the directory of the archive alone.
fn unreadable(entry: &ZipFile<'_, BufReader<File>>, has_other_name: bool) -> Option<String> {
    if has_other_name || !entry.is_file() {
        return Some("it is not a .npy file".into());
    }
    if entry.encrypted() {
        return Some("it is encrypted: decrypt the file first".into());
    }
    match entry.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated => None,
        other => Some(format!(
            "it is compressed with {other}, which is not supported: save it with \
             numpy.savez_compressed"
        )),
    }
}

/// Fails where an entry cannot have as many bytes as it says, before they are asked for.
fn check_size(entry: &ZipFile<'_, BufReader<File>>, file_len: u64) -> Result<(), Failure> {
    let (size, packed) = (entry.size(), entry.compressed_size());
    let most = match entry.compression() {
        CompressionMethod::Stored => packed,
        _ => packed.saturating_mul(DEFLATE_RATIO),
    };
    match size <= most && packed <= file_len {
        true => Ok(()),
        false => Err(format!(
            "it says that it has {size} bytes, compressed to {packed}, which it cannot have in a \
             file of {file_len} bytes"
        )
        .into()),
    }
}

/// Reads the header of an entry. A failure of the kind `Format` says why the array cannot be taken.
fn look(
    target: &Target<'_>,
    archive: &mut ZipArchive<BufReader<File>>,
    index: usize,
) -> Result<(), Failure> {
    let mut entry = match archive.by_index(index) {
        Err(ZipError::Io(error)) => return Err(error.into()),
        Err(ZipError::InvalidArchive(reason)) => {
            return Err(io::Error::other(reason.into_owned()).into());
        }
        entry => entry?,
    };
    target.accepted(npy::read_header(&mut entry)?.0)?;
    Ok(())
}

fn receive(
    target: &Target<'_>,
    key: &str,
    meter: &mut Meter<'_>,
    size: u64,
    entry: &mut Body<'_>,
) -> Result<Draft, Failure> {
    let (described, header_len) = npy::read_header(entry)?;
    meter.add(header_len);
    let left = size.saturating_sub(header_len as u64);
    let draft = target.receive(Some(key), described, left, meter, entry)?;
    // The reader compares the checksum at the end of the entry.
    match entry.read(&mut [0])? {
        0 => Ok(draft),
        _ => Err("more bytes follow its elements".into()),
    }
}

/// The bytes of an entry. Those of one that is not compressed are read by places.
enum Body<'a> {
    Packed(ZipFile<'a, BufReader<File>>),
    Stored {
        file: &'a File,
        at: u64,
        end: u64,
        sum: Hasher,
        /// The CRC-32 that the bytes must have.
        expected: u32,
    },
}

impl<'a> Body<'a> {
    fn new(entry: ZipFile<'a, BufReader<File>>, file: &'a File) -> Self {
        match (entry.compression(), entry.data_start()) {
            (CompressionMethod::Stored, Some(at)) => Self::Stored {
                file,
                at,
                end: at.saturating_add(entry.compressed_size()),
                sum: Hasher::new(),
                expected: entry.crc32(),
            },
            _ => Self::Packed(entry),
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (file, at, end, sum, expected) = match self {
            Self::Packed(entry) => return entry.read(bytes),
            Self::Stored {
                file,
                at,
                end,
                sum,
                expected,
            } => (file, at, *end, sum, *expected),
        };
        if *at == end && !bytes.is_empty() && sum.clone().finalize() != expected {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "invalid checksum",
            ));
        }
        let most = usize::try_from(end - *at)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let read = file.read_at(&mut bytes[..most], *at)?;
        sum.update(&bytes[..read]);
        *at += read as u64;
        Ok(read)
    }
}

impl Source for Body<'_> {
    fn stretch(&mut self, len: usize) -> io::Result<Option<Stretch<'_>>> {
        Ok(match self {
            Self::Stored { file, at, end, .. } if end.saturating_sub(*at) >= len as u64 => {
                Some(Stretch {
                    file,
                    start: *at,
                    is_summed: true,
                })
            }
            _ => None,
        })
    }

    fn pass(&mut self, len: usize, read: Hasher) -> io::Result<()> {
        if let Self::Stored { at, sum, .. } = self {
            *at += len as u64;
            sum.combine(&read);
        }
        Ok(())
    }
}

/// Adds the key of the entry to a failure that is about its contents.
fn in_entry(key: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Format(reason) => Failure::Format(format!("{key:?}: {reason}")),
        Failure::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::Format(format!("{key:?} ends too early"))
        }
        // The decompressor and the check of the checksum report such errors, not the kernel.
        Failure::Io(error) if error.raw_os_error().is_none() => {
            Failure::Format(format!("{key:?} is damaged: {error}"))
        }
        other => other,
    }
}
