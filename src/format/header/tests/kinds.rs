//! Headers of rings and growing arrays: encoded, parsed, and refused.

use super::*;
use crate::format::kind::{CONTROL_LEN, FRAME_LEN, MAX_INFO, MAX_SEATS, RingKind, SEAT_LEN};

fn ring(seats: u32, info: Option<DType>) -> Kind {
    Kind::Ring(RingKind { seats, info })
}

fn of_kind(kind: Kind, shape: &[usize]) -> Header {
    Header {
        kind,
        ..header(u8::DTYPE, shape, Order::C)
    }
}

fn file_of(header: &Header, align: usize, data_len: usize) -> Vec<u8> {
    let mut bytes = header.encode(align, &STATE).unwrap();
    bytes.resize(bytes.len() + data_len, 7);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    Header::parse(bytes, bytes.len() as u64)
}

#[test]
fn a_header_of_each_kind_comes_back_with_room_for_its_words() {
    let kinds = [
        (
            of_kind(ring(1, None), &[2, 1]),
            CONTROL_LEN + 2 * FRAME_LEN + SEAT_LEN,
        ),
        (
            of_kind(ring(64, Some(dtype("<f8"))), &[8, 100, 3]),
            CONTROL_LEN + 8 * FRAME_LEN + 64 * SEAT_LEN + 8 * 64,
        ),
        (
            of_kind(ring(MAX_SEATS, Some(dtype("|V4096"))), &[256, 1]),
            CONTROL_LEN + 256 * FRAME_LEN + 4096 * SEAT_LEN + 256 * MAX_INFO,
        ),
        (of_kind(Kind::Growing, &[1000, 3]), 64),
    ];
    for (header, work_len) in kinds {
        for align in [MIN_ALIGN, 64 << 10] {
            let data_len = header.spec.byte_len();
            let bytes = file_of(&header, align, data_len);
            let parsed = parse(&bytes).unwrap();
            assert_eq!(parsed.header, header);
            let work = parsed.work_range().unwrap();
            assert_eq!((work.len(), work.start % 64), (work_len, 0));
            let prefix_at = parsed.data_offset - header.prefix(data_len).len();
            assert!(work.end <= prefix_at && prefix_at - work.end < 64);
            let [before, behind] =
                padding_of(&bytes[..], bytes.len() as u64, Some(work.clone())).unwrap();
            assert!(before.start <= before.end && before.end == work.start);
            assert_eq!(behind, work.end..prefix_at);
            // Any bytes are sound in the work area, none but zeros before it.
            let mut changed = bytes.clone();
            changed[work.clone()].fill(0xa5);
            assert_eq!(parse(&changed).unwrap(), parsed);
            if !before.is_empty() {
                changed[before.start] = 1;
                assert_eq!(parse(&changed).unwrap_err(), HeaderError::Padding);
            }
        }
    }
}

#[test]
fn only_a_growing_array_may_be_shorter_than_it_can_become() {
    let growing = of_kind(Kind::Growing, &[1000, 3]);
    let bytes = file_of(&growing, MIN_ALIGN, 0);
    for rows in [0, 1, 999, 1000] {
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + rows * 3, 7);
        assert_eq!(parse(&longer).unwrap().header, growing);
    }
    for (header, data_len) in [
        (&growing, 3001),
        (&of_kind(ring(4, None), &[4, 3]), 11),
        (&of_kind(ring(4, None), &[4, 3]), 13),
    ] {
        let bytes = file_of(header, MIN_ALIGN, data_len);
        assert!(matches!(parse(&bytes), Err(HeaderError::Length { .. })));
    }
    let mut cut = bytes;
    cut.pop();
    assert!(matches!(parse(&cut), Err(HeaderError::Length { .. })));
}

#[test]
fn a_kind_that_is_not_sound_is_refused() {
    type Entries = Vec<(Value, Value)>;
    let map = |header: &Header, change: &dyn Fn(&mut Entries)| {
        let Value::Map(mut entries) = header.to_value() else {
            unreachable!("a header is a map")
        };
        change(&mut entries);
        Header::from_value(&Value::Map(entries))
    };
    let sound = of_kind(ring(4, None), &[4, 3]);
    let with = |key: &'static str, value: Option<Value>| {
        map(&sound, &|entries| {
            entries.retain(|(found, _)| found.as_text() != Some(key));
            entries.extend(value.clone().map(|value| (key.into(), value)));
        })
    };
    let kind = |name: &str, entries: &[(&str, Value)]| {
        Some(Value::Map(vec![(name.into(), text_map(entries))]))
    };
    let names = |names: &[&str]| {
        Some(Value::Array(
            names.iter().map(|&name| name.into()).collect(),
        ))
    };
    let key = |key| Err(HeaderError::Key { key });
    assert_eq!(
        with("kind", kind("ring", &[("seats", 4.into())])),
        Ok(sound.clone())
    );
    assert_eq!(with("kind", None), key("kind"));
    assert_eq!(with("crit", None), key("crit"));
    assert_eq!(with("crit", names(&["kind", "kind"])), key("crit"));
    let unknown = |key: &str| Err(HeaderError::Critical { key: key.into() });
    assert_eq!(with("crit", names(&["kind", "codec"])), unknown("codec"));
    assert_eq!(with("kind", kind("queue", &[])), unknown("kind queue"));
    for entries in [
        &[][..],
        &[("seats", (-1).into())],
        &[("seats", (1u64 << 32).into())],
        &[("seats", "4".into())],
        &[("seats", 4.into()), ("more", 1.into())],
    ] {
        assert_eq!(with("kind", kind("ring", entries)), key("kind"));
    }
    assert_eq!(
        with("kind", kind("growing", &[("more", 1.into())])),
        key("kind")
    );
    assert_eq!(with("kind", Some(text_map(&[]))), key("kind"));
    assert_eq!(with("kind", Some(1.into())), key("kind"));
    assert!(matches!(
        with(
            "kind",
            kind("ring", &[("seats", 4.into()), ("info", "|O".into())])
        ),
        Err(HeaderError::Dtype { .. })
    ));
    let refused = [
        of_kind(ring(0, None), &[4, 3]),
        of_kind(ring(MAX_SEATS + 1, None), &[4, 3]),
        of_kind(ring(4, Some(dtype("|V4097"))), &[4, 3]),
        of_kind(ring(4, None), &[1, 3]),
        of_kind(ring(4, None), &[257, 3]),
        of_kind(ring(4, None), &[]),
        of_kind(ring(4, None), &[4, 0]),
        of_kind(Kind::Growing, &[]),
        of_kind(Kind::Growing, &[0, 3]),
        of_kind(Kind::Growing, &[3, 0]),
        Header {
            kind: ring(4, None),
            ..header(u8::DTYPE, &[4, 3], Order::F)
        },
    ];
    for header in refused {
        let error = map(&header, &|_| ()).unwrap_err();
        assert!(
            matches!(error, HeaderError::Shape { .. }),
            "{header:?}: {error}"
        );
    }
}
