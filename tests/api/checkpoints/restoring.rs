//! Restores that fail, and parts of arrays.

use super::{fresh, small};
use crate::common::{Root, files_below};
use ndarray::{Ix2, ShapeBuilder, s};
use ndshm::{Error, Restore};
use std::{fs, path::PathBuf};

fn reason_of<T: std::fmt::Debug>(refused: ndshm::Result<T>) -> String {
    match refused {
        Err(Error::Transfer { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn parts_of_arrays_are_restored_from_the_chunks_that_have_them() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let value = |(i, j)| (100 * i + j) as i32;
    manager
        .options()
        .name("c")
        .from_shape_fn::<i32, _>((60, 30), value)
        .unwrap();
    manager
        .options()
        .name("f")
        .from_shape_fn::<i32, _>((60, 30).f(), value)
        .unwrap();
    small().to_directory(&manager, scratch.path()).unwrap();
    for name in ["c", "f"] {
        for (rows, columns) in [(0..60, 0..30), (7..8, 3..29), (13..47, 0..30), (5..5, 0..1)] {
            let other = fresh(&root);
            Restore::new()
                .slice(name, [rows.clone(), columns.clone()])
                .from_directory(&other, scratch.path())
                .unwrap();
            let part = other.array::<i32, Ix2>(name).unwrap();
            let whole = manager.array::<i32, Ix2>(name).unwrap();
            let expected = whole.read().unwrap().slice(s![rows, columns]).to_owned();
            assert_eq!(part.to_ndarray().unwrap(), expected);
        }
        for ranges in [
            vec![0..61, 0..30],
            vec![0..1, 0..1, 0..1],
            vec![0..3, 30..31],
        ] {
            let other = fresh(&root);
            let refused = Restore::new()
                .slice(name, ranges)
                .from_directory(&other, scratch.path());
            assert!(matches!(refused, Err(Error::Layout { .. })));
        }
    }
}

#[test]
fn damage_is_found_and_leaves_no_array() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    for name in ["a", "b"] {
        manager.options().name(name).ones::<f64, _>(1000).unwrap();
    }
    let id = small().to_directory(&manager, scratch.path()).unwrap().id;
    let folder = scratch.path().join(&id);
    let chunks: Vec<PathBuf> = files_below(&folder.join("b"))
        .into_iter()
        .filter(|path| path.is_file() && !path.ends_with("zarr.json"))
        .collect();
    let before = root.contents().len();
    type Damage<'a> = (&'a str, &'a dyn Fn(&PathBuf));
    let damage: [Damage<'_>; 3] = [
        ("missing", &|path| fs::remove_file(path).unwrap()),
        ("checksum", &|path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[100] ^= 1;
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        }),
        ("cut off", &|path| {
            fs::remove_file(path).unwrap();
            fs::write(path, [0; 10]).unwrap();
        }),
    ];
    for (expected, damage) in damage {
        let (path, copy) = (&chunks[2], fs::read(&chunks[2]).unwrap());
        damage(path);
        let other = fresh(&root);
        let reason = reason_of(other.restore(scratch.path()));
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(other.list().unwrap().len(), 0);
        drop(other);
        assert_eq!(root.contents().len(), before, "no file is left");
        drop(fs::remove_file(path));
        fs::write(path, copy).unwrap();
    }
    fresh(&root).restore(scratch.path()).unwrap();

    let manifest = folder.join("_ndshm/manifest.json");
    let mut bytes = fs::read(&manifest).unwrap();
    let at = bytes.len() / 2;
    bytes[at] = b' ';
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, bytes).unwrap();
    let reason = reason_of(fresh(&root).restore(scratch.path()));
    assert!(reason.contains("damaged"), "{reason}");
}

#[test]
fn a_name_that_is_taken_makes_none_of_the_arrays() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    manager.options().name("a").ones::<f64, _>(10).unwrap();
    manager
        .options()
        .name("b")
        .growing::<f64, _>(10, ())
        .unwrap();
    manager.checkpoint(scratch.path()).unwrap();
    for taken in ["a", "b"] {
        let other = fresh(&root);
        other.options().name(taken).zeros::<u8, _>(1).unwrap();
        let refused = other.restore(scratch.path());
        assert!(
            matches!(refused, Err(Error::AlreadyExists { .. })),
            "{refused:?}"
        );
        assert_eq!(other.list().unwrap().len(), 1);
        let restored = Restore::new()
            .prefix("old.")
            .from_directory(&other, scratch.path())
            .unwrap();
        assert_eq!(restored.names, ["old.a", "old.b"]);
    }
}

#[test]
fn a_place_without_a_checkpoint_says_what_it_has() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let reason = reason_of(manager.restore(scratch.path()));
    assert!(reason.contains("no latest checkpoint"), "{reason}");
    let reason = reason_of(manager.restore(scratch.path().join("none")));
    assert!(reason.contains("no latest checkpoint"), "{reason}");
    manager.options().name("a").ones::<f64, _>(10).unwrap();
    let id = manager.checkpoint(scratch.path()).unwrap().id;
    let restore = Restore::new().checkpoint("x");
    let reason = reason_of(restore.from_directory(&manager, scratch.path()));
    assert!(reason.contains(&id), "{reason}");
    // The folder of a checkpoint is a place for a restore, and none for a checkpoint.
    let other = fresh(&root);
    other.restore(scratch.path().join(&id)).unwrap();
    let reason = reason_of(manager.checkpoint(scratch.path().join(&id)));
    assert!(reason.contains("group"), "{reason}");
    fs::remove_dir_all(scratch.path().join(&id)).unwrap();
    let reason = reason_of(other.restore(scratch.path()));
    assert!(reason.contains("gone"), "{reason}");
    fs::remove_file(scratch.path().join("latest.json")).unwrap();
    fs::write(scratch.path().join("latest.json"), "{").unwrap();
    let reason = reason_of(other.restore(scratch.path()));
    assert!(reason.contains("damaged"), "{reason}");
}
