//! `.npz` files: arrays with keys in a zip archive.

use super::*;
use ndshm::Error;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn every_type_comes_back_compressed_or_not() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let arrays: Vec<_> = dtypes()
        .iter()
        .flat_map(|dtype| shapes().map(|shape| sample(&manager, dtype, shape)))
        .collect();
    let keyed: Vec<_> = arrays
        .iter()
        .enumerate()
        .map(|(number, array)| (format!("x{number}"), array as &dyn Exportable))
        .collect();
    for (export, name) in [
        (Export::new(), "plain.npz"),
        (Export::new().compress(), "compressed.npz"),
    ] {
        let path = scratch.path().join(name);
        export.npz(&keyed, &path).unwrap();
        let read = Import::new().npz(&manager, &path).unwrap().arrays;
        assert_eq!(read.len(), keyed.len());
        for (((key, _), array), (key_read, array_read)) in keyed.iter().zip(&arrays).zip(&read) {
            assert_eq!((key, contents(array)), (key_read, contents(array_read)));
        }
    }
}

#[test]
fn all_arrays_are_made_or_none() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npz");
    let array = manager.options().name("b").ones::<u8, _>(3).unwrap();
    Export::new()
        .npz(&[("a", &array), ("b", &array), ("c", &array)], &path)
        .unwrap();
    assert!(matches!(
        Import::new().prefix("").npz(&manager, &path),
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(manager.list().unwrap().len(), 1);
    assert_eq!(
        Import::new()
            .prefix("new.")
            .npz(&manager, &path)
            .unwrap()
            .arrays
            .len(),
        3
    );
    // Another array takes a name after some arrays are published: these are deleted again.
    let taken = std::sync::Mutex::new(None);
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let takes = |_, _| {
        if calls.fetch_add(1, SeqCst) == 5 {
            *taken.lock().unwrap() =
                Some(manager.options().name("later.c").zeros::<u8, _>(1).unwrap());
        }
    };
    assert!(matches!(
        Import::new()
            .prefix("later.")
            .progress(&takes)
            .npz(&manager, &path),
        Err(Error::AlreadyExists { .. })
    ));
    assert!(
        !manager.contains("later.a").unwrap()
            && !manager.contains("later.b").unwrap()
            && manager.contains("later.c").unwrap()
    );
    let error = Export::new()
        .npz(&[("a", &array), ("a", &array)], scratch.path().join("y"))
        .unwrap_err();
    assert!(matches!(error, Error::Transfer { .. }));
}

#[test]
fn damaged_archives_make_no_array() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npz");
    let array = manager.from_shape_fn::<u32, _>(1000, |i| i as u32).unwrap();
    for compress in [false, true] {
        let export = if compress {
            Export::new().compress()
        } else {
            Export::new()
        };
        export.replace().npz(&[("x", &array)], &path).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut refused = 0;
        for at in (0..whole.len()).step_by(whole.len() / 97) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            fs::write(&path, &changed).unwrap();
            match Import::new().npz(&manager, &path) {
                // The times and attributes of an entry can have any value.
                Ok(read) => assert!(
                    read.arrays
                        .iter()
                        .all(|(_, read)| read.read_bytes().unwrap()
                            == array.into_any().unwrap().read_bytes().unwrap())
                ),
                Err(error) => {
                    assert!(matches!(error, Error::Transfer { .. }), "{error:?}");
                    refused += 1;
                }
            }
            assert_eq!(manager.list().unwrap().len(), 1);
        }
        assert!(refused > 80, "{refused}");
        for len in [0, 10, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(matches!(
                Import::new().npz(&manager, &path),
                Err(Error::Transfer { .. })
            ));
        }
    }
}
