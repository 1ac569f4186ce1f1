//! Golden files, opened as any program would: every later version of the library reads the files of
//! every version of the format.
//!
//! `src/golden.rs` compares the bytes of the same files and says how new ones are made.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../golden/cases.rs"]
mod cases;

use crate::common::{self, Root};
use cases::{Case, Visitor};
use ciborium::Value;
use ndarray::{Dimension, Ix1, Ix2, IxDyn, array, s};
use ndshm::{
    ArrayId, ArrayInfo, Bool, Element, Error, GrowingArray, GuardKind, HeaderError, Manager,
    Observer, Order, Ring, Severity, verify,
};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
/// The boot id of the golden files.
const BOOT: u128 = 0xb007_0000_0000_4000_8000_0000_0000_0001;

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(DIRECTORY).join(name)).unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// The store of the golden files, without any of them.
fn store(root: &Root) -> PathBuf {
    let path = root.path().join("golden");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    write(&path.join(".lock"), &golden("lock"));
    path
}

/// Copies the golden files of all cases into the store, and notes their names.
struct Copier<'a> {
    store: &'a Path,
    names: Vec<&'static str>,
}

impl Visitor for Copier<'_> {
    fn visit<T: Element, D: Dimension>(&mut self, case: Case<T, D>) {
        let file = format!("{}.ndshm", case.name);
        write(&self.store.join(&file), &golden(&file));
        self.names.push(case.name);
    }
}

/// Opens each array and compares it with its case.
struct Reader<'a> {
    manager: &'a Manager,
    list: Vec<ArrayInfo>,
}

impl Visitor for Reader<'_> {
    fn visit<T: Element, D: Dimension>(&mut self, case: Case<T, D>) {
        let name = case.name;
        let array = self.manager.array::<T, D>(name).unwrap();
        assert_eq!(
            (array.shape(), array.strides()),
            (case.array.shape(), case.array.strides()),
            "{name}"
        );
        assert_eq!(
            (array.dtype(), array.dtype().to_string().as_str()),
            (T::DTYPE, case.dtype),
            "{name}"
        );
        assert_eq!(
            (array.id(), array.name().as_deref()),
            (ArrayId::from_bytes(case.id()), Some(name))
        );
        assert_eq!(array.axis_names(), case.axis_names, "{name}");
        assert_eq!(
            array.attrs::<BTreeMap<String, Value>>().unwrap(),
            case.attrs,
            "{name}"
        );
        let same =
            |found: &T, expected: &T| bytemuck::bytes_of(found) == bytemuck::bytes_of(expected);
        let guard = array.read().unwrap();
        assert!(
            guard.len() == case.array.len()
                && guard
                    .iter()
                    .zip(&case.array)
                    .all(|(found, expected)| same(found, expected)),
            "{name}"
        );
        drop(guard);
        // Written with what it has: locks and mappings for writing work on it too.
        array.write().unwrap().assign(&case.array);
        let dynamic = self.manager.array::<T, IxDyn>(name).unwrap();
        assert_eq!(
            (dynamic.ndim(), dynamic.read().unwrap().shape()),
            (case.array.ndim(), case.array.shape()),
            "{name}"
        );

        let info = self
            .list
            .iter()
            .find(|info| info.name.as_deref() == Some(name))
            .unwrap();
        assert_eq!(
            (&info.dtype, info.shape.as_slice(), info.order),
            (&T::DTYPE, case.array.shape(), case.order),
            "{name}"
        );
        assert_eq!(
            array.order(),
            Some(if case.array.is_empty() {
                Order::C
            } else {
                case.order
            }),
            "{name}"
        );
        assert_eq!(
            (info.byte_len, info.id),
            (case.array.len() * size_of::<T>(), array.id()),
            "{name}"
        );
        let created = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_767_225_600_123_456_789);
        assert_eq!(
            (info.created, info.pid, info.software.as_str()),
            (created, 4242, "ndshm 0.1.0")
        );
    }
}

