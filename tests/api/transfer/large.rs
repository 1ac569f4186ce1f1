//! Transfers that several threads share: the files have the bytes that a stream gets, which one
//! thread writes in order.

use super::*;
use ndshm::SharedArray1;
use std::{path::PathBuf, sync::Mutex};

/// More bytes than one thread transfers alone, and no multiple of a page, a block or a piece.
const LEN: usize = 192 * 50_003;

/// A directory on a tmpfs, and one that may be on a disk.
fn directories(root: &Root) -> [PathBuf; 2] {
    let on_disk = tempfile::tempdir().unwrap().keep();
    [root.path().join("exports"), on_disk].map(|path| {
        fs::create_dir_all(&path).unwrap();
        path
    })
}

/// Deletes directories at the end of a test, also where it fails.
struct Deleted([PathBuf; 2]);

impl Drop for Deleted {
    fn drop(&mut self) {
        self.0
            .iter()
            .for_each(|path| drop(fs::remove_dir_all(path)));
    }
}

fn plain(manager: &Manager) -> SharedArray1<u64> {
    let value = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (i % 40);
    manager.from_shape_fn::<u64, _>(LEN / 8, value).unwrap()
}

fn numbers(manager: &Manager) -> AnyArray {
    plain(manager).into_any().unwrap()
}

/// The array, and views of it whose elements are in another order than those of the file, or apart.
fn views(manager: &Manager) -> Vec<(&'static str, AnyArray)> {
    let plain = plain(manager);
    let table = plain.into_shape_with_order((6, LEN / 48)).unwrap();
    let columns = plain.into_shape_with_order((LEN / 64, 8)).unwrap();
    vec![
        ("transposed", table.t().unwrap().into_any().unwrap()),
        (
            "halves",
            table
                .slice(s![.., 1..LEN / 48 - 1])
                .unwrap()
                .into_any()
                .unwrap(),
        ),
        (
            "columns",
            columns.slice(s![.., 1..]).unwrap().into_any().unwrap(),
        ),
        ("plain", plain.into_any().unwrap()),
    ]
}

