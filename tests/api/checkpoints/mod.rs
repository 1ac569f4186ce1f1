//! Checkpoints in a directory, and what comes back from them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod groups;
mod hostile;
mod kept;
mod places;
mod readers;
mod restoring;
mod rivals;

use crate::common::Root;
use ndarray::{Ix1, Ix2, ShapeBuilder};
use ndshm::{Bucket, Checkpoint, DirectoryBucket, Error, Manager, Restore, Structs};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// The metadata of a node in a checkpoint.
fn metadata(directory: &Path, id: &str, node: &str) -> serde_json::Value {
    let path = directory.join(id).join(node).join("zarr.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The settings under which small arrays have several chunks.
fn small() -> Checkpoint<'static> {
    Checkpoint::new().chunk_len(1000)
}

#[test]
fn arrays_of_every_type_and_order_come_back_as_they_were() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let types: [ndshm::DType; 20] = [
        "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "uint128", "int128", "<f2",
        "bfloat16", "<f4", "<f8", "<c8", "<c16", "|V7", "(2,3)<i2", "|u1",
    ]
    .map(|text| text.parse().unwrap());
    let inner = [("a", types[1].clone(), 0), ("b", types[8].clone(), 8)];
    let inner = ndshm::DType::structure(inner, 16).unwrap();
    let fields = [
        ("x", types[13].clone(), 0),
        ("n", inner, 8),
        ("is", types[0].clone(), 24),
    ];
    let mut types = types.to_vec();
    types[19] = ndshm::DType::structure(fields, 32).unwrap();
    let mut expected = BTreeMap::new();
    for (number, dtype) in types.iter().enumerate() {
        for (order, shape) in [
            (ndshm::Order::C, &[7, 5, 3][..]),
            (ndshm::Order::F, &[7, 5, 3]),
            (ndshm::Order::C, &[]),
            (ndshm::Order::C, &[0, 4]),
        ] {
            let name = format!("a{number}-{order:?}{}", shape.len());
            let array = manager
                .options()
                .name(&name)
                .empty_any(dtype, shape, order)
                .unwrap();
            {
                let mut guard = array.write().unwrap();
                let mut next = number as u8;
                let is_bool = number == 0;
                guard.iter_mut().for_each(|byte| {
                    next = next.wrapping_mul(29).wrapping_add(17);
                    *byte = if is_bool { next & 1 } else { next & 0x3d };
                });
                if dtype.fields().len() == 3 {
                    // Padding does not come back, and booleans become 0 and 1.
                    for mut element in guard.rows_mut() {
                        for at in (4..8).chain(9..16).chain(25..32) {
                            element[at] = 0;
                        }
                        element[24] &= 1;
                    }
                }
            }
            expected.insert(name, array.read_bytes().unwrap());
        }
    }
    for (number, settings) in [
        small(),
        Checkpoint::new(),
        small().structs(Structs::Struct),
        small().sharded(300),
        #[cfg(feature = "zstd")]
        small().zstd(1),
        #[cfg(feature = "zstd")]
        small().zstd(3).sharded(300),
    ]
    .into_iter()
    .enumerate()
    {
        let directory = scratch.path().join(number.to_string());
        let written = settings.to_directory(&manager, &directory).unwrap();
        assert_eq!(written.arrays, expected.len());
        assert_eq!((written.is_latest, written.is_compared), (true, true));
        let other = root.manager();
        let restored = other.restore(&directory).unwrap();
        assert_eq!(restored.checkpoint, Some(written.id));
        assert_eq!(restored.names.len(), expected.len());
        assert_eq!(restored.byte_len, written.byte_len);
        for (name, bytes) in &expected {
            let (was, is) = (
                manager.array_any(name).unwrap(),
                other.array_any(name).unwrap(),
            );
            assert_eq!(is.dtype(), was.dtype(), "{name}");
            assert_eq!(is.shape(), was.shape(), "{name}");
            assert_eq!(is.order(), was.order(), "{name}");
            assert!(is.read_bytes().unwrap() == *bytes, "{name} of {number}");
        }
    }
}

