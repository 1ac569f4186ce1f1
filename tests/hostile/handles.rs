//! Handles as text and as serde values: invalid ones, and those that name another array than they
//! say.

use super::*;
use crate::common::bad;
use ndarray::Ix2;
use serde_json::{Value, json};

pub(crate) fn try_all(fixture: &mut Fixture) {
    drop(fixture.restore());
    handle_texts::texts(fixture);
    values(fixture);
    postcards(fixture);
    other_arrays(fixture);
}

fn values(fixture: &mut Fixture) {
    let good = serde_json::to_value(&fixture.handle).unwrap();
    let view =
        serde_json::to_value(fixture.handle.with_layout(8, &[2, 2], &[16, 8]).unwrap()).unwrap();
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
        fixture.close_row(what);
    }
    let twice = good.to_string().replacen('{', "{\"version\":1,", 1);
    assert!(
        serde_json::from_str::<Handle>(&twice)
            .unwrap_err()
            .to_string()
            .contains("duplicate field")
    );
    fixture.close_row("a field twice");
}

/// The binary form has no names: bytes that are cut or have other lengths are refused as such.
fn postcards(fixture: &mut Fixture) {
    let bytes =
        postcard::to_allocvec(&fixture.handle.with_layout(8, &[2, 2], &[16, 8]).unwrap()).unwrap();
    for cut in 0..bytes.len() {
        assert!(
            postcard::from_bytes::<Handle>(&bytes[..cut]).is_err(),
            "{cut}"
        );
    }
    fixture.close_row("postcard, cut anywhere");
    let mut opened = 0;
    for (at, flip) in (0..bytes.len()).flat_map(|at| [0x01, 0x80, 0xff].map(|flip| (at, flip))) {
        let mut changed = bytes.clone();
        changed[at] ^= flip;
        // Another handle, or none: it opens this view only where it says no more than another mode,
        // scope or layout.
        if let Ok(Ok(xs)) =
            postcard::from_bytes::<Handle>(&changed).map(|handle| handle.open::<f64, IxDyn>())
        {
            assert_eq!(xs.path(), fixture.path);
            assert!(xs.read().unwrap().iter().all(|x| (0.0..6.0).contains(x)));
            opened += 1;
        }
    }
    assert!(
        opened > 0 && opened < bytes.len(),
        "{opened} of {}",
        bytes.len()
    );
    fixture.close_row("postcard, flipped anywhere");
    let path_len = 1;
    let mut changed = bytes[..path_len].to_vec();
    changed.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert!(postcard::from_bytes::<Handle>(&changed).is_err());
    fixture.close_row("postcard, a path of 2^63 bytes");
}

fn other_arrays(fixture: &mut Fixture) {
    let text = fixture.handle.to_string();
    expect(
        "a wrong fingerprint",
        "Handle",
        "its fingerprint is neither",
        bad::with_wrong_fingerprint(&fixture.handle).open::<f64, Ix2>(),
    );
    fixture.close_row("a wrong fingerprint");

    let beside: SharedArray2<f64> = fixture.manager.array("beside").unwrap();
    let id = |handle: &Handle| handle.to_string().split(':').nth(3).unwrap().to_owned();
    let with_id = |other: &str| -> Handle {
        let text = text.replacen(&id(&fixture.handle), other, 1);
        text.parse().unwrap()
    };
    // An id is looked for under other names, as after a rename: the path is not believed.
    let found = with_id(&id(&beside.handle())).info().unwrap();
    assert_eq!(found.name.as_deref(), Some("beside"));
    let gone = fixture.manager.zeros::<f64, _>((2, 2)).unwrap().handle();
    let other = with_id(&id(&gone));
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
    fixture.close_row("another array's id");

    // A file that says it is another one, under the name of the one that the handle names.
    let id = ciborium::Value::Tag(37, Box::new(ciborium::Value::Bytes(vec![9; 16])));
    fixture.put(&fixture.forge().with(&[("id", Some(id))]).file());
    expect(
        "a reused path",
        "PathReused",
        "found 09090909-0909-0909-0909-090909090909",
        fixture.handle.open::<f64, Ix2>(),
    );
    expect(
        "a reused path",
        "PathReused",
        "found 09090909",
        fixture.handle.info(),
    );
    fixture.close_row("a reused path");

    let lock = text
        .replacen("x.ndshm", ".lock", 1)
        .parse::<Handle>()
        .unwrap();
    let before = fs::read(fixture.manager.path().join(".lock")).unwrap();
    expect(
        "the lock file",
        "Header::Magic",
        "not an ndshm file",
        lock.open::<f64, Ix2>(),
    );
    assert!(fs::read(fixture.manager.path().join(".lock")).unwrap() == before);
    fixture.close_row("a handle to the lock file");

    let path = &text[text.find("p=").unwrap()..];
    for (to, variant, piece) in [
        ("p=/", "Released", "was released"),
        ("p=/dev/null", "Released", "was released"),
        ("p=/proc/self/mem", "Released", "was released"),
        ("p=/proc/1/mem", "Released", "was released"),
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
        fixture.close_row(to);
    }
    let slash = format!("{text}/").parse::<Handle>().unwrap();
    expect(
        "a slash behind",
        "Released",
        "was released",
        slash.open::<f64, Ix2>(),
    );
    fixture.close_row("a slash behind the path");
    drop(make::<f64>(&fixture.manager, &fixture.path, &[2, 3]));
    drop(fixture.restore());
}
