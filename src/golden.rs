//! Golden files: the files of every format version, byte for byte. They are checked in, kept for
//! ever, and never changed.
//!
//! This module compares the bytes, because only inside the crate a test can fix the ids and records
//! of creation. `tests/api/golden.rs` opens the same files as any program does. A change of the
//! format gets another version and its own files beside these: delete nothing, add the cases, and
//! run the ignored test, which writes the missing files.
//!
//! `kinds` has files of the other kinds; `stores/n` are stores in which a process died while it
//! held n guards.

#[path = "../tests/golden/cases.rs"]
mod cases;

use crate::{
    Bool, Element, GrowingArray, Manager, Order, Ring, Scope,
    array::view,
    format::{
        array_spec::ArraySpec,
        attributes,
        constants::*,
        header::{Created, Header, Parsed},
        id::ArrayId,
        kind::{CONTROL_LEN, FRAME_LEN, Kind, RingKind},
        name::ArrayName,
    },
    layout::Layout,
    segment::{
        draft::{Draft, Plan},
        pages::Payload,
    },
    store::lock_page::LockPage,
};
use cases::{Case, Visitor};
use ndarray::{Dimension, Ix1, Ix2, array, s};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};
use uuid::{Uuid, uuid};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
const STORE: Uuid = uuid!("5eed0000-0000-4000-8000-00000000c0de");
const BOOT: Uuid = uuid!("b0070000-0000-4000-8000-000000000001");

/// The bytes of all golden files, by name.
struct Writer {
    manager: Manager,
    files: BTreeMap<String, Vec<u8>>,
}

impl Visitor for Writer {
    fn visit<T: Element, D: Dimension>(&mut self, case: Case<T, D>) {
        let name = case.name;
        let (header, path) = publish(&self.manager, STORE, case);
        let written = fs::read(path).unwrap();
        assert_eq!(parse(&written).header, header);
        let bytes = encoded(&header, &written);
        let is_same = rustix::param::page_size() != MIN_ALIGN || bytes == written;
        assert!(is_same, "{name}");
        let known = self.files.insert(format!("{name}{SUFFIX}"), bytes);
        assert!(known.is_none(), "two cases are named {name}");
    }
}

/// Writes an array as the library writes any array, under a fixed id and record of a store.
fn publish<T: Element, D: Dimension>(
    manager: &Manager,
    store: Uuid,
    case: Case<T, D>,
) -> (Header, PathBuf) {
    let created = created(store);
    let (shape, order) = (case.array.shape().to_vec(), case.order);
    let layout = Layout::whole(case.array.raw_dim(), order, 1);
    assert_eq!(T::DTYPE.to_string(), case.dtype, "{}", case.name);
    let attrs = (!case.attrs.is_empty()).then(|| attributes::to_value(&case.attrs).unwrap());
    let id = ArrayId::from_bytes(case.id());
    let header = Header {
        id,
        spec: ArraySpec::new(T::DTYPE, shape, order).unwrap(),
        kind: Default::default(),
        axis_names: case.axis_names,
        attrs,
        created,
    };
    let plan = Plan {
        name: Some(ArrayName::parse(case.name).unwrap()),
        scope: Scope::Store,
        header: header.clone(),
    };
    let mut draft = Draft::new(manager.member(), plan, Payload::ToBeFilled).unwrap();
    view::fill(&mut draft, &layout, |mut elements| {
        elements.assign(&case.array)
    });
    (header, draft.publish().unwrap().path().to_path_buf())
}

fn parse(written: &[u8]) -> Parsed {
    Header::parse(written, written.len() as u64).unwrap()
}

/// The bytes of an array's file with this header, as on a machine with pages of 4 KiB. On one with
/// larger pages the payload starts later; the rest is equal.
fn encoded(header: &Header, written: &[u8]) -> Vec<u8> {
    let state = written[STATE_AT..][..STATE_LEN].try_into().unwrap();
    let start = header.encode(MIN_ALIGN, state).unwrap();
    [&start, &written[parse(written).data_offset..]].concat()
}

