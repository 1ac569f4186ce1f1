//! Files with a changed fixed block, and the right checksum over it.

use super::*;

pub(super) fn fixed_block(fixture: &mut Fixture) {
    let bounds = "Header::Bounds";
    let end = forge::number(&fixture.good, 18, 4);
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
        let bytes = fixture.changed(at, new);
        fixture.refuse(what, &bytes, variant, piece);
    }
    let mut bytes = fixture.good.clone();
    bytes[22] ^= 1;
    fixture.refuse(
        "a wrong checksum",
        &bytes,
        "Header::Checksum",
        "checksum is",
    );
    let mut forge = fixture.forge();
    forge.data_len = 40;
    forge.payload.truncate(40);
    fixture.refuse(
        "a payload of another length than the shape",
        &forge.file(),
        "Header::Shape",
        "does not make data_len bytes",
    );
}
