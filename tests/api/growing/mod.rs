//! Arrays whose rows are appended, in one process.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod any;
mod hostile;

use crate::common::Root;
use ndarray::{Array, Array2, Array3, Ix1, Ix2, Ix3, IxDyn, ShapeBuilder, array, s};
use ndshm::{
    AnyArray, ArrayInfo, ArrayKind, Error, Export, FrozenArray, GrowingArray, Handle, Import,
    Manager, Scope, SharedArray,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(60);

fn numbers(manager: &Manager) -> GrowingArray<u64, Ix1> {
    manager.options().growing(1 << 30, ()).unwrap()
}

#[test]
fn rows_of_any_rank_and_memory_order_are_appended() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<i32, _>(100, (2, 3)).unwrap();
    assert_eq!(log.row_shape(), [2, 3]);
    let block = Array3::from_shape_fn((4, 2, 3), |(i, j, k)| (100 * i + 10 * j + k) as i32);
    assert_eq!(log.append(&block).unwrap(), 0);
    let turned = Array::from_shape_fn((2, 2, 3).f(), |(i, j, k)| block[[i, j, k]] + 1);
    assert_eq!(log.append(&turned).unwrap(), 4);
    assert_eq!(log.append(&block.slice(s![..;2, .., ..;-1])).unwrap(), 6);
    let row = array![[1, 2], [3, 4], [5, 6]];
    assert_eq!(log.append_row(&row.t()).unwrap(), 8);
    assert_eq!(log.append(&Array3::zeros((0, 2, 3))).unwrap(), 9);
    assert_eq!(log.len(), 9);
    let all: FrozenArray<i32, Ix3> = log.all().unwrap();
    assert_eq!(all.slice(s![..4, .., ..]), block);
    assert_eq!(all.slice(s![4..6, .., ..]), turned);
    assert_eq!(
        all.slice(s![6..8, .., ..]),
        block.slice(s![..;2, .., ..;-1])
    );
    assert_eq!(all.slice(s![8, .., ..]), row.t());

    let dynamic = manager
        .options()
        .growing::<i32, _>(100, IxDyn(&[2, 3]))
        .unwrap();
    dynamic.append(&block.into_dyn()).unwrap();
    dynamic.append_row(&row.t().into_dyn()).unwrap();
    assert_eq!(dynamic.all().unwrap().shape(), [5, 2, 3]);
}

#[test]
fn rows_that_are_reserved_are_seen_from_the_commit_on() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<f64, _>(10, 2).unwrap();
    let mut rows = log.reserve(3).unwrap();
    assert_eq!((rows.first(), rows.shape()), (0, &[3, 2][..]));
    rows.fill(1.0);
    assert_eq!((log.len(), log.all().unwrap().len()), (0, 0));
    assert_eq!(rows.commit_rows(2).unwrap(), 0);
    let mut rows = log.reserve(4).unwrap();
    rows.fill(2.0);
    drop(rows);
    assert_eq!(log.len(), 2);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut rows = log.reserve(1).unwrap();
        rows.fill(3.0);
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(log.reserve(1).unwrap().commit_rows(0).unwrap(), 2);
    let refused = log.reserve(1).unwrap().commit_rows(2).unwrap_err();
    assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    assert_eq!(*log.all().unwrap(), array![[1.0, 1.0], [1.0, 1.0]]);
    assert_eq!(log.reserve(8).unwrap().commit().unwrap(), 2);
    assert_eq!(log.len(), 10);
}

#[test]
fn ranges_that_are_not_there_are_refused() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    log.append(&array![1, 2, 3]).unwrap();
    assert_eq!(*log.rows(1..=1).unwrap(), array![2]);
    assert_eq!(*log.rows(..2).unwrap(), array![1, 2]);
    assert_eq!(log.rows(3..3).unwrap().len(), 0);
    for refused in [
        log.rows(0..4),
        log.rows(4..),
        log.rows(..=3),
        log.rows(..=usize::MAX),
        #[allow(clippy::reversed_empty_ranges, reason = "it is refused")]
        log.rows(2..1),
    ] {
        assert!(matches!(refused, Err(Error::Layout { .. })), "{refused:?}");
    }
}

#[test]
fn rows_keep_their_elements_while_the_array_grows_over_many_steps() {
    const ROWS: usize = 5000;
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<u8, _>(1 << 20, 4096).unwrap();
    log.append(&Array2::from_elem((3, 4096), 7)).unwrap();
    let early = log.all().unwrap();
    for row in 3..ROWS {
        log.append_row(&Array::from_elem(4096, row as u8)).unwrap();
    }
    assert!(early.iter().all(|&x| x == 7));
    let all = log.all().unwrap();
    for (row, elements) in all.outer_iter().enumerate().skip(3) {
        assert!(elements.iter().all(|&x| x == row as u8), "row {row}");
    }
    assert_eq!(early.as_ptr(), all.as_ptr(), "rows were moved");
}

