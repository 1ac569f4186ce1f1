//! Arrays that grow whose element type is known at run time only.

use super::{LONG, Root, SHORT};
use ndarray::{Ix1, Ix2, Ix3, array};
use ndshm::{AnyGrowing, DType, Error, Handle, Manager, Scope};
use std::collections::BTreeMap;

fn pairs(manager: &Manager) -> AnyGrowing {
    let dtype: DType = "<u2".parse().unwrap();
    manager.options().growing_any(&dtype, &[2], 1000).unwrap()
}

#[test]
fn bytes_are_appended_as_whole_rows_and_read_as_elements() {
    let root = Root::new();
    let manager = root.manager();
    let log = pairs(&manager);
    assert_eq!((log.row_shape(), log.max_len()), (&[2][..], 1000));
    assert_eq!(log.append_bytes(&[1, 0, 2, 0]).unwrap(), 0);
    assert_eq!(log.try_append_bytes(&[3, 0, 4, 0, 5, 0, 6, 0]).unwrap(), 1);
    assert_eq!(log.append_bytes_timeout(&[], SHORT).unwrap(), 3);
    for wrong in [&[1][..], &[0; 6]] {
        let refused = log.append_bytes(wrong).unwrap_err();
        assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    }
    let typed = log.downcast::<u16, Ix2>().unwrap();
    assert_eq!(*typed.all().unwrap(), array![[1, 2], [3, 4], [5, 6]]);
    typed.append_row(&array![7, 8]).unwrap();
    assert_eq!(
        log.rows(2..).unwrap().read_bytes().unwrap(),
        [5, 0, 6, 0, 7, 0, 8, 0]
    );
    assert_eq!(log.len(), 4);
    assert!(matches!(log.rows(..5), Err(Error::Layout { .. })));
    assert!(matches!(
        log.downcast::<i16, Ix2>(),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        log.downcast::<u16, Ix1>(),
        Err(Error::Rank {
            expected: 1,
            found: 2,
            ..
        })
    ));
    assert!(matches!(
        log.append_bytes(&[0; 4 * 997]),
        Err(Error::Full {
            max_len: 1000,
            len: 4,
            wanted: 997,
            ..
        })
    ));
}

#[test]
fn rows_are_frozen_arrays_that_other_processes_open() {
    let root = Root::new();
    let manager = root.manager();
    let log = pairs(&manager);
    let none = log.rows(..).unwrap();
    assert_eq!((none.shape(), none.is_frozen()), (&[0, 2][..], true));
    assert_eq!(none.handle().open_any().unwrap().shape(), [0, 2]);
    log.append_bytes(&[1, 0, 2, 0, 3, 0, 4, 0]).unwrap();
    let rows = log.rows(1..).unwrap();
    assert_eq!(rows.handle().open_frozen::<u16, Ix2>().unwrap()[[0, 1]], 4);
    assert!(matches!(
        rows.write_bytes(&[0; 4]),
        Err(Error::Frozen { .. })
    ));
    assert!(matches!(
        rows.handle().open_any_growing(),
        Err(Error::Handle { .. })
    ));
    // The rows that were taken keep the array, whose scope is local.
    let path = log.path().to_path_buf();
    drop((log, none));
    assert!(path.exists());
    assert_eq!(rows.read_bytes().unwrap(), [3, 0, 4, 0]);
    drop(rows);
    assert!(!path.exists());
}

#[test]
fn room_is_written_in_place_and_seen_from_the_commit_on() {
    let root = Root::new();
    let manager = root.manager();
    let log = pairs(&manager);
    let mut room = log.reserve(3).unwrap();
    assert_eq!((room.first(), room.bytes_mut().len()), (0, 12));
    room.bytes_mut().fill(1);
    assert!(log.is_empty());
    assert_eq!(room.commit_rows(2).unwrap(), 0);
    drop(log.reserve(5).unwrap());
    assert_eq!(log.try_reserve(1).unwrap().commit().unwrap(), 2);
    assert_eq!(log.reserve_timeout(0, SHORT).unwrap().commit().unwrap(), 3);
    let refused = log.reserve(1).unwrap().commit_rows(2).unwrap_err();
    assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    let room = log.reserve(1).unwrap();
    let refused = log.append_bytes(&[0; 4]).unwrap_err();
    assert!(matches!(refused, Error::WouldDeadlock { .. }), "{refused}");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let busy = log.try_append_bytes(&[0; 4]).unwrap_err();
            assert!(matches!(busy, Error::WouldBlock { .. }), "{busy}");
            let late = log.append_bytes_timeout(&[0; 4], SHORT).unwrap_err();
            assert!(matches!(late, Error::Timeout { .. }), "{late}");
        });
        other.join().unwrap();
    });
    drop(room);
    assert_eq!(log.len(), 3);
    assert_eq!(log.rows(..2).unwrap().read_bytes().unwrap(), [1; 8]);
}

