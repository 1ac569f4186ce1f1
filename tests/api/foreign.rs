//! Files of other programs: they are taken as far as they go, and what is left is listed.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common::Root;
use ndarray::{Ix1, array};
use ndshm::{AnyArray, Error, Export, Exportable, Import, Imported, Manager, Order};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

/// A `.npy` file of version 1.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    text += &" ".repeat((64 - (10 + text.len() + 1) % 64) % 64);
    text.push('\n');
    [
        b"\x93NUMPY\x01\x00",
        &(text.len() as u16).to_le_bytes()[..],
        text.as_bytes(),
        data,
    ]
    .concat()
}

fn bytes_3() -> Vec<u8> {
    npy("'|u1'", "(3,)", &[1, 2, 3])
}

/// An entry of a zip archive, written by hand: no writer makes all of these.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    data: Vec<u8>,
    flags: u16,
    method: u16,
    /// The sizes that the directory gives, if not those of the data: packed, unpacked.
    sizes: Option<(u64, u64)>,
    crc: Option<u32>,
    /// Zeros behind the data, as a hole in the file.
    hole: u64,
}

fn entry(name: &str, data: Vec<u8>) -> Entry {
    Entry {
        name: name.into(),
        data,
        flags: 1 << 11,
        method: 0,
        sizes: None,
        crc: None,
        hole: 0,
    }
}