#[test]
fn a_full_array_says_so_and_takes_what_fits() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<u64, _>(5, ()).unwrap();
    log.append(&array![1, 2, 3]).unwrap();
    let refused = log.append(&array![4, 5, 6]).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Full {
                max_len: 5,
                len: 3,
                wanted: 3,
                ..
            }
        ),
        "{refused}"
    );
    assert!(refused.to_string().contains("at most 5"), "{refused}");
    let refused = log.reserve(usize::MAX).unwrap_err();
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    log.append(&array![4, 5]).unwrap();
    assert!(matches!(log.push(6), Err(Error::Full { .. })));
    assert_eq!(*log.all().unwrap(), array![1, 2, 3, 4, 5]);
}

#[test]
fn rows_of_another_shape_are_refused() {
    let root = Root::new();
    let log = root
        .manager()
        .options()
        .growing::<u64, _>(5, (2, 3))
        .unwrap();
    let refusals = [
        log.append(&Array3::zeros((1, 3, 2))),
        log.append(&Array3::zeros((0, 2, 2))),
        log.append_row(&Array2::zeros((3, 2))),
    ];
    for refused in refusals {
        assert!(matches!(refused, Err(Error::Layout { .. })), "{refused:?}");
    }
    assert_eq!(log.len(), 0);
}

#[test]
fn impossible_arrays_are_refused() {
    let root = Root::new();
    let manager = root.manager();
    let options = manager.options();
    for (max_len, row) in [(0, 3), (10, 0), (usize::MAX, 1), (1 << 47, 1 << 40)] {
        let refused = options.growing::<f64, _>(max_len, row).unwrap_err();
        assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    }
    assert_eq!(manager.list().unwrap(), []);
}

#[test]
fn one_appends_at_a_time_and_the_others_wait_as_their_verb_says() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .lock_timeout(SHORT)
        .create()
        .unwrap();
    let log = numbers(&manager);
    let rows = log.reserve(2).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let began = Instant::now();
            for refused in [
                log.try_append(&array![1]).map(drop),
                log.try_reserve(1).map(drop),
            ] {
                assert!(
                    matches!(refused, Err(Error::WouldBlock { .. })),
                    "{refused:?}"
                );
            }
            for refused in [
                log.push(1).map(drop),
                log.append_timeout(&array![1], SHORT).map(drop),
                log.reserve_timeout(1, SHORT).map(drop),
                log.freeze(),
            ] {
                let refused = refused.unwrap_err();
                assert!(matches!(refused, Error::Timeout { .. }), "{refused}");
                let [holder] = refused.holders() else {
                    panic!("{refused}")
                };
                assert_eq!(holder.pid, Some(std::process::id()));
                assert!(!holder.is_this_thread && holder.is_this_process);
                assert!(refused.to_string().contains("[0:] to write"), "{refused}");
            }
            assert!(began.elapsed() >= 4 * SHORT);
            // The reader does not wait.
            assert_eq!(log.all().unwrap().len(), 0);
        });
        other.join().unwrap();
    });
    for refused in [
        log.push(1).map(drop),
        log.try_reserve(1).map(drop),
        log.freeze(),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::WouldDeadlock { .. }), "{refused}");
        assert!(refused.holders()[0].is_this_thread);
    }
    rows.commit().unwrap();
    assert_eq!(log.push(1).unwrap(), 2);
}

#[test]
fn threads_append_every_row_once() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5000;
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<u64, _>(1 << 30, 2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = log.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    log.append_row(&array![thread, number]).unwrap();
                }
            });
        }
    });
    let all = log.all().unwrap();
    assert_eq!(all.len(), (2 * THREADS * EACH) as usize);
    let mut next = [0; THREADS as usize];
    for row in all.outer_iter() {
        let next = &mut next[row[0] as usize];
        assert_eq!(row[1], *next);
        *next += 1;
    }
}

