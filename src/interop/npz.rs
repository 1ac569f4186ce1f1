//! `.npz` files: zip archives of `.npy` files.

use super::{
    Failure, Meter,
    export::{Export, check_keys, write_npy},
    import::Importer,
    npy,
};
use crate::{array::any::AnyArray, error::Result};
use std::{
    io::{BufReader, Read},
    path::Path,
};
use zip::{CompressionMethod, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

const SUFFIX: &str = ".npy";

impl From<ZipError> for Failure {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => Failure::Io(error),
            other => Failure::Format(format!("it is not a .npz file that can be read: {other}")),
        }
    }
}

impl Export<'_> {
    /// Writes arrays into a `.npz` file, each under its key, as [`npy`](Self::npy) does; read under
    /// a guard of its own, one after another.
    ///
    /// # Errors
    ///
    /// Those of [`npy`](Self::npy); `Transfer` where two arrays have one key or a key is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path().join("all.npz");
    /// let manager = ndshm::Manager::new()?;
    /// let (xs, ys) = (manager.zeros::<f64, _>(5)?.into_any()?, manager.ones::<u8, _>((2, 2))?.into_any()?);
    /// ndshm::Export::new().compress().npz(&[("xs", &xs), ("ys", &ys)], &path)?;
    /// assert_eq!(manager.import_npz(&path)?.len(), 2);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn npz<N: AsRef<str>>(
        &self,
        arrays: &[(N, &AnyArray)],
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let path = path.as_ref();
        check_keys(arrays, path)?;
        let method = if self.compresses {
            CompressionMethod::Deflated
        } else {
            CompressionMethod::Stored
        };
        self.create(path, |output| {
            let mut meter = Meter::new(
                self.progress,
                arrays.iter().map(|(_, array)| array.byte_len()).sum(),
            );
            let mut archive = ZipWriter::new(output.file());
            for (key, array) in arrays {
                // Sizes have 64 bits everywhere, as NumPy does it. Entries have no time, so that
                // equal arrays make equal files.
                let options = SimpleFileOptions::default()
                    .compression_method(method)
                    .large_file(true)
                    .last_modified_time(zip::DateTime::default());
                archive.start_file(format!("{}{SUFFIX}", key.as_ref()), options)?;
                write_npy(array, &mut meter, &mut archive)?;
            }
            archive.finish()?;
            Ok(())
        })
    }
}

pub(super) fn import(importer: &Importer<'_>) -> Result<Vec<(String, AnyArray)>, Failure> {
    let (file, _) = importer.open()?;
    let mut archive = ZipArchive::new(BufReader::with_capacity(1 << 18, file))?;
    let mut total = 0u64;
    for index in 0..archive.len() {
        total = total.saturating_add(archive.by_index_raw(index)?.size());
    }
    let mut meter = Meter::new(importer.progress, total);
    let mut drafts = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        let in_entry = |failure| match failure {
            Failure::Format(reason) => Failure::Format(format!("{name:?}: {reason}")),
            Failure::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Failure::Format(format!("{name:?} ends too early"))
            }
            // What decompresses and compares checksums speaks so.
            Failure::Io(error) if error.raw_os_error().is_none() => {
                Failure::Format(format!("{name:?} is damaged: {error}"))
            }
            other => other,
        };
        let Some(key) = name.strip_suffix(SUFFIX).filter(|_| entry.is_file()) else {
            return Err(format!("it has an entry {name:?}, which is no .npy file").into());
        };
        let mut receive = || {
            let size = entry.size();
            let (described, header_len) = npy::read_header(&mut entry)?;
            meter.add(header_len);
            let left = size.saturating_sub(header_len as u64);
            let draft = importer.receive(Some(key), described, left, &mut meter, &mut entry)?;
            // At its end the checksum is compared.
            match entry.read(&mut [0])? {
                0 => Ok(draft),
                _ => Err(Failure::from("more follows behind its elements")),
            }
        };
        drafts.push((key.to_owned(), receive().map_err(in_entry)?));
    }
    Ok(Importer::publish(drafts)?)
}
