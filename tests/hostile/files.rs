//! Files of the wrong length, with a damaged fixed block, padding, state block or prefix.

use super::{common::words, *};
use ndshm::HeaderError;

const PREFIX: &[u8] = b"\x67payload\xd8\x28\x82\x82\x02\x03\xd8\x56\x58\x30";

pub(crate) fn try_all(fixture: &mut Fixture) {
    lengths(fixture);
    fixed_block::fixed_block(fixture);
    state_block(fixture);
    padding_and_prefix(fixture);
    every_byte(fixture);
    truncated_while_it_is_open(fixture);
}

fn lengths(fixture: &mut Fixture) {
    let good = fixture.good.clone();
    assert_eq!((good.len(), forge::number(&good, 26, 8)), (4096 + 48, 4096));
    fixture.refuse("empty", &[], "Header::Length", "the file has 0 bytes");
    fixture.refuse(
        "one byte",
        &good[..1],
        "Header::Length",
        "the file has 1 bytes",
    );
    fixture.refuse(
        "cut before the map",
        &good[..2182],
        "Header::Length",
        "the file has 2182 bytes",
    );
    fixture.refuse(
        "cut in the padding",
        &good[..3000],
        "Header::Length",
        "the file has 3000 bytes, its header says 4144",
    );
    fixture.refuse(
        "no payload",
        &good[..4096],
        "Header::Length",
        "the file has 4096 bytes, its header says 4144",
    );
    fixture.refuse(
        "one byte short",
        &good[..4143],
        "Header::Length",
        "the file has 4143 bytes, its header says 4144",
    );
    fixture.refuse(
        "one byte more",
        &[&good[..], &[0]].concat(),
        "Header::Length",
        "the file has 4145 bytes, its header says 4144",
    );
    fixture.refuse(
        "a page more",
        &[&good[..], &[0; 4096]].concat(),
        "Header::Length",
        "the file has 8240 bytes",
    );
    fixture.refuse(
        "a file of zeros",
        &vec![0; good.len()],
        "Header::Magic",
        "not an ndshm file",
    );
    for cut in 0..4096 {
        fixture.put(&good[..cut]);
        expect(
            "cut",
            "Header::Length",
            &format!("the file has {cut} bytes"),
            fixture.manager.array::<f64, IxDyn>("x"),
        );
        assert!(
            fs::read(&fixture.path).unwrap() == good[..cut],
            "cut at {cut}"
        );
    }
    fixture.close_row("cut at every byte below the payload");
}

fn state_block(fixture: &mut Fixture) {
    let mut with = |what, at, new: u32, variant, piece| {
        let mut bytes = fixture.good.clone();
        forge::put(&mut bytes, at, &new.to_ne_bytes());
        fixture.refuse(what, &bytes, variant, piece);
    };
    with(
        "the other byte order",
        64,
        0x0403_0201,
        "Header::Endian",
        "another byte order",
    );
    with(
        "no endian probe",
        64,
        0,
        "Header::Endian",
        "another byte order",
    );
    with(
        "state 0",
        68,
        0,
        "Header::Lifecycle",
        "invalid lifecycle value 0x0",
    );
    with(
        "state 4",
        68,
        4,
        "Header::Lifecycle",
        "invalid lifecycle value 0x4",
    );
    with(
        "state 2^32-1",
        68,
        u32::MAX,
        "Header::Lifecycle",
        "invalid lifecycle value 0xffffffff",
    );
    for (what, lifecycle, by_name, piece) in [
        ("released", words::RELEASED, "Released", "was released"),
        ("recycling", words::RECYCLING, "NotFound", "was released"),
    ] {
        let mut bytes = fixture.good.clone();
        forge::put(&mut bytes, 68, &lifecycle.to_ne_bytes());
        fixture.put(&bytes);
        expect(
            what,
            by_name,
            piece,
            fixture.manager.array::<f64, IxDyn>("x"),
        );
        expect(what, "Released", piece, fixture.handle.open::<f64, IxDyn>());
        expect(what, "Released", piece, fixture.handle.info());
        assert_eq!(
            fixture.manager.list().unwrap().len(),
            1,
            "{what}: it is not there any more"
        );
        assert!(fs::read(&fixture.path).unwrap() == bytes, "{what}");
        fixture.close_row(what);
    }
    // Openers that wrap: counted up and down again.
    let mut bytes = fixture.good.clone();
    forge::put(&mut bytes, 152, &u32::MAX.to_ne_bytes());
    fixture.put(&bytes);
    drop(fixture.manager.array::<f64, IxDyn>("x").unwrap());
    assert!(fs::read(&fixture.path).unwrap() == bytes);
    fixture.close_row("2^32-1 openers");
    // Whatever else is in the block, the elements are read or the lock is not had; nothing crashes,
    // nothing waits for ever.
    for at in (72..2176).filter(|at| !(152..156).contains(at)) {
        for flip in [0xff, 0x80, 0x01] {
            let mut bytes = fixture.good.clone();
            bytes[at] ^= flip;
            fixture.put(&bytes);
            // Read-only: a process that opens an array for writing and is named as its owner would
            // rightly delete it.
            let xs = read_only(&fixture.handle).open::<f64, IxDyn>().unwrap();
            match xs.try_read() {
                Ok(guard) => assert_eq!(guard.sum(), 15.0),
                Err(
                    Error::WouldBlock { .. }
                    | Error::TooManyGuards { .. }
                    | Error::WouldDeadlock { .. },
                ) => {}
                Err(other) => panic!("state byte {at} ^ {flip:02x}: {other}"),
            }
            drop(xs);
        }
    }
    fixture.restore();
    fixture.close_row("every byte of the state block");
}