#[test]
fn a_wait_ends_by_growth_by_the_end_and_by_time() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    let late = log.wait_grown(0, SHORT).unwrap_err();
    assert!(matches!(late, Error::Timeout { .. }), "{late}");
    log.push(1).unwrap();
    assert_eq!(log.wait_grown(0, Duration::ZERO).unwrap(), 1);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.wait_grown(1, LONG).unwrap());
        std::thread::sleep(SHORT);
        log.append(&array![2, 3]).unwrap();
        assert_eq!(waits.join().unwrap(), 3);
        let waits = scope.spawn(|| log.wait_grown(3, LONG).unwrap());
        std::thread::sleep(SHORT);
        log.freeze().unwrap();
        assert_eq!(waits.join().unwrap(), 3);
    });
    assert!(log.is_frozen());
}

#[test]
fn a_wait_for_rows_of_a_released_array_ends() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.wait_grown(0, LONG).unwrap_err());
        std::thread::sleep(SHORT);
        log.release().unwrap();
        let ended = waits.join().unwrap();
        assert!(matches!(ended, Error::Released { .. }), "{ended}");
    });
    let log = numbers(&manager);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.wait_grown(0, LONG).unwrap_err());
        std::thread::sleep(SHORT);
        manager.close().unwrap();
        let ended = waits.join().unwrap();
        assert!(
            matches!(ended, Error::Closed { .. } | Error::Released { .. }),
            "{ended}"
        );
    });
}

#[test]
fn a_released_array_is_read_and_not_appended_to() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    log.push(1).unwrap();
    let reserved = log.reserve(1).unwrap();
    log.release().unwrap();
    reserved.commit().unwrap();
    for refused in [log.push(2).map(drop), log.reserve(1).map(drop)] {
        assert!(
            matches!(refused, Err(Error::Released { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(log.len(), 2);
    let refused = log.handle().open_growing::<u64, Ix1>().unwrap_err();
    assert!(matches!(refused, Error::Released { .. }), "{refused}");
}

#[test]
fn a_frozen_array_stays_so() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    log.push(1).unwrap();
    let before = log.all().unwrap();
    log.freeze().unwrap();
    log.freeze().unwrap();
    for refused in [
        log.push(2).map(drop),
        log.try_append(&array![2]).map(drop),
        log.reserve(0).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Frozen { .. })), "{refused:?}");
    }
    let opened = log.handle().open_growing::<u64, Ix1>().unwrap();
    assert!(opened.is_frozen() && !opened.is_writable());
    assert_eq!((*opened.all().unwrap()).sum() + before.sum(), 2);
}

#[test]
fn handles_of_rows_open_as_arrays_that_are_frozen() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<f64, _>(4, 3).unwrap();
    log.append(&Array2::from_shape_fn((4, 3), |(i, j)| (3 * i + j) as f64))
        .unwrap();
    // Of all rows of a full array too.
    for (rows, sum) in [(log.rows(1..3).unwrap(), 33.0), (log.all().unwrap(), 66.0)] {
        let handle = rows.handle();
        assert!(!handle.is_writable());
        assert_eq!(handle.open_frozen::<f64, Ix2>().unwrap().sum(), sum);
        let shared = handle.open::<f64, Ix2>().unwrap();
        assert_eq!(shared.read().unwrap().sum(), sum);
        assert!(shared.is_frozen() && !shared.is_writable());
        assert!(matches!(shared.write(), Err(Error::Frozen { .. })));
        assert!(matches!(shared.recover(), Err(Error::Frozen { .. })));
        assert!(shared.slice(s![0, ..]).unwrap().freeze().is_ok());
        assert_eq!(shared.to_ndarray_unlocked().unwrap().sum(), sum);
        assert_eq!(shared.changed().unwrap(), 0);
        assert_eq!(handle.open_any().unwrap().shape()[1], 3);
        handle.wait_frozen(Duration::ZERO).unwrap();
        let text = serde_json::to_string(&rows).unwrap();
        let same: FrozenArray<f64, Ix2> = serde_json::from_str(&text).unwrap();
        assert_eq!(same.sum(), sum);
        let refused = handle.open_growing::<f64, Ix2>().unwrap_err();
        assert!(matches!(refused, Error::Handle { .. }), "{refused}");
    }
    let beyond = log.rows(..).unwrap().handle();
    let beyond = beyond.with_layout(3 * 24, &[2, 3], &[24, 8]).unwrap();
    let refused = beyond.open_frozen::<f64, Ix2>().unwrap_err();
    assert!(matches!(refused, Error::Layout { .. }), "{refused}");
}