#[test]
fn attributes_axis_names_and_the_kind_come_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let attrs = BTreeMap::from([("gain", 2.5)]);
    let options = manager.options().name("xs").axis_names(["time", "x"]);
    options
        .attrs(&attrs)
        .unwrap()
        .zeros::<f64, _>((4, 3).f())
        .unwrap();
    manager
        .options()
        .name("frozen")
        .ones::<f32, _>(9)
        .unwrap()
        .freeze()
        .unwrap();
    let log = manager
        .options()
        .name("log")
        .growing::<i64, _>(1000, 2)
        .unwrap();
    for row in 0..7 {
        log.append(&ndarray::array![[row, -row]]).unwrap();
    }
    manager
        .options()
        .name("camera")
        .ring::<u8, _>((4, 4), 3)
        .unwrap();
    manager.zeros::<u8, _>(3).map(drop).unwrap();
    let unnamed = manager.zeros::<u8, _>(3).unwrap();

    let written = small().to_directory(&manager, scratch.path()).unwrap();
    let left: Vec<_> = written.left.iter().map(|left| left.key.clone()).collect();
    assert_eq!(left, ["camera".to_owned(), unnamed.id().to_string()]);

    let other = root.manager();
    assert_eq!(
        other.restore(scratch.path()).unwrap().names,
        ["xs", "frozen", "log"]
    );
    let xs = other.array::<f64, Ix2>("xs").unwrap();
    assert_eq!(xs.attrs::<BTreeMap<String, f64>>().unwrap()["gain"], 2.5);
    assert_eq!(xs.axis_names()[0].as_deref(), Some("time"));
    assert!(other.array_any("frozen").unwrap().is_frozen());
    let log = other.growing::<i64, Ix2>("log").unwrap();
    assert_eq!((log.len(), log.max_len()), (7, 1000));
    assert_eq!(log.all().unwrap()[[6, 1]], -6);
    log.append(&ndarray::array![[7, 7]]).unwrap();
    assert_eq!(log.len(), 8);
    // Nothing of it goes with the process that restored it.
    assert_eq!(log.scope(), ndshm::Scope::Store);
}

#[test]
fn readers_wait_for_no_writer_but_that_of_their_slab_and_poison_is_refused_or_marked() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let xs = manager
        .options()
        .name("xs")
        .zeros::<f64, _>((100, 10))
        .unwrap();
    let held = xs.write().unwrap();
    let short = small().timeout(Duration::from_millis(1));
    let refused = std::thread::scope(|scope| {
        let writing = scope.spawn(|| short.to_directory(&manager, scratch.path()));
        writing.join().unwrap()
    });
    assert!(matches!(refused, Err(Error::Timeout { .. })), "{refused:?}");
    held.poison();
    let refused = small().to_directory(&manager, scratch.path());
    assert!(matches!(refused, Err(Error::Poisoned { .. })));
    assert!(!scratch.path().join("latest.json").exists());

    let written = small()
        .poisoned()
        .to_directory(&manager, scratch.path())
        .unwrap();
    let group = metadata(scratch.path(), &written.id, "xs");
    assert_eq!(group["attributes"]["ndshm"]["poisoned"], true);
    let other = root.manager();
    other.restore(scratch.path()).unwrap();
    let restored = other.array::<f64, Ix2>("xs").unwrap();
    assert!(matches!(restored.read(), Err(Error::Poisoned { .. })));
    restored.recover().unwrap().fill(1.0);
    assert_eq!(restored.read().unwrap().sum(), 1000.0);
}

#[test]
fn a_guard_is_given_back_when_its_slab_is_sent() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let xs = manager
        .options()
        .name("xs")
        .zeros::<f64, _>((100, 10))
        .unwrap();
    let first = xs.slice(ndarray::s![..1, ..]).unwrap();
    let last = xs.slice(ndarray::s![99.., ..]).unwrap();
    let free = std::sync::Mutex::new(Vec::new());
    let look = |done: u64, _: u64| {
        let is_free = |view: &ndshm::SharedArray2<f64>| view.try_write().is_ok();
        free.lock()
            .unwrap()
            .push((done, is_free(&first), is_free(&last)));
    };
    small()
        .in_flight(1)
        .progress(&look)
        .to_directory(&manager, scratch.path())
        .unwrap();
    let free = free.into_inner().unwrap();
    assert!(free.len() > 4);
    for (done, first, last) in &free {
        assert!(first, "the first slab is sent at {done}");
        assert_eq!(*last, *done == 8000, "{done}");
    }
}