fn padding_and_prefix(fixture: &mut Fixture) {
    let end = forge::number(&fixture.good, 18, 4);
    let rows: [(&str, usize, &[u8]); 7] = [
        ("another key of the padding", end + 1, b"Padding"),
        ("a text as padding", end + 8, &[0x79]),
        ("indefinite padding", end + 8, &[0x5f]),
        ("padding of no length", end + 8, &[0x40]),
        (
            "padding of 2^64-1",
            end + 8,
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("the first byte of the padding", end + 11, &[1]),
        (
            "the last byte of the padding",
            4096 - PREFIX.len() - 1,
            &[1],
        ),
    ];
    for (what, at, new) in rows {
        let bytes = fixture.changed(at, new);
        fixture.refuse(what, &bytes, "Header::Padding", "the padding is damaged");
    }
    let forge = fixture.forge();
    assert_eq!(forge.prefix, PREFIX);
    let shapes = |pair: &[u8]| [&PREFIX[..12], pair, &PREFIX[14..]].concat();
    let rows: [(&str, Vec<u8>); 8] = [
        ("dims in the other order", shapes(&[3, 2])),
        ("other dims", shapes(&[2, 4])),
        (
            "tag of column-major arrays",
            [&PREFIX[..8], b"\xd9\x04\x10", &PREFIX[10..]].concat(),
        ),
        (
            "tag of another type",
            [&PREFIX[..15], b"\x55", &PREFIX[16..]].concat(),
        ),
        ("no tag of a type", [&PREFIX[..14], &PREFIX[16..]].concat()),
        ("bytes alone", [&PREFIX[..8], &PREFIX[16..]].concat()),
        ("a longer head", [&PREFIX[..16], b"\x59\x00\x30"].concat()),
        ("another length", [&PREFIX[..17], b"\x31"].concat()),
    ];
    for (what, prefix) in rows {
        let bytes = Forge {
            prefix,
            ..forge.clone()
        }
        .file();
        fixture.refuse(
            what,
            &bytes,
            "Header::Prefix",
            "the payload's head disagrees with the header",
        );
    }
    let long = Forge {
        prefix: vec![0x20; 400],
        ..forge.clone()
    }
    .file();
    fixture.refuse(
        "a prefix that is longer than any",
        &long,
        "Header::Padding",
        "the padding is damaged",
    );
}

/// All bits of each byte that never changes, without a right checksum.
fn every_byte(fixture: &mut Fixture) {
    for at in (0..64).chain(2176..4096) {
        let mut bytes = fixture.good.clone();
        bytes[at] = !bytes[at];
        fixture.put(&bytes);
        match fixture.manager.array::<f64, IxDyn>("x").map(drop) {
            Err(Error::Header { source, .. }) => assert_ne!(
                source,
                HeaderError::ForeignStore,
                "byte {at}: the checksum comes first"
            ),
            other => panic!("byte {at}: {other:?}"),
        }
        assert!(fs::read(&fixture.path).unwrap() == bytes, "byte {at}");
    }
    fixture.close_row("every byte of the head flipped");
}

/// A process that has a truncated file mapped faults where it reads the missing pages: the library
/// promises nothing for memory that others can truncate. But opening the file by its name or path
/// gives an error, in the process that has it mapped and in every other process. (A process opens a
/// handle to an array that it has open without a look at the file.)
fn truncated_while_it_is_open(fixture: &mut Fixture) {
    for (what, len) in [
        ("truncated by a byte while it is open", 4143u64),
        ("truncated to its head", 4096),
        ("longer while it is open", 4145),
    ] {
        let xs = fixture.restore();
        let file = fs::File::options().write(true).open(&fixture.path).unwrap();
        file.set_len(len).unwrap();
        let piece = format!("the file has {len} bytes, its header says 4144");
        expect(
            what,
            "Header::Length",
            &piece,
            fixture.manager.array::<f64, IxDyn>("x"),
        );
        expect(
            what,
            "Header::Length",
            &piece,
            SharedArrayD::<f64>::open_path(&fixture.path),
        );
        expect(what, "Header::Length", &piece, fixture.handle.info());
        expect(
            what,
            "Header::Length",
            &piece,
            damage(&fixture.manager, &fixture.path),
        );
        let text = fixture.handle.to_string();
        assert!(
            common::run(super::race::child_is_refused, &[text]).contains("its header says 4144"),
            "{what}"
        );
        drop(xs);
        assert!(
            fs::read(&fixture.path).unwrap()[..64] == fixture.good[..64],
            "{what}"
        );
        fixture.close_row(what);
    }
    fixture.restore();
}
