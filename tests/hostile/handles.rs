//! Handles as text and as serde values: those that are none, and those that name another array than
//! they say.

use super::*;
use ndarray::Ix2;
use serde_json::{Value, json};

pub(crate) fn try_all(bench: &mut Bench) {
    drop(bench.restore());
    texts(bench);
    values(bench);
    postcards(bench);
    other_arrays(bench);
}

fn texts(bench: &mut Bench) {
    let text = bench
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
        bench.close_row(what);
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
        "Untrusted",
        "refused",
        text[..at("p=") + 5]
            .parse::<Handle>()
            .unwrap()
            .open::<f64, Ix2>(),
    );
    bench.close_row("cut anywhere");
}

fn values(bench: &mut Bench) {
    let good = serde_json::to_value(&bench.handle).unwrap();
    let view =
        serde_json::to_value(bench.handle.with_layout(8, &[2, 2], &[16, 8]).unwrap()).unwrap();
    let with = |key: &str, value: Value| {
        let mut fields = good.clone();
        assert!(
            fields
                .as_object_mut()
                .unwrap()
                .insert(key.to_owned(), value)
                .is_some(),
            "{key}"
        );
        fields
    };
    let without = |key: &str| {
        let mut fields = good.clone();
        assert!(
            fields.as_object_mut().unwrap().remove(key).is_some(),
            "{key}"
        );
        fields
    };
    let viewed = |key: &str, value: Value| {
        let mut fields = view.clone();
        fields["view"][key] = value;
        fields
    };
    let rows: Vec<(&str, Value, &str)> = vec![
        (
            "version 2",
            with("version", json!(2)),
            "a handle of version 2, this library reads 1",
        ),
        ("version 300", with("version", json!(300)), "expected u8"),
        (
            "a relative path",
            with("path", json!("x.ndshm")),
            "must be absolute",
        ),
        (
            "a path with ..",
            with("path", json!("/a/../x.ndshm")),
            "without ..",
        ),
        ("%00", with("path", json!("/a%00")), "without NUL"),
        ("a bad %", with("path", json!("/a%zz")), "one form"),
        (
            "a path that is not encoded",
            with("path", json!("/a b")),
            "one form",
        ),
        (
            "a long path",
            with("path", json!(format!("/{}", "a".repeat(4095)))),
            "at most 4095",
        ),
        (
            "a list as path",
            with("path", json!([47])),
            "expected a string",
        ),
        (
            "an id that is none",
            with("id", json!("x")),
            "UUID parsing failed",
        ),
        (
            "a fingerprint with a sign",
            with("fingerprint", json!(-1)),
            "expected u64",
        ),
        (
            "a writable that is none",
            with("writable", json!(1)),
            "expected a boolean",
        ),
        (
            "a scope that is none",
            with("scope", json!("Global")),
            "unknown variant",
        ),
        ("no version", without("version"), "missing field"),
        ("no path", without("path"), "missing field"),
        ("no id", without("id"), "missing field"),
        ("no scope", without("scope"), "missing field"),
        (
            "a shape without strides",
            viewed("strides", json!([])),
            "2 dimensions and 0 strides",
        ),
        (
            "no strides at all",
            viewed("strides", Value::Null),
            "expected a sequence",
        ),
        (
            "rank 33",
            viewed("shape", json!(vec![1; 33])),
            "33 dimensions",
        ),
        (
            "a negative dimension",
            viewed("shape", json!([-1, 2])),
            "expected u64",
        ),
        (
            "a stride of 2^63",
            viewed("strides", json!([1u64 << 63, 8])),
            "expected i64",
        ),
        ("a list", json!([1, 2, 3]), "invalid"),
        ("null", Value::Null, "invalid type"),
    ];
    for (what, value, piece) in rows {
        for error in [
            serde_json::from_value::<Handle>(value.clone())
                .map(drop)
                .unwrap_err(),
            serde_json::from_value::<SharedArray2<f64>>(value)
                .map(drop)
                .unwrap_err(),
        ] {
            assert!(
                error.to_string().contains(piece),
                "{what}: {error}, expected {piece:?}"
            );
        }
        bench.close_row(what);
    }
    let twice = good.to_string().replacen('{', "{\"version\":1,", 1);
    assert!(
        serde_json::from_str::<Handle>(&twice)
            .unwrap_err()
            .to_string()
            .contains("duplicate field")
    );
    bench.close_row("a field twice");
}

