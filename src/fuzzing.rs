//! Entry points of the fuzz targets into the crate. They exist only with `--cfg fuzzing` and are no
//! part of the interface.

use crate::{
    cbor,
    format::{
        constants::{STATE_AT, STATE_LEN},
        header::{Header, Parsed},
    },
};
use ciborium::Value;

const KEYS: [&str; 9] = [
    "id", "crit", "dims", "kind", "attrs", "dtype", "shape", "created", "strides",
];
const CREATED_KEYS: [&str; 5] = ["ns", "sw", "pid", "boot", "store"];

/// The payload prefix and the length that belong to a header map, which may be encoded in any way.
pub fn prefix_of(map: &[u8]) -> Option<(Vec<u8>, u64)> {
    let header = Header::from_value(&ciborium::from_reader(map).ok()?).ok()?;
    let data_len = header.spec.byte_len();
    Some((header.prefix(data_len), data_len as u64))
}

/// Parses the head of a file of `file_len` bytes, and returns whether it is accepted.
///
/// # Panics
///
/// Panics if a head is accepted that this library would have written in other bytes, but for
/// unknown keys and longer padding.
pub fn check_header(head: &[u8], file_len: u64) -> bool {
    let Ok(parsed) = Header::parse(head, file_len) else {
        return false;
    };
    // Any bytes are sound in the work area; the library would have written zeros.
    let mut head = head.to_vec();
    head[parsed.work_range().unwrap_or_default()].fill(0);
    let Parsed {
        header,
        data_offset,
        data_len,
    } = parsed;
    let header_end = u32::from_le_bytes(head[18..22].try_into().unwrap_or_default()) as usize;
    let map = &head[2183..header_end];
    let whole: Value = ciborium::from_reader(map).unwrap_or(Value::Null);
    assert!(!repeats_a_key(&whole), "duplicate key");
    let known = known(whole);
    let is_all = cbor::encode(&known) == map;
    assert_eq!(cbor::encode(&header.to_value()), cbor::encode(&known));
    let prefix = header.prefix(data_len);
    assert!(head[..data_offset].ends_with(&prefix));
    let state: &[u8; STATE_LEN] = head[STATE_AT..][..STATE_LEN]
        .try_into()
        .unwrap_or(&[0; STATE_LEN]);
    match header.encode(64, state) {
        Ok(again) => {
            assert!(
                !is_all || again.len() != data_offset || again == head[..data_offset],
                "encoded again, the head has other bytes"
            );
            // Compared as bytes, because a header with a NaN is not equal to itself.
            let parsed = Header::parse(&again[..], (again.len() + data_len) as u64);
            let parsed = parsed.map(|parsed| {
                (
                    parsed.data_offset,
                    parsed.data_len,
                    parsed.header.encode(64, state),
                )
            });
            assert_eq!(parsed, Ok((again.len(), data_len, Ok(again))));
        }
        Err(error) => panic!("accepted, but not encodable: {error}"),
    }
    true
}

/// The map without the keys that this version does not know.
fn known(mut map: Value) -> Value {
    let entries = map.as_map_mut();
    for entries in entries.into_iter() {
        entries.retain(|(key, _)| KEYS.iter().any(|known| key.as_text() == Some(known)));
        for (_, created) in entries
            .iter_mut()
            .filter(|(key, _)| key.as_text() == Some("created"))
        {
            let created = created.as_map_mut();
            created.into_iter().for_each(|entries| {
                entries.retain(|(key, _)| {
                    CREATED_KEYS
                        .iter()
                        .any(|known| key.as_text() == Some(known))
                })
            });
        }
    }
    map
}

/// Whether any two keys of a map have the same bytes, neighbours or not.
fn repeats_a_key(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(repeats_a_key),
        Value::Tag(_, inner) => repeats_a_key(inner),
        Value::Map(entries) => {
            let keys: std::collections::HashSet<_> =
                entries.iter().map(|(key, _)| cbor::encode(key)).collect();
            keys.len() != entries.len()
                || entries
                    .iter()
                    .any(|(key, value)| repeats_a_key(key) || repeats_a_key(value))
        }
        _ => false,
    }
}
