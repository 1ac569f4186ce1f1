//! Zip archives with entries that are no arrays.

use super::{bytes_3, keys, left, npy, reason};
use crate::common::Root;
use ndshm::{Error, Import};
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

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
    assert!(told.contains("the setting skip_unsupported"), "{told}");
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