/// The binary form has no names: what is cut or has other lengths is found as such.
fn postcards(bench: &mut Bench) {
    let bytes =
        postcard::to_allocvec(&bench.handle.with_layout(8, &[2, 2], &[16, 8]).unwrap()).unwrap();
    for cut in 0..bytes.len() {
        assert!(
            postcard::from_bytes::<Handle>(&bytes[..cut]).is_err(),
            "{cut}"
        );
    }
    bench.close_row("postcard, cut anywhere");
    let mut opened = 0;
    for (at, flip) in (0..bytes.len()).flat_map(|at| [0x01, 0x80, 0xff].map(|flip| (at, flip))) {
        let mut changed = bytes.clone();
        changed[at] ^= flip;
        // Another handle, or none: it opens this view only where it says no more than another mode,
        // scope or layout.
        if let Ok(Ok(xs)) =
            postcard::from_bytes::<Handle>(&changed).map(|handle| handle.open::<f64, IxDyn>())
        {
            assert_eq!(xs.path(), bench.path);
            assert!(xs.read().unwrap().iter().all(|x| (0.0..6.0).contains(x)));
            opened += 1;
        }
    }
    assert!(
        opened > 0 && opened < bytes.len(),
        "{opened} of {}",
        bytes.len()
    );
    bench.close_row("postcard, flipped anywhere");
    let path_len = 1;
    let mut changed = bytes[..path_len].to_vec();
    changed.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert!(postcard::from_bytes::<Handle>(&changed).is_err());
    bench.close_row("postcard, a path of 2^63 bytes");
}

fn other_arrays(bench: &mut Bench) {
    let text = bench.handle.to_string();
    let at = text.find(":f=").unwrap() + 3;
    let wrong = format!("{}{}{}", &text[..at], "0123456789abcdef", &text[at + 16..]);
    expect(
        "a wrong fingerprint",
        "Handle",
        "its fingerprint is neither",
        wrong.parse::<Handle>().unwrap().open::<f64, Ix2>(),
    );
    bench.close_row("a wrong fingerprint");

    let beside: SharedArray2<f64> = bench.manager.array("beside").unwrap();
    let id = |handle: &Handle| handle.to_string().split(':').nth(3).unwrap().to_owned();
    let other: Handle = text
        .replacen(&id(&bench.handle), &id(&beside.handle()), 1)
        .parse()
        .unwrap();
    expect(
        "another id",
        "PathReused",
        "another array or store took this path",
        other.open::<f64, Ix2>(),
    );
    expect(
        "another id",
        "PathReused",
        "another array or store took this path",
        other.info(),
    );
    drop(beside);
    bench.close_row("another array's id");

    // A file that says it is another one, under the name of the one that the handle names.
    let id = ciborium::Value::Tag(37, Box::new(ciborium::Value::Bytes(vec![9; 16])));
    bench.put(&bench.forge().with(&[("id", Some(id))]).file());
    expect(
        "a reused path",
        "PathReused",
        "it is 09090909-0909-0909-0909-090909090909 now",
        bench.handle.open::<f64, Ix2>(),
    );
    expect(
        "a reused path",
        "PathReused",
        "it is 09090909",
        bench.handle.info(),
    );
    bench.close_row("a reused path");

    let lock = text
        .replacen("x.ndshm", ".lock", 1)
        .parse::<Handle>()
        .unwrap();
    let before = fs::read(bench.manager.path().join(".lock")).unwrap();
    expect(
        "the lock file",
        "Header::Magic",
        "not an ndshm file",
        lock.open::<f64, Ix2>(),
    );
    assert!(fs::read(bench.manager.path().join(".lock")).unwrap() == before);
    bench.close_row("a handle to the lock file");

    let path = &text[text.find("p=").unwrap()..];
    for (to, variant, piece) in [
        ("p=/", "Released", "was released"),
        ("p=/dev/null", "Untrusted", "/dev: refused"),
        ("p=/proc/self/mem", "Untrusted", "it is not a directory"),
        ("p=/proc/1/mem", "Untrusted", "/proc/1: refused"),
        ("p=/none/x.ndshm", "Released", "was released"),
        ("p=/dev/null/x.ndshm", "Untrusted", "it is not a directory"),
    ] {
        expect(
            to,
            variant,
            piece,
            text.replacen(path, to, 1)
                .parse::<Handle>()
                .unwrap()
                .open::<f64, Ix2>(),
        );
        bench.close_row(to);
    }
    let slash = format!("{text}/").parse::<Handle>().unwrap();
    expect(
        "a slash behind",
        "Io",
        "open the array file",
        slash.open::<f64, Ix2>(),
    );
    bench.close_row("a slash behind the path");
    drop(make::<f64>(&bench.manager, &bench.path, &[2, 3]));
    drop(bench.restore());
}