/// The files of a store while a process, its only member so far, holds this many guards. Where the
/// process died then, they stay like this.
fn store_with_guards(root: &Path, guards: usize) -> [(String, Vec<u8>); 2] {
    let manager = Manager::builder().root(root).name(guards.to_string());
    let manager = manager.persistent().open_or_create().unwrap();
    let case = cases::guarded();
    let name = case.name;
    // Only an array of the store itself can be opened.
    let store = manager.member().page().uuid();
    let (mut header, path) = publish(&manager, store, case);
    let array = manager.array::<u8, Ix1>(name).unwrap();
    let byte = |at: usize| array.slice(s![at..at + 1]).unwrap();
    let bytes: Vec<_> = (0..guards).map(byte).collect();
    let (mut reads, mut writes, mut atomics) = (Vec::new(), Vec::new(), Vec::new());
    for (at, byte) in bytes.iter().enumerate() {
        match at % 3 {
            0 => reads.push(byte.read().unwrap()),
            1 => atomics.push(byte.atomic().unwrap()),
            _ => writes.push(byte.write().unwrap()),
        }
    }
    let written = fs::read(path).unwrap();
    assert_eq!(parse(&written).header, header);
    header.created.store = STORE;
    let array_file = encoded(&header, &written);
    let mut lock = fs::read(manager.path().join(LOCK_NAME)).unwrap();
    put(&mut lock, LOCK_UUID_AT, STORE.as_bytes());
    put(&mut lock, LOCK_BOOT_AT, BOOT.as_bytes());
    for at in (LANES_AT..lock.len()).step_by(LANE_LEN) {
        if lock[at] != 0 {
            put(&mut lock, at + LANE_THREAD_AT, &1u32.to_ne_bytes());
            put(&mut lock, at + LANE_PROCESS_AT, &4242u32.to_ne_bytes());
        }
    }
    [
        (format!("stores/{guards}/lock"), lock),
        (format!("stores/{guards}/{name}{SUFFIX}"), array_file),
    ]
}

/// A ring of which three of four frames are there, as its producer left it.
fn ring(root: &Path) -> (String, Vec<u8>) {
    let manager = Manager::builder().root(root).name("kinds");
    let manager = manager.persistent().open_or_create().unwrap();
    let mut header = Header {
        id: ArrayId::from_bytes([0x21; 16]),
        spec: ArraySpec::new(u16::DTYPE, [3, 2, 2], Order::C).unwrap(),
        kind: Kind::Ring(RingKind {
            seats: 2,
            info: Some(f64::DTYPE),
        }),
        axis_names: Vec::new(),
        attrs: None,
        created: created(manager.member().page().uuid()),
    };
    let plan = Plan {
        name: Some(ArrayName::parse("ring").unwrap()),
        scope: Scope::Store,
        header: header.clone(),
    };
    let draft = Draft::new(manager.member(), plan, Payload::Zeros).unwrap();
    let path = draft.publish().unwrap().path().to_path_buf();
    let ring: Ring<u16, Ix2, f64> = manager.ring("ring").unwrap();
    let mut producer = ring.produce().unwrap();
    for number in 1..=4 {
        let mut frame = producer.next().unwrap();
        frame.fill(number);
        frame.set_info(f64::from(number) / 2.0).unwrap();
        frame.publish_rows(if number == 4 { 1 } else { 2 }).unwrap();
    }
    drop(producer);
    let written = fs::read(path).unwrap();
    let from = parse(&written).work_range().unwrap();
    header.created.store = STORE;
    let mut bytes = encoded(&header, &written);
    let to = parse(&bytes).work_range().unwrap();
    bytes[to.clone()].copy_from_slice(&written[from]);
    // What differs from run to run: the process, the boot and the times.
    put(&mut bytes, to.start + 40, &4242u32.to_ne_bytes());
    put(&mut bytes, to.start + 64, BOOT.as_bytes());
    for frame in 0..3 {
        let time = to.start + CONTROL_LEN + frame * FRAME_LEN + 16;
        put(
            &mut bytes,
            time,
            &1_767_225_600_123_456_789u64.to_ne_bytes(),
        );
    }
    ("kinds/ring.ndshm".into(), bytes)
}