#[test]
fn every_golden_file_opens_with_its_type_shape_order_and_values() {
    let root = Root::new();
    let path = store(&root);
    let mut copier = Copier {
        store: &path,
        names: Vec::new(),
    };
    cases::visit_all(&mut copier);
    let names = copier.names;
    let manager = Manager::open(&path).unwrap();
    let list = manager.list().unwrap();
    assert!(list.is_sorted_by_key(|info| info.id) && list.len() == names.len() && names.len() > 25);
    cases::visit_all(&mut Reader {
        manager: &manager,
        list,
    });
    for name in names {
        let file = format!("{name}.ndshm");
        let (before, after) = (golden(&file), fs::read(path.join(&file)).unwrap());
        assert!(
            before[..64] == after[..64] && before[2176..] == after[2176..],
            "{name}: what is outside the state block never changes"
        );
        assert_eq!(
            before[152..156],
            after[152..156],
            "{name}: no process has it open any more"
        );
    }
    manager.close().unwrap();
    assert!(root.contents().is_empty());
}

/// Copies a golden file of another kind into the store, with its own boot or with this one, and
/// looks whether it is sound.
fn of_kind(store: &Path, name: &str, is_same_boot: bool) -> Manager {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).unwrap();
    let file = format!("{name}.ndshm");
    let mut bytes = golden(&format!("kinds/{file}"));
    let words = BOOT.to_be_bytes();
    // The record of creation has it too, before the words.
    let at = bytes[..4096].windows(16).rposition(|found| found == words);
    let at = at.unwrap();
    assert!(at > 3000 && at % 16 == 0);
    if is_same_boot {
        bytes[at..at + 16].copy_from_slice(&boot.to_be_bytes());
    }
    write(&store.join(&file), &bytes);
    // Joined first: the store of the golden files has given no member id.
    let manager = Manager::open(store).unwrap();
    assert_eq!(verify(store).unwrap().findings, []);
    manager
}

/// The frames of a golden ring are of another boot: there it is empty, and its numbers go on.
#[test]
fn the_golden_ring_has_its_frames_in_its_own_boot_and_its_numbers_in_any() {
    for is_same_boot in [false, true] {
        let root = Root::new();
        let manager = of_kind(&store(&root), "ring", is_same_boot);
        let ring: Ring<u16, Ix2, f64> = manager.ring("ring").unwrap();
        assert_eq!((ring.frames(), ring.max_subscribers()), (3, 2));
        assert_eq!((ring.newest(), ring.producer()), (4, None));
        for number in 1..=5 {
            let frame = ring.frame(number).unwrap();
            let is_there = is_same_boot && (2..=4).contains(&number);
            assert_eq!(frame.is_some(), is_there, "{number}");
            if let Some(frame) = frame {
                let rows = if number == 4 { 1 } else { 2 };
                assert_eq!(
                    (frame.dim(), frame.info()),
                    ((rows, 2), number as f64 / 2.0)
                );
                assert!(frame.iter().all(|&x| u64::from(x) == number));
                let published = frame.time().duration_since(SystemTime::UNIX_EPOCH);
                assert_eq!(published.unwrap().as_nanos(), 1_767_225_600_123_456_789);
            }
        }
        assert_eq!(
            ring.produce().unwrap().next().unwrap().publish().unwrap(),
            5
        );
        manager.close().unwrap();
    }
}

/// Of four rows three were flushed: after another boot these are there.
#[test]
fn the_golden_growing_array_has_its_flushed_rows_in_any_boot() {
    for is_same_boot in [false, true] {
        let root = Root::new();
        let manager = of_kind(&store(&root), "growing", is_same_boot);
        let log: GrowingArray<u16, Ix2> = manager.growing("growing").unwrap();
        let len = if is_same_boot { 4 } else { 3 };
        assert_eq!((log.len(), log.max_len()), (len, 1000));
        let rows = log.all().unwrap();
        assert!(rows.iter().copied().eq(0..2 * len as u16));
        assert_eq!(log.append_row(&array![7, 8]).unwrap(), len);
        assert_eq!(log.rows(len..).unwrap().sum(), 15);
        manager.close().unwrap();
    }
}

#[test]
fn the_golden_lock_file_is_that_of_a_persistent_store_of_another_boot() {
    let root = Root::new();
    let path = store(&root);
    let manager = Manager::open(&path).unwrap();
    assert!(!manager.is_owner());
    let (before, after) = (golden("lock"), fs::read(path.join(".lock")).unwrap());
    assert_eq!(
        (&before[..16], &before[24..56]),
        (&after[..16], &after[24..56])
    );
    let next =
        |lock: &[u8]| common::words::unsealed(u64::from_ne_bytes(lock[16..24].try_into().unwrap()));
    assert_eq!(
        (next(&before), next(&after)),
        (1, 1 + (1 << 20) + 1),
        "ids that the last boot may have given are stepped over"
    );
    assert!(before[56..72] != after[56..72]);
    // The lanes, all free.
    assert_eq!(before[72..], after[72..]);
    drop(manager);
    let again = Manager::open(&path).unwrap();
    assert_eq!(
        next(&fs::read(path.join(".lock")).unwrap()),
        1 + (1 << 20) + 2
    );
    again.zeros::<u8, _>(1).unwrap();
    again.close().unwrap();
}

