//! Files of the wrong length, with a damaged fixed block, padding, state block or prefix.

use super::*;
use ndshm::HeaderError;

const PREFIX: &[u8] = b"\x67payload\xd8\x28\x82\x82\x02\x03\xd8\x56\x58\x30";

pub(crate) fn try_all(bench: &mut Bench) {
    lengths(bench);
    fixed_block(bench);
    state_block(bench);
    padding_and_prefix(bench);
    every_byte(bench);
    truncated_while_it_is_open(bench);
}

fn lengths(bench: &mut Bench) {
    let good = bench.good.clone();
    assert_eq!((good.len(), forge::number(&good, 26, 8)), (4096 + 48, 4096));
    bench.refuse("empty", &[], "Header::Length", "the file has 0 bytes");
    bench.refuse(
        "one byte",
        &good[..1],
        "Header::Length",
        "the file has 1 bytes",
    );
    bench.refuse(
        "cut before the map",
        &good[..2182],
        "Header::Length",
        "the file has 2182 bytes",
    );
    bench.refuse(
        "cut in the padding",
        &good[..3000],
        "Header::Length",
        "the file has 3000 bytes, its header says 4144",
    );
    bench.refuse(
        "no payload",
        &good[..4096],
        "Header::Length",
        "the file has 4096 bytes, its header says 4144",
    );
    bench.refuse(
        "one byte short",
        &good[..4143],
        "Header::Length",
        "the file has 4143 bytes, its header says 4144",
    );
    bench.refuse(
        "one byte more",
        &[&good[..], &[0]].concat(),
        "Header::Length",
        "the file has 4145 bytes, its header says 4144",
    );
    bench.refuse(
        "a page more",
        &[&good[..], &[0; 4096]].concat(),
        "Header::Length",
        "the file has 8240 bytes",
    );
    bench.refuse(
        "a file of zeros",
        &vec![0; good.len()],
        "Header::Magic",
        "not an ndshm file",
    );
    for cut in 0..4096 {
        bench.put(&good[..cut]);
        expect(
            "cut",
            "Header::Length",
            &format!("the file has {cut} bytes"),
            bench.manager.array::<f64, IxDyn>("x"),
        );
        assert!(
            fs::read(&bench.path).unwrap() == good[..cut],
            "cut at {cut}"
        );
    }
    bench.close_row("cut at every byte below the payload");
}