/// Writes an archive with the sizes and places in fields of 64 bits.
fn write_zip(path: &Path, entries: &[Entry]) {
    let mut file = File::create(path).unwrap();
    let mut directory = Vec::new();
    for entry in entries {
        let at = file.stream_position().unwrap();
        let len = entry.data.len() as u64 + entry.hole;
        let (packed, size) = entry.sizes.unwrap_or((len, len));
        let crc = entry.crc.unwrap_or_else(|| crc32fast::hash(&entry.data));
        let mut common = Vec::new();
        common.extend(
            [45u16, entry.flags, entry.method, 0, 0]
                .map(u16::to_le_bytes)
                .concat(),
        );
        common.extend(crc.to_le_bytes());
        common.extend([0xff; 8]);
        common.extend((entry.name.len() as u16).to_le_bytes());
        let local = [size, packed].map(u64::to_le_bytes).concat();
        let central = [size, packed, at].map(u64::to_le_bytes).concat();
        let extra = |sizes: &[u8]| {
            let head = [1u16, sizes.len() as u16].map(u16::to_le_bytes).concat();
            [&head, sizes].concat()
        };
        let (local, central) = (extra(&local), extra(&central));
        file.write_all(b"PK\x03\x04").unwrap();
        file.write_all(&common).unwrap();
        file.write_all(&(local.len() as u16).to_le_bytes()).unwrap();
        file.write_all(&[&entry.name[..], &local, &entry.data].concat())
            .unwrap();
        file.seek(SeekFrom::Current(entry.hole as i64)).unwrap();
        directory.extend(b"PK\x01\x02\x2d\x03");
        directory.extend(&common);
        directory.extend((central.len() as u16).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend([0xff; 4]);
        directory.extend([&entry.name[..], &central].concat());
    }
    let start = file.stream_position().unwrap();
    file.write_all(&directory).unwrap();
    let end = file.stream_position().unwrap();
    let count = entries.len() as u64;
    let mut tail = b"PK\x06\x06".to_vec();
    tail.extend(44u64.to_le_bytes());
    tail.extend([45u16, 45].map(u16::to_le_bytes).concat());
    tail.extend([0; 8]);
    tail.extend(
        [count, count, directory.len() as u64, start]
            .map(u64::to_le_bytes)
            .concat(),
    );
    tail.extend(b"PK\x06\x07\0\0\0\0");
    tail.extend(end.to_le_bytes());
    tail.extend(1u32.to_le_bytes());
    tail.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    file.write_all(&tail).unwrap();
}

fn keys(read: &Imported) -> Vec<&str> {
    read.arrays.iter().map(|(key, _)| key.as_str()).collect()
}

fn left(read: &Imported) -> BTreeMap<&str, &str> {
    let left = read.left.iter();
    left.map(|left| (left.key.as_str(), left.reason.as_str()))
        .collect()
}

fn reason(error: Error) -> String {
    match error {
        Error::Transfer { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// One member of objects, a README, an encrypted entry or another compression refused a whole
/// archive, with the first reason alone.
#[test]
fn what_an_archive_has_beside_arrays_is_listed_and_left_on_request() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npz");
    let odd = [
        (
            "objects",
            entry("objects.npy", npy("'|O'", "(1,)", b"\x80\x03]q\x00.")),
            "objects",
        ),
        (
            "README.md",
            entry("README.md", b"read me".into()),
            "not a .npy file",
        ),
        (
            "text.npy.txt",
            entry("text.npy.txt", bytes_3()),
            "not a .npy file",
        ),
        ("empty", entry("empty.npy", vec![]), "too early"),
        (
            "other",
            entry("other.npy", b"something else".into()),
            "not a .npy file",
        ),
        (
            "version",
            entry("version.npy", b"\x93NUMPY\x04\x00    ".into()),
            "version 4.0",
        ),
        (
            "wide",
            entry(
                "wide.npy",
                npy("'|u1'", &format!("({})", "1,".repeat(33)), &[1]),
            ),
            "33 axes",
        ),
        (
            "code",
            entry("code.npy", npy("__import__('os')", "(1,)", &[1])),
            "unexpected",
        ),
        (
            "secret",
            Entry {
                flags: 1,
                ..entry("secret.npy", bytes_3())
            },
            "encrypted",
        ),
        (
            "bzip2",
            Entry {
                method: 12,
                ..entry("bzip2.npy", bytes_3())
            },
            "compressed with",
        ),
        (
            "unknown",
            Entry {
                method: 4711,
                ..entry("unknown.npy", bytes_3())
            },
            "compressed with",
        ),
    ];
    let mut entries: Vec<_> = odd.iter().map(|(_, entry, _)| entry.clone()).collect();
    entries.insert(2, entry("good.npy", bytes_3()));
    entries.insert(4, entry("directory/", vec![]));
    entries.push(entry("directory/inner.npy", bytes_3()));
    write_zip(&path, &entries);

    let told = reason(Import::new().npz(&manager, &path).unwrap_err());
    assert!(told.contains("Import::skip_unsupported"), "{told}");
    for (key, _, expected) in &odd {
        let at = told.find(&format!("{key:?}: ")).expect(key);
        assert!(told[at..].contains(expected), "{key}: {told}");
    }
    assert_eq!(manager.list().unwrap().len(), 0, "nothing is made");

    let skips = Import::new().prefix("p.").skip_unsupported();
    let read = skips.npz(&manager, &path).unwrap();
    assert_eq!(keys(&read), ["good", "directory/inner"]);
    assert_eq!(read.left.len(), odd.len());
    for (key, _, expected) in &odd {
        assert!(left(&read)[key].contains(expected), "{:?}", left(&read));
    }
    assert_eq!(read.arrays[1].1.read_bytes().unwrap(), [1, 2, 3]);
    assert_eq!(
        read.arrays[1].1.name().as_deref(),
        Some("p.directory%2Finner")
    );
    let bytes = fs::read(&path).unwrap();
    let streamed = Import::new()
        .skip_unsupported()
        .npz_from(&manager, &bytes[..])
        .unwrap();
    assert_eq!(
        (keys(&streamed), left(&streamed)),
        (keys(&read), left(&read))
    );
}

#[test]
fn chosen_keys_alone_are_read() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let damaged = Entry {
        crc: Some(7),
        ..entry("damaged.npy", bytes_3())
    };
    let objects = entry("objects.npy", npy("'|O'", "(1,)", b"."));
    let arrays = ["a/1", "a/2", "b[0]"].map(|key| entry(&format!("{key}.npy"), bytes_3()));
    write_zip(&path, &[&[damaged, objects], &arrays[..]].concat());
    for (only, expected) in [
        (vec!["a/*"], vec!["a/1", "a/2"]),
        (vec!["a/?", "b[0]"], vec!["a/1", "a/2", "b[0]"]),
        (vec!["a/[!1]"], vec!["a/2"]),
    ] {
        let read = Import::new().only(only).npz(&manager, &path).unwrap();
        assert_eq!((keys(&read), read.left.len()), (expected, 0));
    }
    let told = reason(
        Import::new()
            .only(["a/1", "c*"])
            .npz(&manager, &path)
            .unwrap_err(),
    );
    assert!(
        told.contains(r#"no key is "c*""#) && told.contains(r#""a/1""#),
        "{told}"
    );
    let told = reason(
        Import::new()
            .only(["objects"])
            .npz(&manager, &path)
            .unwrap_err(),
    );
    assert!(told.contains("Python objects"), "{told}");
    // What is damaged is no matter of support.
    let all = Import::new().skip_unsupported();
    assert!(reason(all.npz(&manager, &path).unwrap_err()).contains("damaged"));
    assert_eq!(manager.list().unwrap().len(), 0);
    fs::write(&path, bytes_3()).unwrap();
    let error = Import::new().only(["x"]).npy(&manager, &path).unwrap_err();
    assert!(matches!(error, Error::Name { .. }));
}

/// The space for an array was asked for before anything was known about the entry's data: a file of
/// one kilobyte could ask for terabytes.
#[test]
fn an_entry_cannot_ask_for_more_than_its_data_can_hold() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let huge = npy("'|u1'", "(5000000000,)", &[]);
    let claimed = huge.len() as u64 + 5_000_000_000;
    for (method, sizes) in [
        (0, (claimed, claimed)),
        (8, (huge.len() as u64, claimed)),
        (0, (9, claimed)),
    ] {
        let entry = Entry {
            method,
            sizes: Some(sizes),
            ..entry("x.npy", huge.clone())
        };
        write_zip(&path, &[entry]);
        let told = reason(Import::new().npz(&manager, &path).unwrap_err());
        assert!(told.contains("cannot have"), "{told}");
    }
    let lying = entry("x.npy", npy("'<f8'", "(1000000000000,)", &[0; 8]));
    write_zip(&path, &[lying]);
    assert!(reason(Import::new().npz(&manager, &path).unwrap_err()).contains("cut off"));
    assert_eq!(
        fs::read_dir(manager.path()).unwrap().count(),
        1,
        "only the lock file"
    );
}

#[test]
fn an_entry_of_more_than_4_gib_is_passed_over_by_its_header() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let big = Entry {
        hole: 5 << 30,
        ..entry("big.npy", npy("'|O'", "(1,)", &[]))
    };
    write_zip(&path, &[big, entry("small.npy", bytes_3())]);
    assert!(fs::metadata(&path).unwrap().len() > 5 << 30);
    let read = Import::new()
        .skip_unsupported()
        .npz(&manager, &path)
        .unwrap();
    assert_eq!((keys(&read), left(&read).len()), (vec!["small"], 1));
    assert_eq!(read.arrays[0].1.read_bytes().unwrap(), [1, 2, 3]);
}

/// The arrays of a store, as the tool exports them.
fn stored(manager: &Manager) -> Vec<(String, AnyArray)> {
    let infos = manager.list().unwrap();
    let names = infos.into_iter().filter_map(|info| info.name);
    names
        .map(|name| manager.array_any(&name).unwrap())
        .map(|array| (array.key().unwrap(), array))
        .collect()
}

/// A key with a slash refused a whole file.
#[test]
fn every_key_comes_back_after_a_way_through_a_store() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let path = scratch.path().join("x");
    let (digits, long, longer) = ("0".repeat(32), "ä/".repeat(150), "ä/".repeat(151));
    let wanted = [
        "",
        " ",
        "a b",
        "a/b",
        "/",
        "../../etc/passwd",
        ".hidden",
        ".ndshm-new-1",
        "100%",
        "%2F",
        "%-",
        "日本",
        "x.npy",
        "a\nb",
        "a\\b",
        &digits,
        &long,
        &longer,
        "x.ndshm",
    ];
    let first = root.manager();
    let one = first.ones::<u8, _>(3).unwrap();
    let pairs: Vec<_> = wanted
        .iter()
        .map(|key| (*key, &one as &dyn Exportable))
        .collect();
    let mut expected = wanted.map(str::to_owned);
    expected.sort();
    for format in ["npz", "safetensors"] {
        let manager = root.manager();
        let import = |manager: &Manager| match format {
            "npz" => Import::new().prefix("").npz(manager, &path),
            _ => Import::new().prefix("").safetensors(manager, &path),
        };
        let export = Export::new().replace();
        match format {
            "npz" => export.npz(&pairs, &path).unwrap(),
            _ => export.safetensors(&pairs, &path).unwrap(),
        }
        assert_eq!(import(&manager).unwrap().arrays.len(), wanted.len());
        let arrays = stored(&manager);
        let pairs: Vec<_> = arrays
            .iter()
            .map(|(key, array)| (key, array as &dyn Exportable))
            .collect();
        match format {
            "npz" => export.npz(&pairs, &path).unwrap(),
            _ => export.safetensors(&pairs, &path).unwrap(),
        }
        let mut found: Vec<_> = import(&root.manager())
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        found.sort();
        assert_eq!(found, expected, "{format}");
        // What the caller chose is not escaped.
        let error = Import::new().prefix("a/").npz(&manager, &path).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
    }
}