/// An array that grows, with three of four rows flushed.
fn growing(root: &Path) -> (String, Vec<u8>) {
    let manager = Manager::builder().root(root).name("kinds");
    let manager = manager.persistent().open_or_create().unwrap();
    let mut header = Header {
        id: ArrayId::from_bytes([0x22; 16]),
        spec: ArraySpec::new(u16::DTYPE, [1000, 2], Order::C).unwrap(),
        kind: Kind::Growing,
        axis_names: Vec::new(),
        attrs: None,
        created: created(manager.member().page().uuid()),
    };
    let plan = Plan {
        name: Some(ArrayName::parse("growing").unwrap()),
        scope: Scope::Store,
        header: header.clone(),
    };
    let draft = Draft::new(manager.member(), plan, Payload::Zeros).unwrap();
    let path = draft.publish().unwrap().path().to_path_buf();
    let log: GrowingArray<u16, Ix2> = manager.growing("growing").unwrap();
    for row in 0..4 {
        log.append_row(&array![2 * row, 2 * row + 1]).unwrap();
        if row == 2 {
            log.flush().unwrap();
        }
    }
    let written = fs::read(path).unwrap();
    let from = parse(&written).work_range().unwrap();
    header.created.store = STORE;
    let mut bytes = encoded(&header, &written);
    let to = parse(&bytes).work_range().unwrap();
    bytes[to.clone()].copy_from_slice(&written[from]);
    // What differs from run to run: the length of a page, the boot and the process.
    let len = bytes.len() as u64;
    put(&mut bytes, to.start + 16, &len.to_ne_bytes());
    put(&mut bytes, to.start + 32, BOOT.as_bytes());
    put(&mut bytes, to.start + 56, &4242u32.to_ne_bytes());
    ("kinds/growing.ndshm".into(), bytes)
}

/// The record of creation of the golden files.
fn created(store: Uuid) -> Created {
    Created {
        ns: 1_767_225_600_123_456_789,
        software: "ndshm 0.1.0".into(),
        pid: 4242,
        boot: BOOT,
        store,
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// The files that the current library writes.
fn files() -> BTreeMap<String, Vec<u8>> {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut writer = Writer {
        manager: Manager::builder().root(root.path()).create().unwrap(),
        files: BTreeMap::new(),
    };
    cases::visit_all(&mut writer);
    writer.files.insert(
        "lock".into(),
        LockPage::initial(STORE, Some(BOOT), true).to_vec(),
    );
    writer
        .files
        .extend([ring(root.path()), growing(root.path())]);
    for guards in cases::GUARDS {
        writer.files.extend(store_with_guards(root.path(), guards));
    }
    writer.files
}

#[test]
fn today_s_library_writes_exactly_the_golden_files() {
    // Which lanes a process takes, and which hints lead to them, is no part of the format: later
    // versions read the golden stores, and need not write the same bytes.
    let is_exact = |name: &str| !name.starts_with("stores/");
    for (name, bytes) in files().into_iter().filter(|(name, _)| is_exact(name)) {
        let golden = fs::read(Path::new(DIRECTORY).join(&name)).unwrap();
        let difference = golden
            .iter()
            .zip(&bytes)
            .position(|(golden, byte)| golden != byte);
        assert!(
            golden == bytes,
            "{name}: {} bytes, golden {}, first difference at {difference:?}",
            bytes.len(),
            golden.len()
        );
    }
}

#[test]
#[cfg(all(feature = "derive", feature = "half", feature = "complex"))]
fn every_golden_file_has_a_case() {
    let known = files();
    let mut directories = vec![PathBuf::from(DIRECTORY)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(DIRECTORY).unwrap().to_str().unwrap();
            assert!(
                known.contains_key(name) || name == "cases.rs" || name == "structs.py",
                "{name}"
            );
        }
    }
}

#[test]
#[ignore = "writes the missing golden files"]
fn write_the_golden_files() {
    for (name, bytes) in files() {
        let path = Path::new(DIRECTORY).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Ok(mut file) = File::create_new(path) {
            file.write_all(&bytes).unwrap();
        }
    }
}