#[test]
fn an_untyped_wait_ends_by_growth_and_by_the_end() {
    let root = Root::new();
    let manager = root.manager();
    let log = pairs(&manager);
    assert!(matches!(
        log.wait_grown(0, SHORT),
        Err(Error::Timeout { .. })
    ));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| log.wait_grown(0, LONG).unwrap());
        log.append_bytes(&[0; 4]).unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
        let waiting = scope.spawn(|| log.wait_grown(1, LONG).unwrap());
        log.freeze().unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
    });
    assert!(log.is_frozen() && !log.is_writable());
    log.freeze().unwrap();
    log.flush().unwrap();
    assert!(matches!(
        log.append_bytes(&[0; 4]),
        Err(Error::Frozen { .. })
    ));
}

#[test]
fn it_is_opened_by_its_name_path_and_handle() {
    let root = Root::new();
    let manager = root.manager();
    let attrs = BTreeMap::from([("unit", "m")]);
    let options = manager.options().name("log").axis_names(["t", "x"]);
    let options = options.attrs(&attrs).unwrap();
    let dtype: DType = "<u2".parse().unwrap();
    let log = options.open_or_growing_any(&dtype, &[2], 10).unwrap();
    log.append_bytes(&[1, 0, 2, 0]).unwrap();
    let text = serde_json::to_string(&log).unwrap();
    let others: [AnyGrowing; 6] = [
        manager.growing_any("log").unwrap(),
        AnyGrowing::open_path(log.path()).unwrap(),
        log.handle().open_any_growing().unwrap(),
        serde_json::from_str(&text).unwrap(),
        options.open_or_growing_any(&dtype, &[2], 10).unwrap(),
        log.clone(),
    ];
    for other in others {
        assert_eq!((other.id(), other.len()), (log.id(), 1));
        assert_eq!(other.name().as_deref(), Some("log"));
        assert_eq!(
            other.attrs::<BTreeMap<String, String>>().unwrap()["unit"],
            "m"
        );
        assert_eq!(other.axis_names()[1].as_deref(), Some("x"));
        assert_eq!(format!("{other:?}"), format!("{log:?}"));
    }
    let reader = log.handle().read_only().open_any_growing().unwrap();
    assert!(matches!(
        reader.append_bytes(&[0; 4]),
        Err(Error::ReadOnly { .. })
    ));
    let refused = [
        options.open_or_growing_any(&"<i2".parse().unwrap(), &[2], 10),
        options.open_or_growing_any(&dtype, &[3], 10),
        options.open_or_growing_any(&dtype, &[2], 11),
        options.open_or_growing_any(&dtype, &[2, 1], 10),
        options.growing_any(&dtype, &[2], 10),
        manager.options().growing_any(&dtype, &[0], 10),
        manager.growing_any("other"),
        manager
            .zeros::<u16, _>(1)
            .unwrap()
            .handle()
            .open_any_growing(),
    ]
    .map(|result| format!("{:?}", result.unwrap_err()));
    let expected = [
        "Dtype",
        "Layout",
        "Layout",
        "Rank",
        "AlreadyExists",
        "Layout",
        "NotFound",
        "Kind",
    ];
    for (found, variant) in refused.iter().zip(expected) {
        assert!(found.starts_with(variant), "{found}: not {variant}");
    }
    let stranger = log.handle().open_growing::<u16, Ix3>();
    assert!(matches!(stranger, Err(Error::Rank { .. })));
}

#[test]
fn the_first_opener_of_a_handle_inherits_it() {
    let root = Root::new();
    let manager = root.manager();
    let log = pairs(&manager);
    log.append_bytes(&[1, 0, 2, 0]).unwrap();
    let handle: Handle = log.hand_over();
    drop(log);
    let heir = handle.open_any_growing().unwrap();
    assert_eq!((heir.len(), heir.scope()), (1, Scope::Local));
    let path = heir.path().to_path_buf();
    // A use, which makes the claim final.
    drop(heir.memory());
    drop(heir);
    assert!(!path.exists());
    let kept = pairs(&manager);
    kept.set_scope(Scope::Store).unwrap();
    let path = kept.path().to_path_buf();
    drop(kept);
    assert!(path.exists());
    let kept = AnyGrowing::open_path(&path).unwrap();
    kept.release().unwrap();
    assert!(matches!(
        kept.append_bytes(&[0; 4]),
        Err(Error::Released { .. })
    ));
    assert!(matches!(
        kept.wait_grown(0, LONG),
        Err(Error::Released { .. })
    ));
}
