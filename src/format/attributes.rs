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
    // A reader would refuse some attributes, for example one key twice, or those that are nested
    // too deep in the map of the header. So they are refused here.
    let header = Value::Map(vec![("attrs".into(), value)]);
    let decoded = cbor::decode(&cbor::encode(&header)).map_err(|reason| Error::Attrs { reason })?;
    let entry = decoded
        .into_map()
        .ok()
        .and_then(|mut entries| entries.pop());
    match entry {
        Some((_, attrs)) => Ok(attrs),
        None => unreachable!("the map has one entry"),
    }
}

/// Attributes with further entries. Those that are there already stay.
///
/// # Errors
///
/// `Attrs` as [`to_value`].
pub(crate) fn with_entries(
    attrs: Option<&Value>,
    entries: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<Option<Value>> {
    let mut all: Vec<(Value, Value)> = attrs.and_then(Value::as_map).cloned().unwrap_or_default();
    for (key, value) in entries {
        if all.iter().all(|(found, _)| found.as_text() != Some(key)) {
            all.push((key.into(), value));
        }
    }
    match attrs.is_none() && all.is_empty() {
        true => Ok(None),
        false => to_value(&Value::Map(all)).map(Some),
    }
}

/// One attribute.
pub(crate) fn entry<'a>(attrs: Option<&'a Value>, key: &str) -> Option<&'a Value> {
    let mut entries = attrs?.as_map()?.iter();
    entries
        .find(|(found, _)| found.as_text() == Some(key))
        .map(|(_, value)| value)
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