fn fixed_block(bench: &mut Bench) {
    let bounds = "Header::Bounds";
    let end = forge::number(&bench.good, 18, 4);
    let rows: [(&str, usize, &[u8], &str, &str); 27] = [
        (
            "another magic",
            0,
            b"\x93NUMPY",
            "Header::Magic",
            "not an ndshm file",
        ),
        (
            "no self-described tag",
            0,
            &[0xa6],
            "Header::Magic",
            "not an ndshm file",
        ),
        (
            "a map of 8",
            3,
            &[0xa8],
            "Header::Magic",
            "not an ndshm file",
        ),
        (
            "another magic key",
            5,
            b"ndsx",
            "Header::Magic",
            "not an ndshm file",
        ),
        (
            "version 0",
            9,
            &[0],
            "Header::Version",
            "format version 0, this library reads version 1",
        ),
        ("version 2", 9, &[2], "Header::Version", "format version 2"),
        (
            "another key of the fixed block",
            11,
            b"Fixed",
            "Header::Template",
            "offset 10",
        ),
        (
            "another length of the fixed block",
            17,
            &[0x26],
            "Header::Template",
            "offset 10",
        ),
        ("reserved", 42, &[1], "Header::Template", "offset 42"),
        (
            "the last reserved byte",
            54,
            &[1],
            "Header::Template",
            "offset 42",
        ),
        (
            "another length of the state block",
            63,
            &[0x41],
            "Header::Template",
            "offset 55",
        ),
        (
            "another key of the header",
            2177,
            b"Header",
            "Header::Template",
            "offset 2176",
        ),
        ("header_end 0", 18, &[0; 4], bounds, "header_end = 0 is"),
        (
            "header_end before the map",
            18,
            &2182u32.to_le_bytes(),
            bounds,
            "header_end = 2182",
        ),
        (
            "no map",
            18,
            &2183u32.to_le_bytes(),
            bounds,
            "header_end = 2183",
        ),
        (
            "header_end behind data_offset",
            18,
            &4097u32.to_le_bytes(),
            bounds,
            "header_end = 4097",
        ),
        (
            "header_end 2^32-1",
            18,
            &[0xff; 4],
            bounds,
            "header_end = 4294967295",
        ),
        (
            "data_offset 0",
            26,
            &[0; 8],
            bounds,
            &format!("header_end = {end} is"),
        ),
        (
            "data_offset inside the header",
            26,
            &2240u64.to_le_bytes(),
            bounds,
            &format!("header_end = {end} is"),
        ),
        (
            "data_offset that is not aligned",
            26,
            &4100u64.to_le_bytes(),
            bounds,
            "data_offset = 4100",
        ),
        (
            "data_offset 2^64-64",
            26,
            &(u64::MAX - 63).to_le_bytes(),
            bounds,
            "data_offset = 18446744073709551552",
        ),
        (
            "data_offset 2^63",
            26,
            &(1u64 << 63).to_le_bytes(),
            bounds,
            "data_offset = 9223372036854775808",
        ),
        (
            "data_offset behind the file",
            26,
            &8192u64.to_le_bytes(),
            "Header::Length",
            "its header says 8240",
        ),
        (
            "an end that wraps",
            34,
            &(u64::MAX - 4095).to_le_bytes(),
            bounds,
            "data_len = 18446744073709547520",
        ),
        (
            "data_len 2^64-1",
            34,
            &[0xff; 8],
            bounds,
            "data_len = 18446744073709551615",
        ),
        (
            "data_len beyond what files have",
            34,
            &(i64::MAX as u64).to_le_bytes(),
            bounds,
            "data_len = 9223372036854775807",
        ),
        (
            "data_len one more",
            34,
            &49u64.to_le_bytes(),
            "Header::Length",
            "its header says 4145",
        ),
    ];
    for (what, at, new, variant, piece) in rows {
        let bytes = bench.changed(at, new);
        bench.refuse(what, &bytes, variant, piece);
    }
    let mut bytes = bench.good.clone();
    bytes[22] ^= 1;
    bench.refuse(
        "a wrong checksum",
        &bytes,
        "Header::Checksum",
        "checksum is",
    );
    let mut forge = bench.forge();
    forge.data_len = 40;
    forge.payload.truncate(40);
    bench.refuse(
        "a payload of another length than the shape",
        &forge.file(),
        "Header::Shape",
        "does not make data_len bytes",
    );
}