#[test]
fn handles_of_rows_are_checked_against_the_length_not_the_maximum() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    log.append(&array![1, 2, 3]).unwrap();
    let three = log.all().unwrap().handle();
    let four = three.with_layout(0, &[4], &[8]).unwrap();
    let refused = four.open_frozen::<u64, Ix1>().unwrap_err();
    assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    log.push(4).unwrap();
    assert_eq!(four.open_frozen::<u64, Ix1>().unwrap().sum(), 10);
    // Rows can only be read.
    let text = three.to_string().replace(":m=r:", ":m=w:");
    let writable: Handle = text.parse().unwrap();
    assert!(writable.is_writable());
    let refused = writable.open::<u64, Ix1>().unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused}");
}

#[test]
fn it_is_opened_as_what_it_is_only() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager
        .options()
        .name("log")
        .growing::<f64, _>(9, 3)
        .unwrap();
    let is_kind = |error: Error| match error {
        Error::Kind { found, .. } => found,
        error => panic!("{error}"),
    };
    let handle = log.handle();
    for error in [
        handle.open::<f64, Ix2>().unwrap_err(),
        handle.open_any().unwrap_err(),
        handle.open_frozen::<f64, Ix2>().unwrap_err(),
        manager.array::<f64, Ix2>("log").unwrap_err(),
        SharedArray::<f64, Ix2>::open_path(log.path()).unwrap_err(),
        AnyArray::open_path(log.path()).unwrap_err(),
    ] {
        assert_eq!(is_kind(error), ArrayKind::Growing);
    }
    let array = manager.options().name("xs").zeros::<f64, _>(3).unwrap();
    for error in [
        array.handle().open_growing::<f64, Ix1>().unwrap_err(),
        manager.growing::<f64, Ix1>("xs").unwrap_err(),
        GrowingArray::<f64, Ix1>::open_path(array.path()).unwrap_err(),
        manager
            .options()
            .name("xs")
            .open_or_growing::<f64, _>(3, ())
            .unwrap_err(),
    ] {
        assert_eq!(is_kind(error), ArrayKind::Array);
    }
    let wrong = handle.open_growing::<f32, Ix2>().unwrap_err();
    assert!(matches!(wrong, Error::Dtype { .. }), "{wrong}");
    let wrong = handle.open_growing::<f64, Ix1>().unwrap_err();
    assert!(
        matches!(
            wrong,
            Error::Rank {
                expected: 1,
                found: 2,
                ..
            }
        ),
        "{wrong}"
    );
    let wrong = manager
        .options()
        .name("log")
        .open_or_growing::<f64, _>(9, 4);
    assert!(matches!(wrong, Err(Error::Layout { .. })));
    assert!(matches!(
        manager.growing::<f64, Ix2>("no"),
        Err(Error::NotFound { .. })
    ));
    let taken = manager.options().name("log").growing::<f64, _>(9, 3);
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })));
}

#[test]
fn a_reader_appends_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    let reader = log.handle().read_only().open_growing::<u64, Ix1>().unwrap();
    for refused in [
        reader.push(1).map(drop),
        reader.reserve(1).map(drop),
        reader.freeze(),
    ] {
        assert!(
            matches!(refused, Err(Error::ReadOnly { .. })),
            "{refused:?}"
        );
    }
    log.push(1).unwrap();
    assert_eq!(reader.len(), 1);
    let again = reader.handle();
    assert!(!again.is_writable());
}

#[test]
fn the_labels_are_those_of_an_array() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager
        .options()
        .name("log")
        .attrs(&BTreeMap::from([("unit", "m")]))
        .unwrap()
        .axis_names(["step", "joint"])
        .growing::<f64, _>(1 << 30, 6)
        .unwrap();
    log.append(&Array2::zeros((5, 6))).unwrap();
    assert_eq!(
        (log.name().as_deref(), log.scope()),
        (Some("log"), Scope::Store)
    );
    assert_eq!(log.axis_names()[1].as_deref(), Some("joint"));
    let rows = log.rows(..2).unwrap();
    assert_eq!(rows.shared().axis_names()[0].as_deref(), Some("step"));
    assert_eq!(
        rows.shared().attrs::<BTreeMap<String, String>>().unwrap()["unit"],
        "m"
    );
    let text = serde_json::to_string(&log).unwrap();
    let same: GrowingArray<f64, Ix2> = serde_json::from_str(&text).unwrap();
    assert_eq!((same.id(), same.len()), (log.id(), 5));

    let info = log.handle().info().unwrap();
    assert_eq!(info.kind, ArrayKind::Growing);
    assert_eq!(
        (info.shape.as_slice(), info.max_len),
        (&[5, 6][..], Some(1 << 30))
    );
    assert_eq!(info.byte_len, 240);
    assert_eq!(
        manager.list().unwrap().as_slice(),
        std::slice::from_ref(&info)
    );
    let usage = manager.usage().unwrap();
    assert_eq!((usage.arrays, usage.byte_len), (1, 240));
    assert!((240..8 << 20).contains(&usage.allocated), "{usage:?}");
    assert_eq!(info.handle().open_growing::<f64, Ix2>().unwrap().len(), 5);
    assert_eq!(ndshm::verify(manager.path()).unwrap().findings, []);
    let plain = manager.zeros::<f64, _>(3).unwrap();
    assert_eq!(ArrayInfo::at(plain.path()).unwrap().max_len, None);
}

