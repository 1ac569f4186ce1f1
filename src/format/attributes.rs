//! The attributes of an array: a map with text keys in its header, and any type that serde maps to
//! one.

use crate::{
    cbor,
    error::{Error, Result},
};
use ciborium::Value;
use serde::{Serialize, de::DeserializeOwned};

/// Attributes as a header holds them.
///
/// # Errors
///
/// `Attrs` if they are not a map with text keys, or could not be read back.
pub(crate) fn to_value(attrs: &impl Serialize) -> Result<Value> {
    let value = Value::serialized(attrs).map_err(|error| Error::Attrs {
        reason: error.to_string(),
    })?;
    let is_map = value
        .as_map()
        .is_some_and(|entries| entries.iter().all(|(key, _)| key.is_text()));
    if !is_map {
        return Err(Error::Attrs {
            reason: "they must be a map with text keys, or a struct".into(),
        });
    }
    // Refuses what a reader would refuse: one key twice, for example.
    cbor::decode(&cbor::encode(&value)).map_err(|reason| Error::Attrs { reason })
}

/// Attributes from a header; an empty map if it has none.
///
/// # Errors
///
/// `Attrs` if they do not fit the type.
pub(crate) fn from_value<A: DeserializeOwned>(attrs: Option<&Value>) -> Result<A> {
    let empty = Value::Map(Vec::new());
    attrs
        .unwrap_or(&empty)
        .deserialized()
        .map_err(|error| Error::Attrs {
            reason: error.to_string(),
        })
}
