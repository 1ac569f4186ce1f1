//! `.npz` files: zip archives of `.npy` files.

use super::{
    failure::Failure,
    meter::{Meter, Progress},
    npy,
    source::write_npy,
    target::Target,
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

/// Reads all entries into drafts, each with its key.
pub(super) fn read(
    target: &Target<'_>,
    progress: Progress<'_>,
    file: File,
) -> Result<Vec<(String, Draft)>, Failure> {
    let mut archive = ZipArchive::new(BufReader::with_capacity(BUFFER, file))?;
    let mut meter = Meter::new(progress, total_len(&mut archive)?);
    let mut drafts = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        let Some(key) = name.strip_suffix(SUFFIX).filter(|_| entry.is_file()) else {
            return Err(format!("its entry {name:?} is not a .npy file").into());
        };
        let draft = receive(target, key, &mut meter, &mut entry)
            .map_err(|failure| in_entry(&name, failure))?;
        drafts.push((key.to_owned(), draft));
    }
    Ok(drafts)
}

/// The number of bytes of all entries, uncompressed.
fn total_len(archive: &mut ZipArchive<BufReader<File>>) -> Result<u64, Failure> {
    let mut total = 0u64;
    for index in 0..archive.len() {
        total = total.saturating_add(archive.by_index_raw(index)?.size());
    }
    Ok(total)
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

/// Adds the name of the entry to a failure that is about its contents.
fn in_entry(name: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Format(reason) => Failure::Format(format!("{name:?}: {reason}")),
        Failure::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::Format(format!("{name:?} ends too early"))
        }
        // The decompressor and the check of the checksum report such errors, not the kernel.
        Failure::Io(error) if error.raw_os_error().is_none() => {
            Failure::Format(format!("{name:?} is damaged: {error}"))
        }
        other => other,
    }
}
