//! Deterministic CBOR (RFC 8949, section 4.2.1): one encoding for each value, checked by
//! re-encoding.

use ciborium::Value;

/// Deepest nesting that is decoded. Struct types take two levels each and may be nested 8 deep.
const MAX_DEPTH: usize = 20;

/// The bytes of a value, with the keys of its maps in the order of their encoded bytes.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    encode_sorted(&sorted(value))
}

/// The value of these bytes. Refuses any bytes but the deterministic encoding of the whole value.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let value = ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH);
    let value: Value = value.map_err(|error| match error {
        ciborium::de::Error::RecursionLimitExceeded => {
            format!("nested more than {MAX_DEPTH} deep, the map of the header included")
        }
        error => error.to_string(),
    })?;
    if encode(&value) != bytes {
        return Err("not the deterministic encoding, or bytes after it".into());
    }
    if has_duplicate_keys(&value) {
        return Err("duplicate key".into());
    }
    Ok(value)
}

/// A size as a value.
pub(crate) fn size(n: usize) -> Value {
    Value::from(n as u64)
}

/// The head of an item of this major type, in the shortest form.
pub(crate) fn head(major: u8, value: u64) -> Vec<u8> {
    let first = major << 5;
    match value {
        0..24 => vec![first | value as u8],
        24..0x100 => vec![first | 24, value as u8],
        0x100..0x1_0000 => [&[first | 25], &(value as u16).to_be_bytes()[..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[first | 26], &(value as u32).to_be_bytes()[..]].concat(),
        _ => [&[first | 27], &value.to_be_bytes()[..]].concat(),
    }
}

fn encode_sorted(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    match ciborium::into_writer(value, &mut bytes) {
        Ok(()) => bytes,
        // Writing to memory cannot fail, and a `Value` always has an encoding.
        Err(error) => unreachable!("CBOR encoding: {error}"),
    }
}

/// Each key is sorted once, on the way up. Sorting it again for each map around it would double the
/// work with every level of keys in keys.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Tag(tag, inner) => Value::Tag(*tag, Box::new(sorted(inner))),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| (sorted(key), sorted(value)))
                .collect();
            entries.sort_by_cached_key(|(key, _)| encode_sorted(key));
            Value::Map(entries)
        }
        other => other.clone(),
    }
}

/// Expects sorted maps, in which equal keys are neighbours.
fn has_duplicate_keys(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_duplicate_keys),
        Value::Tag(_, inner) => has_duplicate_keys(inner),
        Value::Map(entries) => {
            let keys: Vec<_> = entries.iter().map(|(key, _)| encode_sorted(key)).collect();
            keys.windows(2).any(|pair| pair[0] == pair[1])
                || entries
                    .iter()
                    .any(|(key, value)| has_duplicate_keys(key) || has_duplicate_keys(value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_by_their_encoded_bytes() {
        let value = Value::Map(vec![
            ("bb".into(), 1.into()),
            ("a".into(), 2.into()),
            (10.into(), 3.into()),
        ]);
        assert_eq!(
            encode(&value),
            [0xa3, 0x0a, 3, 0x61, b'a', 2, 0x62, b'b', b'b', 1]
        );
    }

    #[test]
    fn a_head_is_the_shortest() {
        for n in [
            0,
            23,
            24,
            255,
            256,
            65535,
            65536,
            u64::from(u32::MAX),
            1 << 32,
            u64::MAX,
        ] {
            assert_eq!(head(0, n), encode(&n.into()));
        }
    }

    #[test]
    fn only_the_deterministic_encoding_is_read() {
        let nested_arrays = [vec![0x81; 100_000], vec![0x01]].concat();
        let nested_tags = [vec![0xc1; 100_000], vec![0x01]].concat();
        let bad: [(&str, &[u8]); 16] = [
            ("duplicate key", &[0xa2, 0x61, b'a', 1, 0x61, b'a', 2]),
            ("unsorted keys", &[0xa2, 0x61, b'b', 1, 0x61, b'a', 2]),
            ("integer that is too long", &[0x18, 0x01]),
            ("indefinite text", &[0x7f, 0x61, b'a', 0xff]),
            ("indefinite array", &[0x9f, 0x01, 0xff]),
            ("indefinite map", &[0xbf, 0x61, b'a', 0x01, 0xff]),
            ("array of 2^60", &[0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]),
            (
                "bytes of 2^64-1",
                &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
            ("nested arrays", &nested_arrays),
            ("nested tags", &nested_tags),
            ("bad UTF-8", &[0x61, 0xff]),
            ("reserved", &[0x1c]),
            ("bare break", &[0xff]),
            ("trailing byte", &[0x01, 0x00]),
            ("bignum that fits", &[0xc2, 0x41, 0x01]),
            ("cut", &[0x82, 0x01]),
        ];
        for (what, bytes) in bad {
            assert!(decode(bytes).is_err(), "{what}");
        }
        assert_eq!(
            decode(&[0x82, 0x01, 0x02]),
            Ok(Value::Array(vec![1.into(), 2.into()]))
        );
    }
}
