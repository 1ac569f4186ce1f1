//! Changes of the bytes of files.

use proptest::{prelude::*, sample::Index};

/// A change of some bytes, in numbers that are fitted to those that it meets.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Flip(Place, u8),
    Set(Place, Vec<u8>),
    Insert(Place, Vec<u8>),
    Delete(Place, usize),
    Swap(Place, Place, usize),
    /// These bytes up to a place, then another valid file from a place.
    Splice(Index, Place, Place),
}

/// A place in a file: most of its bytes are padding, so the parts that mean something are named.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Fixed(usize),
    State(usize),
    Map(Index),
    End(Index),
    Anywhere(Index),
}

impl Place {
    fn find(&self, bytes: &[u8]) -> usize {
        let len = bytes.len();
        let at = match self {
            Place::Fixed(at) => *at,
            Place::State(at) => 64 + at,
            Place::Map(index) => 2176 + index.index(400),
            Place::End(index) => len - index.index(200).min(len),
            Place::Anywhere(index) => index.index(len + 1),
        };
        at.min(len)
    }
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        3 => (0..64usize).prop_map(Place::Fixed),
        2 => (0..256usize).prop_map(Place::State),
        6 => any::<Index>().prop_map(Place::Map),
        1 => any::<Index>().prop_map(Place::End),
        1 => any::<Index>().prop_map(Place::Anywhere),
    ]
}

fn few_bytes() -> impl Strategy<Value = Vec<u8>> {
    let interesting = prop::sample::select(vec![
        0u8, 1, 0x18, 0x1b, 0x1c, 0x5b, 0x7f, 0x80, 0x9b, 0x9f, 0xa0, 0xbf, 0xc2, 0xd8, 0xf6, 0xfb,
        0xff,
    ]);
    prop::collection::vec(prop_oneof![any::<u8>(), interesting], 1..10)
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (place(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        3 => (place(), few_bytes()).prop_map(|(at, new)| Change::Set(at, new)),
        2 => (place(), few_bytes()).prop_map(|(at, new)| Change::Insert(at, new)),
        2 => (place(), 1..40usize).prop_map(|(at, len)| Change::Delete(at, len)),
        1 => (place(), place(), 1..20usize)
            .prop_map(|(one, other, len)| Change::Swap(one, other, len)),
        1 => (any::<Index>(), place(), place())
            .prop_map(|(other, end, start)| Change::Splice(other, end, start)),
    ]
}

impl Change {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        let clip = |bytes: &[u8], at: usize, len: usize| at..(at + len).min(bytes.len());
        match self {
            Change::Flip(at, bit) => {
                let at = at.find(bytes);
                bytes[at..]
                    .iter_mut()
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << bit);
            }
            Change::Set(at, new) => {
                let at = at.find(bytes);
                bytes[at..]
                    .iter_mut()
                    .zip(new)
                    .for_each(|(byte, new)| *byte = *new);
            }
            Change::Insert(at, new) => {
                let at = at.find(bytes);
                drop(bytes.splice(at..at, new.iter().copied()));
            }
            Change::Delete(at, len) => {
                let range = clip(bytes, at.find(bytes), *len);
                drop(bytes.drain(range));
            }
            Change::Swap(one, other, len) => {
                let (one, other) = (one.find(bytes), other.find(bytes));
                let (a, b) = (
                    bytes[clip(bytes, one, *len)].to_vec(),
                    bytes[clip(bytes, other, *len)].to_vec(),
                );
                bytes[one..]
                    .iter_mut()
                    .zip(b)
                    .for_each(|(byte, new)| *byte = new);
                bytes[other..]
                    .iter_mut()
                    .zip(a)
                    .for_each(|(byte, new)| *byte = new);
            }
            Change::Splice(other, end, start) => {
                let other = other.get(others);
                let (end, start) = (end.find(bytes), start.find(other));
                bytes.truncate(end);
                bytes.extend(&other[start..]);
            }
        }
    }
}
