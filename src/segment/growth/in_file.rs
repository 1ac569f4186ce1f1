//! A growing array as its file tells, without a mapping: for openers, listings and `verify`.

use super::{Grown, this_boot};
use crate::{
    error::{Error, HeaderError, Result},
    format::{
        constants::{DATA_LEN_AT, DATA_OFFSET_AT},
        header::{Header, Parsed},
        kind::Kind,
    },
    state::growth::Boot,
};
use std::{fs::File, os::unix::fs::FileExt, path::Path};

/// Bytes to map of a file that is shorter than its array can become, by its first bytes and its
/// header; `None` of any other file.
pub(in crate::segment) fn mapped_len(head: &[u8], file: &File, len: u64) -> Option<u64> {
    let word = |at: usize| {
        head[at..]
            .first_chunk()
            .map(|word| u64::from_le_bytes(*word))
    };
    let whole = word(DATA_OFFSET_AT)?.checked_add(word(DATA_LEN_AT)?)?;
    if whole <= len {
        return None;
    }
    let parsed = Header::parse(file, len).ok()?;
    (parsed.header.kind == Kind::Growing).then_some(whole)
}

/// Bytes of a file whose space has to be there: of a growing array those that its words call
/// reserved, of any other file all.
pub(in crate::segment) fn needed_len(
    file: &File,
    parsed: &Parsed,
    len: u64,
    path: &Path,
) -> Result<u64> {
    match Grown::of(parsed) {
        Some(grown) => Ok(grown.words_in(file, path)?.0.reserved.min(len)),
        None => Ok(len),
    }
}

/// The committed rows of a growing array, by its file alone; `None` of another kind.
pub(crate) fn rows_in_file(file: &File, parsed: &Parsed, path: &Path) -> Result<Option<usize>> {
    let Some(grown) = Grown::of(parsed) else {
        return Ok(None);
    };
    let (words, len) = grown.words_in(file, path)?;
    let rows = match words.boot == this_boot() {
        true => words.committed,
        false => words.flushed,
    };
    Ok(Some(rows.min(grown.fitting(parsed, len)) as usize))
}

/// What is wrong with the words of a growing array, by its file alone.
pub(crate) fn defects_of_rows(file: &File, parsed: &Parsed, path: &Path) -> Result<Vec<String>> {
    let Some(grown) = Grown::of(parsed) else {
        return Ok(Vec::new());
    };
    // An appender changes words and file one after the other: the words first.
    let (words, len) = grown.words_in(file, path)?;
    let mut found = Vec::new();
    if words.boot != this_boot() {
        // The next opening starts them again.
        return Ok(found);
    }
    if words.reserved > len || words.reserved < parsed.data_offset as u64 {
        found.push(format!(
            "its words say that {} of its {len} bytes are reserved",
            words.reserved
        ));
    }
    if words.committed > grown.fitting(parsed, len) {
        let source = HeaderError::Rows {
            found: words.committed,
        };
        found.push(source.to_string());
    }
    if words.flushed > words.committed {
        found.push(format!(
            "its words say that {} rows were flushed, of {}",
            words.flushed, words.committed
        ));
    }
    Ok(found)
}

/// Words of a growing array, from copied bytes.
struct CopiedWords {
    committed: u64,
    reserved: u64,
    flushed: u64,
    boot: Boot,
}

impl Grown {
    /// The words in a file, and its length after they were read.
    fn words_in(&self, file: &File, path: &Path) -> Result<(CopiedWords, u64)> {
        let mut bytes = [0; 64];
        file.read_exact_at(&mut bytes, self.words_at as u64)
            .map_err(Error::io(path, "read the words of the array"))?;
        let found = file.metadata();
        let len = found.map_err(Error::io(path, "look at the file"))?.len();
        let word = |at: usize| {
            let word = bytes[at..].first_chunk().copied();
            u64::from_ne_bytes(word.unwrap_or_default())
        };
        let words = CopiedWords {
            committed: word(8),
            reserved: word(16),
            flushed: word(24),
            boot: [word(32), word(40)],
        };
        Ok((words, len))
    }

    /// The rows that fit into a file of this length.
    pub(super) fn fitting(&self, parsed: &Parsed, file_len: u64) -> u64 {
        let payload = file_len.saturating_sub(parsed.data_offset as u64);
        (payload / self.row_len as u64).min(self.max_rows as u64)
    }
}
