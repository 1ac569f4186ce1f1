//! The ids of arrays, which are never used twice.

use crate::sys::process;
use serde::{Deserialize, Serialize};
use std::{fmt, io, str::FromStr};
use uuid::Uuid;

/// The identity of an array: 16 bytes that no other array ever has.
///
/// An array file that is deleted and created again at the same path has another id, so a handle
/// tells the two apart. Displays as a hyphenated UUID (version 7: the first bytes are the time of
/// creation, in milliseconds) and parses from one.
///
/// # Examples
///
/// ```
/// use ndshm::ArrayId;
///
/// let manager = ndshm::Manager::new()?;
/// let id = manager.zeros::<f64, _>(5)?.id();
/// assert_eq!(id.to_string().parse::<ArrayId>()?, id);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArrayId(Uuid);

impl ArrayId {
    /// The number by which the lanes of a store name the array: 62 bits of it are random.
    pub(crate) fn lane_key(&self) -> u64 {
        self.0.as_u64_pair().1
    }

    /// A new id, of this moment and otherwise random. The generator's own sequence would take a
    /// mutex that a fork may find locked.
    pub(crate) fn new() -> io::Result<Self> {
        process::time_ordered_uuid().map(Self)
    }

    /// The id made of these 16 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let id = ndshm::ArrayId::from_bytes([7; 16]);
    /// assert_eq!(id.to_string(), "07070707-0707-0707-0707-070707070707");
    /// ```
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the id.
    ///
    /// # Examples
    ///
    /// ```
    /// let id = ndshm::ArrayId::from_bytes([7; 16]);
    /// assert_eq!(id.as_bytes(), &[7; 16]);
    /// ```
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ArrayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ArrayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayId({})", self.0)
    }
}

impl FromStr for ArrayId {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let reason = |error: uuid::Error| crate::Error::Handle {
            reason: format!("{text:?} is not an array id: {error}"),
        };
        text.parse().map(Self).map_err(reason)
    }
}
