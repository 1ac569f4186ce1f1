//! Golden files: the files of every format version, byte for byte. They are checked in, kept for
//! ever, and never changed.
//!
//! This module compares the bytes, because only inside the crate a test can fix the ids and records
//! of creation. `tests/api/golden.rs` opens the same files as any program does. A change of the
//! format gets another version and its own files beside these: delete nothing, add the cases, and
//! run the ignored test, which writes the missing files.

#[path = "../tests/golden/cases.rs"]
mod cases;

use crate::{
    Bool, Element, Manager, Order, Scope,
    array::view,
    format::{
        array_spec::ArraySpec,
        attributes,
        constants::{MIN_ALIGN, STATE_AT, STATE_LEN, SUFFIX},
        header::{Created, Header, Parsed},
        id::ArrayId,
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
use ndarray::Dimension;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::Path,
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
    /// Writes the array as the library writes any array, under a fixed id and record.
    fn visit<T: Element, D: Dimension>(&mut self, case: Case<T, D>) {
        let created = Created {
            ns: 1_767_225_600_123_456_789,
            software: "ndshm 0.1.0".into(),
            pid: 4242,
            boot: BOOT,
            store: STORE,
        };
        let (shape, order) = (case.array.shape().to_vec(), case.order);
        let layout = Layout::whole(case.array.raw_dim(), order, 1);
        assert_eq!(T::DTYPE.to_string(), case.dtype, "{}", case.name);
        let attrs = (!case.attrs.is_empty()).then(|| attributes::to_value(&case.attrs).unwrap());
        let id = ArrayId::from_bytes(case.id());
        let header = Header {
            id,
            spec: ArraySpec::new(T::DTYPE, shape, order).unwrap(),
            axis_names: case.axis_names,
            attrs,
            created,
        };
        let plan = Plan {
            name: Some(ArrayName::parse(case.name).unwrap()),
            scope: Scope::Store,
            header: header.clone(),
        };
        let mut draft = Draft::new(self.manager.member(), plan, Payload::ToBeFilled).unwrap();
        view::fill(&mut draft, &layout, |mut elements| {
            elements.assign(&case.array)
        });
        let path = draft.publish().unwrap().path().to_path_buf();
        let written = fs::read(path).unwrap();
        let Parsed {
            header: parsed,
            data_offset,
            ..
        } = Header::parse(&written[..], written.len() as u64).unwrap();
        assert_eq!(parsed, header);
        // On machines with larger pages the payload starts later; the rest is equal.
        let state = written[STATE_AT..][..STATE_LEN].try_into().unwrap();
        let bytes = [
            &header.encode(MIN_ALIGN, state).unwrap(),
            &written[data_offset..],
        ]
        .concat();
        assert!(
            rustix::param::page_size() != MIN_ALIGN || bytes == written,
            "{}",
            case.name
        );
        let known = self.files.insert(format!("{}{SUFFIX}", case.name), bytes);
        assert!(known.is_none(), "two cases are named {}", case.name);
    }
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
    writer.files
}

#[test]
fn today_s_library_writes_exactly_the_golden_files() {
    for (name, bytes) in files() {
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
    for entry in fs::read_dir(DIRECTORY).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            known.contains_key(&name) || name == "cases.rs" || name == "structs.py",
            "{name}"
        );
    }
}

#[test]
#[ignore = "writes the missing golden files"]
fn write_the_golden_files() {
    for (name, bytes) in files() {
        if let Ok(mut file) = File::create_new(Path::new(DIRECTORY).join(name)) {
            file.write_all(&bytes).unwrap();
        }
    }
}