#[test]
fn a_file_of_another_byte_order_state_store_or_type_is_refused_and_stays() {
    let root = Root::new();
    let path = store(&root);
    let file = path.join("f64-c-9.ndshm");
    let manager = Manager::open(&path).unwrap();
    let open = |at: usize, new: &[u8]| {
        let mut bytes = golden("f64-c-9.ndshm");
        bytes[at..at + new.len()].copy_from_slice(new);
        write(&file, &bytes);
        let error = manager.array::<f64, Ix1>("f64-c-9").unwrap_err();
        assert!(
            fs::read(&file).unwrap() == bytes,
            "{error}: the file is as it was, openers included"
        );
        error
    };
    let header = |error: Error| match error {
        Error::Header { path, source } if path == file => source,
        other => panic!("{other}"),
    };
    assert_eq!(
        header(open(64, &0x0403_0201u32.to_ne_bytes())),
        HeaderError::Endian
    );
    assert_eq!(
        header(open(68, &0u32.to_ne_bytes())),
        HeaderError::Lifecycle { found: 0 }
    );
    assert_eq!(
        header(open(68, &4u32.to_ne_bytes())),
        HeaderError::Lifecycle { found: 4 }
    );
    assert!(matches!(
        open(68, &common::words::RELEASED.to_ne_bytes()),
        Error::Released { .. }
    ));
    assert!(matches!(
        open(68, &common::words::RECYCLING.to_ne_bytes()),
        Error::NotFound { .. }
    ));
    assert_eq!(header(open(9, &[2])), HeaderError::Version { found: 2 });
    assert_eq!(header(open(0, b"\x93NUMPY")), HeaderError::Magic);
    assert!(matches!(
        header(open(2200, &[0xff])),
        HeaderError::Checksum { .. }
    ));

    write(&file, &golden("f64-c-9.ndshm"));
    assert!(matches!(
        manager.array::<i64, Ix1>("f64-c-9"),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        manager.array::<f32, Ix1>("f64-c-9"),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        manager.array::<f64, Ix2>("f64-c-9"),
        Err(Error::Rank {
            expected: 2,
            found: 1,
            ..
        })
    ));
    let other = root.manager();
    fs::copy(&file, other.path().join("f64-c-9.ndshm")).unwrap();
    assert!(matches!(
        other.array::<f64, Ix1>("f64-c-9"),
        Err(Error::Header {
            source: HeaderError::ForeignStore,
            ..
        })
    ));
    assert_eq!(
        manager
            .array::<f64, Ix1>("f64-c-9")
            .unwrap()
            .read()
            .unwrap()[8],
        8.5
    );
}

/// A golden store whose only member so far died with this many guards on its array.
fn store_with_guards(root: &Root, guards: usize) -> PathBuf {
    let path = root.path().join(guards.to_string());
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    write(
        &path.join(".lock"),
        &golden(&format!("stores/{guards}/lock")),
    );
    let array = format!("{}.ndshm", cases::guarded().name);
    write(
        &path.join(&array),
        &golden(&format!("stores/{guards}/{array}")),
    );
    path
}

/// The modes of the lanes in a lock file that are not free.
fn modes(lock: &[u8]) -> Vec<u64> {
    let tags = lock[128..].chunks_exact(64).map(|lane| &lane[..8]);
    tags.map(|tag| u64::from_ne_bytes(tag.try_into().unwrap()))
        .filter(|tag| tag & 0xf != 0)
        .map(|tag| tag & 0xf)
        .collect()
}

/// The bytes on which the dead process held guards to write.
fn half_written(guards: usize) -> Vec<usize> {
    (0..guards).filter(|at| at % 3 == 2).collect()
}

