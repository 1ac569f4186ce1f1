//! Changes of header maps as values.

use ciborium::Value;
use proptest::prelude::*;

/// The replacement of a node of a header map.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Replace(Value),
    /// One of the same kind.
    Alike(u8),
    /// In a map: one more entry.
    Add(String, Value),
    Wrap(u64),
    Nest(usize),
    Remove,
    Twice,
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let texts = [
        "",
        "|O",
        "<f8",
        "<f4",
        "|V1048576",
        "|V8",
        "(2,3)<f4",
        "(1,)|V9",
        "x",
        "shape",
        "\u{0}",
        "bfloat16",
    ];
    let numbers = [
        0,
        1,
        2,
        8,
        24,
        33,
        0x7fff_ffff,
        1 << 31,
        1 << 32,
        1 << 40,
        i64::MAX as u64 - 7,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
    ];
    let leaf = prop_oneof![
        prop::sample::select(numbers.to_vec()).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..5u64).prop_map(Value::from),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 20, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner.clone()), 0..6).prop_map(Value::Map),
            (0..60u64, inner).prop_map(|(tag, inner)| Value::Tag(tag, Box::new(inner))),
        ]
    });
    prop_oneof![
        4 => value.clone().prop_map(Edit::Replace),
        4 => any::<u8>().prop_map(Edit::Alike),
        2 => ("[a-z]{0,3}", value).prop_map(|(key, value)| Edit::Add(key, value)),
        1 => prop::sample::select(vec![2u64, 3, 37, 40, 1040, 55799, u64::MAX])
            .prop_map(Edit::Wrap),
        1 => (1..200usize).prop_map(Edit::Nest),
        1 => Just(Edit::Remove),
        1 => Just(Edit::Twice),
    ]
}

pub(crate) fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| count(key) + count(value))
            .sum(),
        Value::Tag(_, inner) => count(inner),
        _ => 0,
    }
}

/// Another value of the same kind.
fn alike(value: &Value, seed: u8) -> Value {
    match value {
        Value::Integer(n) => Value::from(i128::from(*n) as u64 ^ 1 << (seed % 64)),
        Value::Text(text) => Value::from(format!("{text}{}", char::from(seed))),
        Value::Bytes(bytes) => Value::Bytes(bytes.iter().map(|byte| byte ^ seed).collect()),
        Value::Array(items) => Value::Array(items.iter().rev().cloned().collect()),
        other => other.clone(),
    }
}

/// Edits the node of this number, counted from the root. The result: no node, one or two.
pub(crate) fn edited(value: &Value, number: &mut Option<usize>, edit: &Edit) -> Vec<Value> {
    if *number == Some(0) {
        *number = None;
        return match edit {
            Edit::Replace(new) => vec![new.clone()],
            Edit::Alike(seed) => vec![alike(value, *seed)],
            Edit::Add(key, new) => {
                let entry = (key.as_str().into(), new.clone());
                vec![value.as_map().map_or(new.clone(), |entries| {
                    Value::Map([&entries[..], &[entry]].concat())
                })]
            }
            Edit::Wrap(tag) => vec![Value::Tag(*tag, Box::new(value.clone()))],
            Edit::Nest(depth) => {
                vec![(0..*depth).fold(value.clone(), |inner, _| Value::Array(vec![inner]))]
            }
            Edit::Remove => vec![],
            Edit::Twice => vec![value.clone(), value.clone()],
        };
    }
    *number = number.map(|number| number - 1);
    vec![match value {
        Value::Array(items) => Value::Array(
            items
                .iter()
                .flat_map(|item| edited(item, number, edit))
                .collect(),
        ),
        Value::Map(entries) => Value::Map(
            entries
                .iter()
                .flat_map(|(key, value)| {
                    let (keys, values) = (edited(key, number, edit), edited(value, number, edit));
                    // Two keys share a value, one key has two, or there is none.
                    keys.into_iter()
                        .flat_map(|key| {
                            values
                                .iter()
                                .map(|value| (key.clone(), value.clone()))
                                .collect::<Vec<_>>()
                        })
                        .collect::<Vec<_>>()
                })
                .collect(),
        ),
        Value::Tag(tag, inner) => Value::Tag(
            *tag,
            Box::new(edited(inner, number, edit).pop().unwrap_or(Value::Null)),
        ),
        other => other.clone(),
    }]
}

/// Length and stride of each axis.
pub(crate) type Axes = Vec<(u64, i64)>;

/// A shape and its strides, of numbers that may fit and of those that cannot.
pub(crate) fn axes() -> impl Strategy<Value = Axes> {
    let number =
        prop_oneof![4 => 0..7u64, 2 => (0..64u32).prop_map(|bits| 1 << bits), 1 => any::<u64>()];
    let stride = prop_oneof![
        4 => (0..7i64).prop_map(|n| 8 * n),
        2 => (0..63u32).prop_map(|bits| 1 << bits),
        1 => any::<i64>(),
    ];
    prop::collection::vec((number, stride), 0..5)
}