#[test]
fn the_scope_decides_over_the_memory() {
    let root = Root::new();
    let manager = root.manager();
    let log = numbers(&manager);
    let path = log.path().to_path_buf();
    log.push(1).unwrap();
    let rows = log.all().unwrap();
    drop(log);
    // Rows keep it, as views do.
    assert!(path.exists());
    drop(rows);
    assert!(!path.exists());
    let sent = manager
        .options()
        .scope(Scope::Remote)
        .growing::<u64, _>(9, ())
        .unwrap();
    let handle = sent.handle();
    drop(sent);
    let claimed = handle.open_growing::<u64, Ix1>().unwrap();
    assert_eq!(claimed.scope(), Scope::Local);
    claimed.set_scope(Scope::Store).unwrap();
    let path = claimed.path().to_path_buf();
    drop(claimed);
    assert!(path.exists());
}

#[test]
fn it_is_opened_again_with_its_rows() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .recycle(1 << 30)
        .create()
        .unwrap();
    for run in 0..5 {
        let log = manager
            .options()
            .name("log")
            .open_or_growing::<u64, _>(1 << 20, ())
            .unwrap();
        assert_eq!(log.push(run).unwrap(), run as usize);
    }
    let log = manager.growing::<u64, Ix1>("log").unwrap();
    assert_eq!(*log.all().unwrap(), array![0, 1, 2, 3, 4]);
    log.release().unwrap();
    drop(log);
    let usage = manager.usage().unwrap();
    assert_eq!(
        (usage.arrays, usage.kept),
        (0, 0),
        "its file was kept to be used again"
    );
}

#[test]
fn rows_are_exported_as_an_ordinary_file() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<i16, _>(1 << 30, 2).unwrap();
    log.append(&array![[1, 2], [3, 4]]).unwrap();
    let mut bytes = Vec::new();
    Export::new()
        .npy_to(&log.all().unwrap(), &mut bytes)
        .unwrap();
    let back = Import::new().npy_from(&manager, &bytes[..]).unwrap();
    assert_eq!(
        back.downcast::<i16, Ix2>().unwrap().to_ndarray().unwrap(),
        array![[1, 2], [3, 4]]
    );
    assert_eq!(log.all().unwrap().shared().copy().unwrap().shape(), [2, 2]);
}

#[test]
fn a_flush_notes_the_rows() {
    let scratch = tempfile::tempdir().unwrap();
    let manager = Manager::builder().root(scratch.path()).create().unwrap();
    let log = manager.options().growing::<u64, _>(1 << 20, ()).unwrap();
    log.append(&array![1, 2, 3]).unwrap();
    log.flush().unwrap();
    log.push(4).unwrap();
    let at = crate::common::words::growth_at(log.path());
    let word = |word| crate::common::words::get(log.path(), at + word);
    assert_eq!(word(crate::common::words::FLUSHED), 3);
    assert_eq!(word(crate::common::words::COMMITTED), 4);
    log.all().unwrap().shared().flush().unwrap();
    assert_eq!(word(crate::common::words::FLUSHED), 4);
}

#[test]
fn an_array_is_as_long_as_its_maximum_at_most() {
    // Smaller than a page, a step, and not a multiple of either.
    let root = Root::new();
    let manager = root.manager();
    for max_len in [1, 511, 512, 513, 262_143, 262_144, 600_001] {
        let log = manager.options().growing::<u64, _>(max_len, ()).unwrap();
        log.append(&Array::from_iter(0..max_len as u64)).unwrap();
        let page = crate::common::page();
        let len = std::fs::metadata(log.path()).unwrap().len();
        assert_eq!(len, (page + 8 * max_len) as u64);
        let path = log.path().to_path_buf();
        log.set_scope(Scope::Store).unwrap();
        drop(log);
        let again = GrowingArray::<u64, Ix1>::open_path(&path).unwrap();
        assert_eq!(again.all().unwrap()[max_len - 1], max_len as u64 - 1);
        assert!(matches!(again.push(0), Err(Error::Full { .. })));
        again.release().unwrap();
    }
}