#[test]
fn a_golden_store_shows_the_lanes_of_the_process_that_died_in_it() {
    for guards in cases::GUARDS {
        let root = Root::new();
        let path = store_with_guards(&root, guards);
        let lock = fs::read(path.join(".lock")).unwrap();
        let lanes = if guards > 62 { 62 + 1024 } else { 62 };
        assert_eq!(lock.len(), 128 + 64 * lanes);
        assert_eq!(lock[72..76], (lanes as u32).to_ne_bytes());
        assert_eq!(modes(&lock).len(), guards);

        let observer = Observer::open(&path).unwrap();
        assert!(observer.members().unwrap().is_empty());
        let locks = observer.locks().unwrap();
        assert_eq!(locks.len(), guards);
        for (at, lock) in locks.iter().enumerate() {
            let kind = [GuardKind::Read, GuardKind::Atomic, GuardKind::Write][at % 3];
            let holder = &lock.holder;
            assert_eq!((holder.kind, &holder.range), (Some(kind), &(at..at + 1)));
            let state = (holder.member, holder.is_alive, holder.is_waiting);
            assert_eq!(state, (1, false, false), "{at}");
            assert!(lock.array.is_some());
        }
        let found = verify(&path).unwrap();
        assert!(found.is_sound(), "{:?}", found.findings);
        // The bytes that were being written, each a leftover.
        let texts = found.findings.iter().map(|finding| &finding.text);
        let found = texts.filter(|text| text.contains("half-written")).count();
        assert_eq!(found, half_written(guards).len());
        assert_eq!(fs::read(path.join(".lock")).unwrap(), lock);
    }
}

#[test]
fn the_array_of_a_golden_store_is_recovered_and_its_lanes_are_used_again() {
    for guards in cases::GUARDS {
        let root = Root::new();
        let path = store_with_guards(&root, guards);
        let case = cases::guarded();
        let manager = Manager::open(&path).unwrap();
        let array = manager.array::<u8, Ix1>(case.name).unwrap();
        let byte = |at: usize| array.slice(s![at..at + 1]).unwrap();
        let half_written = half_written(guards);
        for &at in &half_written {
            match byte(at).read() {
                Err(Error::Poisoned { range, member, .. }) => {
                    assert_eq!((range, member), (at..at + 1, 1));
                }
                other => panic!("{at}: {other:?}"),
            }
        }
        for at in (0..300).filter(|at| !half_written.contains(at)) {
            assert_eq!(byte(at).read().unwrap()[0], case.array[at], "{at}");
            byte(at).write().unwrap()[0] = case.array[at];
        }
        array.recover().unwrap().assign(&case.array);
        assert_eq!(array.to_ndarray().unwrap(), case.array);

        // More guards than the first page has lanes for. No lane of the dead is in their way.
        let bytes: Vec<_> = (0..70).map(byte).collect();
        let held: Vec<_> = bytes.iter().map(|byte| byte.write().unwrap()).collect();
        let lock = fs::read(path.join(".lock")).unwrap();
        assert_eq!(lock.len(), 128 + 64 * (62 + 1024));
        assert_eq!(modes(&lock).iter().filter(|&&mode| mode == 2).count(), 70);
        drop(held);
        assert_eq!(verify(&path).unwrap().findings, []);
        drop((bytes, array, manager));
        assert!(modes(&fs::read(path.join(".lock")).unwrap()).is_empty());
    }
}

#[test]
fn a_golden_store_is_swept_and_keeps_its_array() {
    for guards in cases::GUARDS {
        let root = Root::new();
        let path = store_with_guards(&root, guards);
        let swept = Manager::sweep_root(root.path()).unwrap();
        assert!(swept.stores == 0 && swept.arrays == 0, "{swept:?}");
        let manager = Manager::open(&path).unwrap();
        let swept = manager.sweep().unwrap();
        assert!(swept.arrays == 0 && swept.skipped.is_empty(), "{swept:?}");
        let case = cases::guarded();
        let array = manager.array::<u8, Ix1>(case.name).unwrap();
        assert_eq!(array.is_poisoned().unwrap(), guards > 0);
        array.release().unwrap();
        drop(array);
        // Poison of an array that is gone keeps no lane.
        manager.sweep().unwrap();
        let modes = modes(&fs::read(path.join(".lock")).unwrap());
        assert!(!modes.contains(&4), "{modes:?}");
        // A member does not touch lanes beyond the first page before it needs them.
        let findings = verify(&path).unwrap().findings;
        assert_eq!(findings.len(), guards.saturating_sub(62), "{findings:?}");
        for found in findings {
            assert!(found.text.contains("an array that is gone"), "{found:?}");
            assert_eq!(found.severity, Severity::Leftover);
        }
        manager.close().unwrap();
        assert!(root.contents().is_empty());
    }
}