fn safetensors(json: &str, data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

fn tensor(dtype: &str, shape: &str, from: u64, to: u64) -> String {
    format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
}

/// An FP8 tensor refused a whole file.
#[test]
fn tensors_of_types_that_are_not_here_are_listed_and_left_on_request() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let json = format!(
        r#"{{"w/8":{},"a":{},"w/4":{},"b":{},"deep":{},"z":{}}}"#,
        tensor("F8_E4M3", "[3]", 0, 3),
        tensor("U8", "[2]", 3, 5),
        tensor("F4", "[3]", 5, 7),
        tensor("BF16", "[]", 7, 9),
        tensor("U8", &format!("[{}1]", "1,".repeat(32)), 9, 10),
        tensor("C64", "[0]", 10, 10),
    );
    fs::write(&path, safetensors(&json, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])).unwrap();
    let told = reason(Import::new().safetensors(&manager, &path).unwrap_err());
    for part in [
        r#""w/8": its element type "F8_E4M3""#,
        r#""w/4""#,
        "33 axes",
        "Import::skip_unsupported",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(manager.list().unwrap().len(), 0);
    let read = Import::new()
        .skip_unsupported()
        .safetensors(&manager, &path)
        .unwrap();
    assert_eq!(keys(&read), ["a", "b", "z"]);
    assert_eq!(
        left(&read).into_keys().collect::<Vec<_>>(),
        ["deep", "w/4", "w/8"]
    );
    assert_eq!(read.arrays[0].1.read_bytes().unwrap(), [4, 5]);
    assert_eq!(read.arrays[1].1.read_bytes().unwrap(), [8, 9]);
    // A stream passes over the bytes of tensors that are left.
    let bytes = fs::read(&path).unwrap();
    let import = Import::new().skip_unsupported();
    let streamed = import.safetensors_from(&manager, &bytes[..]).unwrap();
    assert_eq!(
        (keys(&streamed), left(&streamed)),
        (keys(&read), left(&read))
    );
    assert_eq!(streamed.arrays[1].1.read_bytes().unwrap(), [8, 9]);
    let cut = &bytes[..bytes.len() - 1];
    let import = Import::new().only(["a"]);
    let told = reason(import.safetensors_from(&manager, cut).unwrap_err());
    assert!(told.contains("ends too early"), "{told}");
    let read = Import::new()
        .only(["[ab]"])
        .safetensors(&manager, &path)
        .unwrap();
    assert_eq!((keys(&read), read.left.len()), (vec!["a", "b"], 0));
    // Holes, and tensors over each other, are no file of the format.
    for (from, to) in [(2, 3), (0, 1)] {
        let json = format!(
            r#"{{"x":{},"y":{}}}"#,
            tensor("F4", "[1]", 0, 1),
            tensor("F4", "[1]", from, to)
        );
        fs::write(&path, safetensors(&json, &[1, 2, 3])).unwrap();
        let told = reason(
            Import::new()
                .skip_unsupported()
                .safetensors(&manager, &path)
                .unwrap_err(),
        );
        assert!(told.contains("match neither"), "{told}");
    }
    fs::write(&path, safetensors("{}", &[])).unwrap();
    assert_eq!(
        Import::new()
            .safetensors(&manager, &path)
            .unwrap()
            .arrays
            .len(),
        0
    );
}