#[test]
fn several_arrays_are_from_one_moment() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    for name in ["a", "b"] {
        manager.options().name(name).zeros::<u64, _>(1000).unwrap();
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let a = manager.array::<u64, Ix1>("a").unwrap();
            let b = manager.array::<u64, Ix1>("b").unwrap();
            for number in 0.. {
                if is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let (mut a, mut b) = ndshm::lock((a.writing(), b.writing())).unwrap();
                a.fill(number);
                b.fill(number);
            }
        });
        for _ in 0..20 {
            let other = root.manager();
            small().to_directory(&manager, scratch.path()).unwrap();
            other.restore(scratch.path()).unwrap();
            let (a, b) = (
                other.array::<u64, Ix1>("a").unwrap(),
                other.array::<u64, Ix1>("b").unwrap(),
            );
            let (a, b) = (a.read().unwrap(), b.read().unwrap());
            assert!(a.iter().chain(b.iter()).all(|number| *number == a[0]));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn axis_names_are_made_distinct_where_xarray_needs_it() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    for (name, len) in [("a", 4), ("b", 5)] {
        let options = manager.options().name(name).axis_names(["x"]);
        options.zeros::<f32, _>(len).unwrap();
    }
    manager.options().name("c").zeros::<f32, _>((2, 2)).unwrap();
    let id = manager.checkpoint(scratch.path()).unwrap().id;
    let names = |node| metadata(scratch.path(), &id, node)["dimension_names"].clone();
    assert_eq!(names("a"), serde_json::json!(["x"]));
    assert_eq!(names("b"), serde_json::json!(["x_b"]));
    assert_eq!(names("c"), serde_json::json!(["c_dim0", "c_dim1"]));
    let group = metadata(scratch.path(), &id, "");
    let consolidated = &group["consolidated_metadata"]["metadata"];
    assert_eq!(consolidated["b"], metadata(scratch.path(), &id, "b"));
}

#[test]
fn names_that_zarr_does_not_take_come_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let names = ["__x", "zarr.json", "a b", "_ndshm", "50%", "日本", "c"];
    for name in names {
        manager.options().name(name).ones::<u8, _>(3).unwrap();
    }
    manager.checkpoint(scratch.path()).unwrap();
    let other = root.manager();
    let mut restored = other.restore(scratch.path()).unwrap().names;
    restored.sort();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(restored, expected);
    for name in names {
        let array = other.array::<u8, Ix1>(name).unwrap();
        assert_eq!(array.read().unwrap().sum(), 3);
    }
}

/// Once a reader took the chunk of one row for damaged.
#[test]
fn arrays_that_grow_come_back_with_any_number_of_rows() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    for rows in [0, 1, 2, 3, 100] {
        let manager = fresh(&root);
        for (name, rest) in [("a", &[][..]), ("b", &[2]), ("c", &[3, 1]), ("d", &[1, 1])] {
            let options = manager.options().name(name);
            let log = options
                .growing::<u32, _>(100, ndarray::IxDyn(rest))
                .unwrap();
            let shape = [&[rows], rest].concat();
            let values = ndarray::ArrayD::from_shape_fn(shape, |index| index[0] as u32);
            log.append(&values).unwrap();
        }
        let settings = Checkpoint::new().only(["*"]);
        let written = settings.to_directory(&manager, scratch.path()).unwrap();
        // The padding of few rows is no more than they are, or 4 KiB.
        let bucket = DirectoryBucket::new(scratch.path());
        for (key, len) in bucket.list(&format!("{}/a/c", written.id)).unwrap() {
            assert!(len <= 400, "{key}: {len}");
        }
        let later = fresh(&root);
        later.restore(scratch.path()).unwrap();
        for name in ["a", "b", "c", "d"] {
            let log = later.growing_any(name).unwrap();
            assert_eq!(log.len(), rows);
            let found = log.rows(..).unwrap().read_bytes().unwrap();
            let expected = manager.growing_any(name).unwrap();
            assert_eq!(found, expected.rows(..).unwrap().read_bytes().unwrap());
        }
    }
}

#[test]
fn patterns_choose_arrays_and_need_one() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    for name in ["frame-1", "frame-2", "other"] {
        manager.options().name(name).ones::<u8, _>(3).unwrap();
    }
    let written = Checkpoint::new()
        .only(["frame-*"])
        .to_directory(&manager, scratch.path())
        .unwrap();
    assert_eq!(written.arrays, 2);
    let missing = Checkpoint::new()
        .only(["none"])
        .to_directory(&manager, scratch.path());
    assert!(matches!(missing, Err(Error::Transfer { .. })));
    let other = root.manager();
    let missing = Restore::new()
        .only(["other"])
        .from_directory(&other, scratch.path());
    let Err(Error::Transfer { reason, .. }) = missing else {
        panic!("refused");
    };
    assert!(reason.contains("frame-1"), "{reason}");
    let bucket = DirectoryBucket::new(scratch.path());
    let restored = Restore::new().only(["*-2"]).read(&other, &bucket).unwrap();
    assert_eq!(restored.names, ["frame-2"]);
}

/// A manager that is dropped in between does not matter.
fn fresh(root: &Root) -> Manager {
    root.manager()
}
