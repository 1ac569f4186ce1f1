//! `.npz` files: zip archives of `.npy` files.

use super::{
    failure::Failure,
    meter::{Meter, Progress},
    npy,
    selection::{Left, Selection},
    source::write_npy,
    target::{Taken, Target},
};
use crate::{array::any::AnyArray, segment::draft::Draft, sys::process::Bounded};
use std::{
    fs::File,
    io::{self, BufReader, Read},
};
use zip::{
    CompressionMethod, ZipArchive, ZipWriter, read::ZipFile, result::ZipError,
    write::SimpleFileOptions,
};

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
    let method = if compresses {
        CompressionMethod::Deflated
    } else {
        CompressionMethod::Stored
    };
    // All sizes have 64 bits, as NumPy writes them. Entries have no time, so that equal arrays make
    // equal files.
    let options = SimpleFileOptions::default()
        .compression_method(method)
        .large_file(true)
        .last_modified_time(zip::DateTime::default());
    let mut archive = ZipWriter::new(file);
    for (key, array) in arrays {
        archive.start_file(format!("{key}{SUFFIX}"), options)?;
        write_npy(array, meter, &mut archive)?;
    }
    archive.finish()?;
    Ok(())
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
    let mut archive = ZipArchive::new(BufReader::with_capacity(BUFFER, file))?;
    let (members, left) = survey(target, selection, &mut archive, file_len)?;
    let total = members.iter().map(|member| member.len).sum();
    let mut meter = Meter::new(progress, total);
    let mut drafts = Vec::new();
    for Member { index, key, .. } in members {
        let mut entry = archive.by_index(index)?;
        let draft = receive(target, &key, &mut meter, &mut entry)
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
    entry: &mut ZipFile<'_, BufReader<File>>,
) -> Result<Draft, Failure> {
    let size = entry.size();
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
