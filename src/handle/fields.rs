//! A handle in serde: a struct that any format carries, self-describing or not.

use super::{Handle, Placement, VERSION, text};
use crate::{format::id::ArrayId, scope::Scope};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::path::PathBuf;

/// The fields of a handle in serde.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Handle")]
struct Fields {
    version: u8,
    #[serde(with = "path_field")]
    path: PathBuf,
    id: ArrayId,
    fingerprint: u64,
    writable: bool,
    scope: Scope,
    view: Option<Placement>,
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Handle {
            path,
            id,
            fingerprint,
            is_writable,
            scope,
            view,
        } = self.clone();
        Fields {
            version: VERSION,
            path,
            id,
            fingerprint,
            writable: is_writable,
            scope,
            view,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields {
            version,
            path,
            id,
            fingerprint,
            writable,
            scope,
            view,
        } = Fields::deserialize(deserializer)?;
        if version != VERSION {
            return Err(de::Error::custom(format!(
                "a handle of version {version}, this library reads {VERSION}"
            )));
        }
        Handle {
            path,
            id,
            fingerprint,
            is_writable: writable,
            scope,
            view,
        }
        .checked()
        .map_err(de::Error::custom)
    }
}

/// Paths in serde: bytes, or percent-encoded text in formats that people read.
pub(crate) mod path_field {
    use super::text;
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::{
        ffi::OsStr,
        os::unix::ffi::OsStrExt,
        path::{Path, PathBuf},
    };

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(&text::encoded(path)),
            false => serde_bytes::serialize(path.as_os_str().as_bytes(), serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PathBuf, D::Error> {
        if deserializer.is_human_readable() {
            let refused =
                || de::Error::custom("the path is not percent-encoded in the one form that it has");
            return text::decoded(&String::deserialize(deserializer)?).ok_or_else(refused);
        }
        Ok(OsStr::from_bytes(&serde_bytes::ByteBuf::deserialize(deserializer)?).into())
    }
}
