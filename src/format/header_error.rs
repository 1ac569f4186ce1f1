//! Why a file is not an array: a header that is refused, or a damaged word of its state block.

use std::io;
use thiserror::Error as ThisError;

/// Why a file is not an array of this format.
///
/// # Examples
///
/// ```
/// use ndarray::Ix1;
/// use ndshm::{Error, HeaderError};
///
/// let manager = ndshm::Manager::new()?;
/// std::fs::write(manager.path().join("xs.ndshm"), "no array").unwrap();
/// let error = manager.array::<f64, Ix1>("xs").unwrap_err();
/// let Error::Header { source, .. } = error else { panic!("{error}") };
/// assert!(matches!(source, HeaderError::Magic | HeaderError::Length { .. }), "{source}");
/// # std::fs::remove_file(manager.path().join("xs.ndshm")).unwrap();
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum HeaderError {
    /// The first bytes are not those of an array file.
    #[error("not an ndshm file")]
    Magic,
    /// A later version of the format.
    #[error("format version {found}, this library reads version 1: update ndshm")]
    Version {
        /// The version in the file.
        found: u8,
    },
    /// Bytes that are constant in the format differ.
    #[error("the fixed bytes at offset {at} are damaged")]
    Template {
        /// The offset, in bytes from the start.
        at: usize,
    },
    /// `header_end`, `data_offset` and `data_len` do not fit each other.
    #[error("{field} = {value} is out of its bounds")]
    Bounds {
        /// The number's name.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The file is longer or shorter than its header says. Sizes are in bytes.
    #[error("the file has {found} bytes, its header says {expected}")]
    Length {
        /// The length according to the header.
        expected: u64,
        /// The file's length.
        found: u64,
    },
    /// The file could not be read. The verbs that open arrays report this as
    /// [`Error::Io`](crate::Error::Io).
    #[error("the header cannot be read: {}", io::Error::from_raw_os_error(*errno))]
    Unreadable {
        /// The operating system's error.
        errno: i32,
    },
    /// The checksum differs.
    #[error("the header's checksum is {expected:08x}, its bytes give {found:08x}")]
    Checksum {
        /// The checksum in the file.
        expected: u32,
        /// The checksum of its bytes.
        found: u32,
    },
    /// The header is not deterministically encoded CBOR.
    #[error("the header is not deterministic CBOR: {reason}")]
    Cbor {
        /// The difference.
        reason: String,
    },
    /// A key is missing, or its value has the wrong type.
    #[error("header key {key:?} is missing or has the wrong type")]
    Key {
        /// The key.
        key: &'static str,
    },
    /// The header requires an extension that this library does not know.
    #[error("the file needs {key:?}, which this library does not know: update ndshm")]
    Critical {
        /// The entry of `crit`.
        key: String,
    },
    /// The element type is invalid.
    #[error("the element type is invalid: {reason}")]
    Dtype {
        /// Why.
        reason: String,
    },
    /// The shape overflows, or its strides are neither those of C nor of F order.
    #[error("the shape is invalid: {reason}")]
    Shape {
        /// Why.
        reason: &'static str,
    },
    /// The bytes before the payload disagree with the header.
    #[error("the payload's head disagrees with the header")]
    Prefix,
    /// The padding is not made of zeros.
    #[error("the padding is damaged")]
    Padding,
    /// The file was written on a machine of the other byte order.
    #[error("the state block was written on a machine of another byte order")]
    Endian,
    /// The lifecycle word is damaged: it says neither that the array is there nor that it was
    /// released.
    #[error(
        "invalid lifecycle value {found:#x}: the word is damaged, so the array is neither opened \
         nor deleted; replace the file by a copy of it, or delete the file"
    )]
    Lifecycle {
        /// Its value.
        found: u32,
    },
    /// The owner word is damaged: no process deletes the array by itself.
    #[error(
        "invalid owner word {found:#x}: it is damaged, so no sweep deletes the array; set its \
         scope anew, or release it"
    )]
    Owner {
        /// Its value.
        found: u64,
    },
    /// The heir word is damaged: the owner does not delete the array with its last use of it.
    #[error(
        "invalid heir word {found:#x}: it is damaged, so the end of its owner does not delete the \
         array; set its scope anew, or release it"
    )]
    Heir {
        /// Its value.
        found: u64,
    },
    /// The frozen flag is damaged: the array can be read, but not written.
    #[error(
        "invalid frozen flag {found:#x}: it is damaged, so the array is not written any more; \
         copy it to change it"
    )]
    Frozen {
        /// Its value.
        found: u32,
    },
    /// The length of an array that grows is damaged: the file has no such rows.
    #[error(
        "it says that it has {found} rows, which its file does not have: the length is damaged; \
         export the rows that are there, or delete the file"
    )]
    Rows {
        /// The length according to its words.
        found: u64,
    },
    /// The file was copied in from another store.
    #[error(
        "the file belongs to another store: it was copied or moved here; create a new array and \
         copy the contents into it"
    )]
    ForeignStore,
}

impl HeaderError {
    /// The advice, where the reason does not give it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            HeaderError::Magic => "; name the file of an array",
            HeaderError::Version { .. }
            | HeaderError::Critical { .. }
            | HeaderError::Unreadable { .. }
            | HeaderError::Lifecycle { .. }
            | HeaderError::Owner { .. }
            | HeaderError::Heir { .. }
            | HeaderError::Frozen { .. }
            | HeaderError::Rows { .. }
            | HeaderError::ForeignStore => "",
            HeaderError::Endian => "; export it there, and import it here",
            _ => "; it is damaged: restore it from a copy, or delete it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    // A damaged lifecycle word came with two pieces of advice, and a failed read was called damage.
    #[test]
    fn reasons_that_say_the_next_step_get_no_second_one() {
        for source in [
            HeaderError::Lifecycle { found: 7 },
            HeaderError::Owner { found: 7 },
            HeaderError::Heir { found: 7 },
            HeaderError::Frozen { found: 7 },
            HeaderError::Rows { found: 7 },
            HeaderError::Unreadable { errno: libc::EIO },
            HeaderError::ForeignStore,
        ] {
            let (path, expected) = ("x".into(), format!("x: {source}"));
            assert_eq!(Error::Header { path, source }.to_string(), expected);
        }
        let (path, source) = ("x".into(), HeaderError::Padding);
        let text = Error::Header { path, source }.to_string();
        assert!(
            text.ends_with("restore it from a copy, or delete it"),
            "{text}"
        );
    }
}