#[test]
fn a_large_file_has_the_bytes_of_a_stream() {
    let (root, bools) = (Root::new(), LEN + 77);
    let manager = root.manager();
    let directories = Deleted(directories(&root));
    let bools = manager
        .from_shape_fn::<u8, _>(bools, |i| u8::from(i % 3 == 0))
        .unwrap();
    let mut arrays = views(&manager);
    arrays.push(("bytes", bools.into_any().unwrap()));
    for (name, array) in &arrays {
        let (mut npy, mut raw) = (Vec::new(), Vec::new());
        Export::new().npy_to(array, &mut npy).unwrap();
        Export::new().raw_to(array, &mut raw).unwrap();
        for directory in &directories.0 {
            let path = directory.join("x");
            Export::new().npy(array, &path).unwrap();
            assert!(fs::read(&path).unwrap() == npy, "{name} in {path:?}");
            Export::new().replace().raw(array, &path).unwrap();
            assert!(fs::read(&path).unwrap() == raw, "{name} in {path:?}");
            let dtype = array.dtype();
            let back = Import::new()
                .raw(&manager, &path, dtype, array.shape())
                .unwrap();
            assert!(back.read_bytes().unwrap() == raw, "{name} from {path:?}");
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn progress_counts_every_byte_of_a_large_transfer_once() {
    let root = Root::new();
    let (manager, directories) = (root.manager(), Deleted(directories(&root)));
    let seen = Mutex::new(Vec::new());
    let thread = std::thread::current().id();
    let show = |done: u64, total: u64| {
        assert_eq!(std::thread::current().id(), thread);
        seen.lock().unwrap().push((done, total));
    };
    let check = |total: usize, what: &str| {
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen.is_sorted(), "{what}: {seen:?}");
        let last = (total as u64, total as u64);
        assert_eq!(seen.last(), Some(&last), "{what}");
        assert!(seen.iter().all(|(_, all)| *all == total as u64), "{what}");
    };
    for (name, array) in views(&manager).split_off(2) {
        let total = array.len() * 8;
        for directory in &directories.0 {
            let path = directory.join(name);
            Export::new().progress(&show).npy(&array, &path).unwrap();
            check(total, name);
            Import::new().progress(&show).npy(&manager, &path).unwrap();
            check(total, name);
        }
    }
}

#[test]
fn numbers_of_the_other_byte_order_are_swapped_by_all_threads() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let (array, path) = (numbers(&manager), scratch.path().join("x.npy"));
    Export::new().npy(&array, &path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(3).position(|three| three == b"<u8").unwrap();
    bytes[at] = b'>';
    fs::write(&path, &bytes).unwrap();
    let read = Import::new()
        .npy(&manager, &path)
        .unwrap()
        .read_bytes()
        .unwrap();
    let expected: Vec<u8> = array
        .read_bytes()
        .unwrap()
        .chunks(8)
        .flat_map(|number| number.iter().rev().copied())
        .collect();
    assert!(read == expected);
}

#[cfg(feature = "zip")]
fn flip_in_the_middle(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[cfg(feature = "zip")]
#[test]
fn large_entries_come_back_and_their_checksums_are_compared() {
    use ndshm::Error;
    let root = Root::new();
    let (manager, directories) = (root.manager(), Deleted(directories(&root)));
    let views = views(&manager).split_off(1);
    let arrays: Vec<(&str, &dyn Exportable)> = views
        .iter()
        .map(|(name, array)| (*name, array as &dyn Exportable))
        .collect();
    let small = manager.ones::<u8, _>(3).unwrap();
    for (directory, compresses) in [(0, false), (1, false), (0, true)] {
        // Without optimization a large entry takes seconds to be compressed.
        let (export, first) = match compresses {
            true => (Export::new().compress(), arrays.len() - 1),
            false => (Export::new(), 0),
        };
        let path = directories.0[directory].join("all.npz");
        export.npz(&arrays[first..], &path).unwrap();
        let read = Import::new().npz(&manager, &path).unwrap().arrays;
        for ((name, expected), (key, found)) in views[first..].iter().zip(&read) {
            assert_eq!((*name, expected.shape()), (key.as_str(), found.shape()));
            let (expected, found) = (expected.read_bytes(), found.read_bytes());
            assert!(expected.unwrap() == found.unwrap(), "{name}, {compresses}");
        }
        // A stream gets the same bytes.
        let mut stream = Vec::new();
        export.npz_to(&arrays[first..], &mut stream).unwrap();
        assert!(stream == fs::read(&path).unwrap(), "{compresses}");
        fs::remove_file(&path).unwrap();

        // One large entry between small ones, damaged.
        let large = arrays[arrays.len() - 1].1;
        let three: [(&str, &dyn Exportable); 3] = [("a", &small), ("b", large), ("c", &small)];
        export.npz(&three, &path).unwrap();
        flip_in_the_middle(&path);
        let before = manager.list().unwrap().len();
        let error = Import::new().prefix("").npz(&manager, &path).unwrap_err();
        assert!(matches!(error, Error::Transfer { .. }), "{error}");
        assert!(error.to_string().contains("\"b\""), "{error}");
        assert_eq!(manager.list().unwrap().len(), before);
        fs::remove_file(&path).unwrap();
    }
}

#[cfg(feature = "safetensors")]
#[test]
fn large_tensors_come_back_beside_others_that_are_left() {
    let root = Root::new();
    let (manager, directories) = (root.manager(), Deleted(directories(&root)));
    let views = views(&manager);
    let arrays: Vec<(&str, &dyn Exportable)> = views
        .iter()
        .map(|(name, array)| (*name, array as &dyn Exportable))
        .collect();
    for directory in &directories.0 {
        let path = directory.join("all.safetensors");
        Export::new().safetensors(&arrays, &path).unwrap();
        let mut stream = Vec::new();
        Export::new().safetensors_to(&arrays, &mut stream).unwrap();
        assert!(stream == fs::read(&path).unwrap());
        for only in [vec![], vec!["columns", "transposed"]] {
            let import = Import::new().only(only.clone());
            let read = import.safetensors(&manager, &path).unwrap().arrays;
            assert_eq!(read.len(), if only.is_empty() { views.len() } else { 2 });
            for (key, found) in read {
                let (_, expected) = views.iter().find(|(name, _)| *name == key).unwrap();
                assert!(
                    expected.read_bytes().unwrap() == found.read_bytes().unwrap(),
                    "{key}"
                );
            }
        }
    }
}