fn state_block(bench: &mut Bench) {
    let mut with = |what, at, new: u32, variant, piece| {
        let mut bytes = bench.good.clone();
        forge::put(&mut bytes, at, &new.to_ne_bytes());
        bench.refuse(what, &bytes, variant, piece);
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
        "invalid lifecycle value 0",
    );
    with(
        "state 4",
        68,
        4,
        "Header::Lifecycle",
        "invalid lifecycle value 4",
    );
    with(
        "state 2^32-1",
        68,
        u32::MAX,
        "Header::Lifecycle",
        "invalid lifecycle value 4294967295",
    );
    for (what, lifecycle, by_name, piece) in [
        ("released", 2u32, "Released", "was released"),
        ("recycling", 3, "NotFound", "was released"),
    ] {
        let mut bytes = bench.good.clone();
        forge::put(&mut bytes, 68, &lifecycle.to_ne_bytes());
        bench.put(&bytes);
        expect(what, by_name, piece, bench.manager.array::<f64, IxDyn>("x"));
        expect(what, "Released", piece, bench.handle.open::<f64, IxDyn>());
        expect(what, "Released", piece, bench.handle.info());
        assert_eq!(
            bench.manager.list().unwrap().len(),
            1,
            "{what}: it is not there any more"
        );
        assert!(fs::read(&bench.path).unwrap() == bytes, "{what}");
        bench.close_row(what);
    }
    // Openers that wrap: counted up and down again.
    let mut bytes = bench.good.clone();
    forge::put(&mut bytes, 76, &u32::MAX.to_ne_bytes());
    bench.put(&bytes);
    drop(bench.manager.array::<f64, IxDyn>("x").unwrap());
    assert!(fs::read(&bench.path).unwrap() == bytes);
    bench.close_row("2^32-1 openers");
    // Whatever else is in the block, the elements are read or the lock is not had; nothing crashes,
    // nothing waits for ever.
    for at in (72..2176).filter(|at| !(76..80).contains(at)) {
        for flip in [0xff, 0x80, 0x01] {
            let mut bytes = bench.good.clone();
            bytes[at] ^= flip;
            bench.put(&bytes);
            // Read-only: who finds itself named as the owner of an array it opens for writing would
            // delete it, and rightly.
            let xs = read_only(&bench.handle).open::<f64, IxDyn>().unwrap();
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
    bench.restore();
    bench.close_row("every byte of the state block");
}

fn padding_and_prefix(bench: &mut Bench) {
    let end = forge::number(&bench.good, 18, 4);
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
        let bytes = bench.changed(at, new);
        bench.refuse(what, &bytes, "Header::Padding", "the padding is damaged");
    }
    let forge = bench.forge();
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
        bench.refuse(
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
    bench.refuse(
        "a prefix that is longer than any",
        &long,
        "Header::Padding",
        "the padding is damaged",
    );
}

/// All bits of each byte that never changes, without a right checksum.
fn every_byte(bench: &mut Bench) {
    for at in (0..64).chain(2176..4096) {
        let mut bytes = bench.good.clone();
        bytes[at] = !bytes[at];
        bench.put(&bytes);
        match bench.manager.array::<f64, IxDyn>("x").map(drop) {
            Err(Error::Header { source, .. }) => assert_ne!(
                source,
                HeaderError::ForeignStore,
                "byte {at}: the checksum comes first"
            ),
            other => panic!("byte {at}: {other:?}"),
        }
        assert!(fs::read(&bench.path).unwrap() == bytes, "byte {at}");
    }
    bench.close_row("every byte of the head flipped");
}

/// Who has a file mapped that is truncated cannot be helped where it reads the pages that are gone:
/// memory that others can truncate is outside of what is promised. But whoever opens the file by
/// its name or path learns of it, in the process that has it mapped too, and so does every other
/// process. (A handle to what a process has open is opened without a look at the file.)
fn truncated_while_it_is_open(bench: &mut Bench) {
    for (what, len) in [
        ("truncated by a byte while it is open", 4143u64),
        ("truncated to its head", 4096),
        ("longer while it is open", 4145),
    ] {
        let xs = bench.restore();
        let file = fs::File::options().write(true).open(&bench.path).unwrap();
        file.set_len(len).unwrap();
        let piece = format!("the file has {len} bytes, its header says 4144");
        expect(
            what,
            "Header::Length",
            &piece,
            bench.manager.array::<f64, IxDyn>("x"),
        );
        expect(
            what,
            "Header::Length",
            &piece,
            SharedArrayD::<f64>::open_path(&bench.path),
        );
        expect(what, "Header::Length", &piece, bench.handle.info());
        expect(what, "Header::Length", &piece, bench.manager.list());
        let text = bench.handle.to_string();
        assert!(
            common::run("race::child_is_refused", &[text]).contains("its header says 4144"),
            "{what}"
        );
        drop(xs);
        assert!(
            fs::read(&bench.path).unwrap()[..64] == bench.good[..64],
            "{what}"
        );
        bench.close_row(what);
    }
    bench.restore();
}
