//! Handles as text: every part missing, twice, in another place, or with an invalid value.

use super::*;
use ndarray::Ix2;

pub(super) fn texts(fixture: &mut Fixture) {
    let text = fixture
        .handle
        .with_layout(8, &[2, 2], &[16, 8])
        .unwrap()
        .to_string();
    let at = |key: &str| text.find(key).unwrap();
    let (id, fingerprint) = (&text[at("i=")..at("f=")], &text[at("f=")..at("o=")]);
    let path = &text[at("p=")..];
    let field = "where it should be";
    let one_form = "in the one form";
    let rows: Vec<(&str, String, &str)> = vec![
        ("nothing", String::new(), "does not start with ndshm1:"),
        (
            "another version",
            text.replacen("ndshm1", "ndshm2", 1),
            "this library reads ndshm1",
        ),
        (
            "no version",
            text.replacen("ndshm1:", "", 1),
            "this library reads ndshm1",
        ),
        ("no mode", text.replacen("m=w:", "", 1), field),
        ("no scope", text.replacen("s=store:", "", 1), field),
        ("no id", text.replacen(id, "", 1), field),
        ("no fingerprint", text.replacen(fingerprint, "", 1), field),
        (
            "an offset alone",
            text.replacen("n=2,2:t=16,8:", "", 1),
            field,
        ),
        (
            "a shape without strides",
            text.replacen("t=16,8:", "", 1),
            field,
        ),
        (
            "strides without a shape",
            text.replacen("n=2,2:", "", 1),
            field,
        ),
        (
            "a shape without an offset",
            text.replacen("o=8:", "", 1),
            field,
        ),
        ("no path", text.replacen(path, "", 1), field),
        ("cut", text[..at("f=") + 5].to_owned(), "it is cut off"),
        ("a mode twice", text.replacen("m=w:", "m=w:m=w:", 1), field),
        ("a path twice", text.replacen("p=", "p=/x:p=", 1), one_form),
        (
            "fields in another order",
            text.replacen("m=w:s=store:", "s=store:m=w:", 1),
            field,
        ),
        ("an unknown field", text.replacen("p=", "x=1:p=", 1), field),
        (
            "a mode that is none",
            text.replacen("m=w", "m=x", 1),
            "neither r nor w",
        ),
        (
            "a scope that is none",
            text.replacen("s=store", "s=STORE", 1),
            "not local, remote or store",
        ),
        (
            "a short id",
            text.replacen(id, "i=AAAA:", 1),
            "its id is no id",
        ),
        (
            "an id of other letters",
            text.replacen(id, "i=++++++++++++++++++++++:", 1),
            "its id is no id",
        ),
        (
            "an id with bits to spare",
            text.replacen(id, &format!("i={}f:", "A".repeat(21)), 1),
            "its id is no id",
        ),
        (
            "a short fingerprint",
            text.replacen(fingerprint, "f=abc:", 1),
            "not 16 digits",
        ),
        (
            "a fingerprint in capitals",
            text.replacen(fingerprint, "f=ABCDEF0123456789:", 1),
            "not 16 digits",
        ),
        (
            "a fingerprint with a sign",
            text.replacen(fingerprint, "f=+bcdef0123456789:", 1),
            "not 16 digits",
        ),
        (
            "an offset with a sign",
            text.replacen("o=8", "o=+8", 1),
            "\"+8\" is not a number",
        ),
        (
            "an offset with a zero before it",
            text.replacen("o=8", "o=08", 1),
            "\"08\" is not a number",
        ),
        (
            "an offset of 2^64",
            text.replacen("o=8", "o=18446744073709551616", 1),
            "is not a number",
        ),
        (
            "a negative offset",
            text.replacen("o=8", "o=-8", 1),
            "\"-8\" is not a number",
        ),
        (
            "a dimension missing",
            text.replacen("n=2,2", "n=2,,2", 1),
            "\"\" is not a number",
        ),
        (
            "a space in the shape",
            text.replacen("n=2,2", "n=2, 2", 1),
            "\" 2\" is not a number",
        ),
        (
            "a stride of -0",
            text.replacen("t=16,8", "t=16,-0", 1),
            "\"-0\" is not a number",
        ),
        (
            "a stride of 2^63",
            text.replacen("t=16,8", "t=16,9223372036854775808", 1),
            "is not a number",
        ),
        (
            "more strides than dimensions",
            text.replacen("t=16,8", "t=16,8,8", 1),
            "2 dimensions and 3 strides",
        ),
        (
            "a relative path",
            text.replacen("p=/", "p=", 1),
            "must be absolute",
        ),
        (
            "an empty path",
            text.replacen(path, "p=", 1),
            "must be absolute",
        ),
        (
            "a path with ..",
            text.replacen("x.ndshm", "../x.ndshm", 1),
            "without ..",
        ),
        (
            "a path with .. in percent",
            text.replacen("x.ndshm", "%2e%2e/x.ndshm", 1),
            one_form,
        ),
        (
            "%00",
            text.replacen("x.ndshm", "x%00.ndshm", 1),
            "without NUL",
        ),
        ("a % that is cut", format!("{text}%7"), one_form),
        ("a % with other letters", format!("{text}%zz"), one_form),
        (
            "a % with small letters",
            text.replacen("x.ndshm", "%ff", 1),
            one_form,
        ),
        (
            "a % for nothing",
            text.replacen("x.ndshm", "%78.ndshm", 1),
            one_form,
        ),
        ("a space", text.replacen("x.ndshm", "x .ndshm", 1), one_form),
        (
            "a line feed behind it",
            format!("{text}\n"),
            "white space around it",
        ),
        (
            "letters that are not ASCII",
            text.replacen("x.ndshm", "ü.ndshm", 1),
            one_form,
        ),
        (
            "a path over 4095 bytes",
            format!("{text}{}", "a".repeat(4096)),
            "bytes, at most 4095 are allowed",
        ),
        (
            "a text of 1 MiB",
            format!("{text}{}", "a".repeat(1 << 20)),
            "bytes, at most 16384 are allowed",
        ),
    ];
    for (what, changed, piece) in rows {
        assert_ne!(changed, text, "{what}");
        expect(what, "Handle", piece, changed.parse::<Handle>());
        fixture.close_row(what);
    }
    for end in 0..at("p=") + 3 {
        // Before the path has begun. A shorter path is one, of another file.
        expect(
            "cut anywhere",
            "Handle",
            "not a handle",
            text[..end].parse::<Handle>(),
        );
    }
    expect(
        "cut in the path",
        "Released",
        "was released",
        text[..at("p=") + 5]
            .parse::<Handle>()
            .unwrap()
            .open::<f64, Ix2>(),
    );
    fixture.close_row("cut anywhere");
}