/// The metadata of a file were lost.
#[test]
fn metadata_are_attributes_and_are_written_again() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let file = |metadata: &str| {
        let json = format!(
            r#"{{"__metadata__":{metadata},"x":{}}}"#,
            tensor("U8", "[1]", 0, 1)
        );
        fs::write(&path, safetensors(&json, &[7])).unwrap();
    };
    file(r#"{"format":"pt","lizenz":"né \"x\"","n":5}"#);
    let own = BTreeMap::from([("mine", 3)]);
    let read = Import::new()
        .attrs(&own)
        .unwrap()
        .safetensors(&manager, &path)
        .unwrap();
    let array = &read.arrays[0].1;
    let attrs: BTreeMap<String, ciborium::Value> = array.attrs().unwrap();
    assert_eq!(attrs["mine"], 3.into());
    let metadata: BTreeMap<String, String> = attrs["safetensors.metadata"].deserialized().unwrap();
    let texts = [("format", "pt"), ("lizenz", "né \"x\""), ("n", "5")];
    assert_eq!(
        metadata,
        texts.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
    let plain = manager.ones::<f64, _>(2).unwrap();
    let both: [(_, &dyn Exportable); 2] = [("x", array), ("plain", &plain)];
    Export::new().replace().safetensors(&both, &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..]);
    assert!(
        header.contains(r#""__metadata__":{"format":"pt","lizenz":"né \"x\"","n":"5"}"#),
        "{header}"
    );
    let again = Import::new().safetensors(&manager, &path).unwrap();
    assert!(again.left.is_empty() && again.arrays.len() == 2);
    // Too long for a header of 64 KiB, or no map: left, but no reason to refuse the file.
    for (metadata, expected) in [
        (format!(r#"{{"a":"{}"}}"#, "x".repeat(40_000)), "32 KiB"),
        ("[1]".into(), "not a map"),
    ] {
        file(&metadata);
        let read = Import::new().safetensors(&manager, &path).unwrap();
        assert!(left(&read)["__metadata__"].contains(expected) && keys(&read) == ["x"]);
    }
    file("{}");
    let read = Import::new().safetensors(&manager, &path).unwrap();
    assert!(read.left.is_empty());
    assert!(
        read.arrays[0]
            .1
            .attrs::<BTreeMap<String, String>>()
            .unwrap()
            .is_empty()
    );
}

/// Text, times and `longdouble` were refused, also as fields.
#[test]
fn types_that_numpy_alone_has_are_stored_as_others_and_written_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let (path, back) = (scratch.path().join("x.npy"), scratch.path().join("y.npy"));
    let data: Vec<u8> = (0..48).collect();
    for (descr, stored) in [
        ("'<U3'", "(3,)<u4"),
        ("'|S12'", "|V12"),
        ("'<M8[ns]'", "<i8"),
        ("'<m8[25s]'", "<i8"),
        ("'<f16'", "|V16"),
        (
            "[('t', '<M8[s]'), ('s', '|S4')]",
            "{'names': ['t', 's'], 'formats': ['<i8', '|V4'], 'offsets': [0, 8], 'itemsize': 12}",
        ),
        (
            "[('a', [('b', '<i2')], (3,)), ('', '|V2')]",
            "{'names': ['a'], 'formats': ['|V6'], 'offsets': [0], 'itemsize': 8}",
        ),
    ] {
        let size = ndshm::NumpyDType::itemsize(&descr.trim_matches('\'').parse().unwrap());
        let file = npy(descr, &format!("({},)", 48 / size), &data);
        fs::write(&path, &file).unwrap();
        let read = Import::new().name("x").npy(&manager, &path).unwrap();
        assert_eq!(read.dtype().to_string(), stored, "{descr}");
        assert_eq!(read.read_bytes().unwrap(), data, "{descr}");
        // By another opening: the type is in the file.
        let opened = manager.array_any("x").unwrap();
        let export = Export::new().replace();
        export.npy(&opened, &back).unwrap();
        assert_eq!(fs::read(&back).unwrap(), file, "{descr}");
        export.npz(&[("x", &opened)], &back).unwrap();
        let again = Import::new().npz(&manager, &back).unwrap();
        assert_eq!(again.arrays[0].1.numpy_dtype(), opened.numpy_dtype());
        let turned = opened.slice(ndarray::s![..;-1].as_ref()).unwrap();
        assert_eq!(turned.numpy_dtype(), opened.numpy_dtype(), "{descr}");
        opened.release().unwrap();
    }
    // The other byte order, a field alone, and a type that the caller asked for.
    let big = npy(
        "[('s', '>U1'), ('t', '>m8[s]')]",
        "(1,)",
        &[0, 0, 0, 65, 0, 0, 0, 0, 0, 0, 0, 5],
    );
    fs::write(&path, big).unwrap();
    let read = Import::new().npy(&manager, &path).unwrap();
    assert_eq!(
        read.read_bytes().unwrap(),
        [65, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
    );
    let time = read.field("t").unwrap().numpy_dtype().unwrap();
    assert_eq!(time.to_string(), "<m8[s]");
    let text = read.field("s").unwrap();
    assert_eq!(text.numpy_dtype().unwrap().to_string(), "<U1");
    Export::new().replace().npy(&text, &back).unwrap();
    assert!(String::from_utf8_lossy(&fs::read(&back).unwrap()).contains("'descr': '<U1'"));
    fs::write(&path, npy("'|S8'", "(2,)", &[1; 16])).unwrap();
    let read = Import::new()
        .dtype(&"<f8".parse().unwrap())
        .npy(&manager, &path)
        .unwrap();
    assert_eq!(
        (read.dtype().to_string().as_str(), read.numpy_dtype()),
        ("<f8", None)
    );
}

#[test]
fn headers_of_other_writers_are_read() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npy");
    let data = [1u64, 2].map(u64::to_le_bytes).concat();
    for (descr, shape) in [
        ("'u8'", "(2,)"),
        ("'=u8'", "(2L,)"),
        ("'uint64'", "(np.int64(2),)"),
        ("u'Q'", "(numpy.int32(2), )"),
    ] {
        fs::write(&path, npy(descr, shape, &data)).unwrap();
        let read = Import::new().npy(&manager, &path).unwrap();
        let read = read.downcast::<u64, Ix1>().unwrap();
        assert_eq!(read.to_ndarray().unwrap(), array![1, 2], "{descr} {shape}");
    }
}

#[test]
fn elements_without_bytes_and_very_large_ones_become_a_further_axis() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let (path, back) = (scratch.path().join("x.npy"), scratch.path().join("y.npy"));
    for (descr, shape, size, expected) in [
        ("'|S0'", "(2, 3)", 0, vec![2, 3, 0]),
        ("'<U0'", "()", 0, vec![0]),
        ("[]", "(5,)", 0, vec![5, 0]),
        ("'|V2000000'", "(2,)", 4_000_000, vec![2, 2_000_000]),
    ] {
        let file = npy(descr, shape, &vec![7; size]);
        fs::write(&path, &file).unwrap();
        let read = Import::new().npy(&manager, &path).unwrap();
        assert_eq!(
            (read.shape(), read.order()),
            (&expected[..], Some(Order::C))
        );
        Export::new().replace().npy(&read, &back).unwrap();
        assert!(fs::read(&back).unwrap() == file, "{descr}");
    }
}
