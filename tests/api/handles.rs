//! Handles: through serde and text, across exec, and the errors of those that name nothing any
//! more.

use crate::common::{self, Root, bad};
use ndarray::{Ix1, Ix2, s};
use ndshm::{Error, Handle, Manager, Scope, SharedArray, SharedArray1, SharedArray2};

#[test]
fn a_view_opens_in_another_process_across_exec() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .from_shape_fn::<i64, _>((4, 6), |(i, j)| (10 * i + j) as i64)
        .unwrap();
    let view = xs.slice(s![1..;2, ..;-2]).unwrap();
    let printed = common::run(child_doubles_what_it_opens, &[view.handle().to_string()]);
    assert!(printed.contains("sum 138"), "{printed}");
    let mut expected = ndarray::Array2::from_shape_fn((4, 6), |(i, j)| (10 * i + j) as i64);
    expected.slice_mut(s![1..;2, ..;-2]).mapv_inplace(|x| 2 * x);
    assert_eq!(xs.to_ndarray().unwrap(), expected);
}

#[test]
#[ignore = "runs in a child"]
fn child_doubles_what_it_opens() {
    let view: SharedArray2<i64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    println!("sum {}", view.read().unwrap().sum());
    view.write().unwrap().mapv_inplace(|x| 2 * x);
    common::done();
}

#[test]
fn a_handle_travels_through_json_cbor_and_postcard() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .from_shape_fn::<f32, _>((3, 4), |(i, j)| (i * 4 + j) as f32)
        .unwrap();
    for array in [xs.view().unwrap(), xs.slice(s![.., ..;-2]).unwrap()] {
        let handle = array.handle();
        let json = serde_json::to_string(&handle).unwrap();
        let mut cbor = Vec::new();
        ciborium::into_writer(&handle, &mut cbor).unwrap();
        let postcard = postcard::to_allocvec(&handle).unwrap();
        let copies: [Handle; 3] = [
            serde_json::from_str(&json).unwrap(),
            ciborium::from_reader(&cbor[..]).unwrap(),
            postcard::from_bytes(&postcard).unwrap(),
        ];
        for copy in copies {
            assert_eq!(copy, handle);
            assert_eq!(
                copy.open::<f32, Ix2>().unwrap().to_ndarray().unwrap(),
                array.to_ndarray().unwrap()
            );
        }
        let through: SharedArray2<f32> =
            serde_json::from_str(&serde_json::to_string(&array).unwrap()).unwrap();
        assert_eq!(through.to_ndarray().unwrap(), array.to_ndarray().unwrap());
    }
}

#[test]
fn a_path_that_is_not_utf_8_travels_too() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let root = Root::new();
    let path = root.path().join(OsStr::from_bytes(b"st\xff re%\n"));
    let manager = Manager::builder().path(&path).ephemeral().create().unwrap();
    let xs = manager.ones::<u8, _>(3).unwrap();
    let handle = xs.handle();
    let json: Handle = serde_json::from_str(&serde_json::to_string(&handle).unwrap()).unwrap();
    let postcard: Handle = postcard::from_bytes(&postcard::to_allocvec(&handle).unwrap()).unwrap();
    let text: Handle = handle.to_string().parse().unwrap();
    for copy in [json, postcard, text] {
        assert_eq!(copy.open::<u8, Ix1>().unwrap().read().unwrap().sum(), 3);
    }
    let manager: Manager = serde_json::from_str(&serde_json::to_string(&manager).unwrap()).unwrap();
    assert_eq!(manager.path(), path);
}

#[test]
fn a_wrong_type_or_rank_a_released_array_and_a_reused_path_are_errors_of_their_own() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .options()
        .name("xs")
        .zeros::<f64, _>((2, 3))
        .unwrap();
    let handle = xs.handle();
    assert!(matches!(
        handle.open::<i64, Ix2>(),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        handle.open::<f64, Ix1>(),
        Err(Error::Rank {
            expected: 1,
            found: 2,
            ..
        })
    ));
    xs.release().unwrap();
    assert!(matches!(handle.open::<f64, Ix2>(), Err(Error::Released { id, .. }) if id == xs.id()));
    assert!(matches!(handle.info(), Err(Error::Released { .. })));
    assert!(matches!(xs.release(), Err(Error::Released { .. })));
    let _other = manager
        .options()
        .name("xs")
        .zeros::<f64, _>((2, 3))
        .unwrap();
    assert!(matches!(
        handle.open::<f64, Ix2>(),
        Err(Error::PathReused { .. })
    ));
    assert!(matches!(handle.info(), Err(Error::PathReused { .. })));
    assert_eq!(
        xs.read().unwrap().sum(),
        0.0,
        "the released array stays usable"
    );
    manager.close().unwrap();
    assert!(matches!(
        handle.open::<f64, Ix2>(),
        Err(Error::Released { .. })
    ));
}

#[test]
fn a_layout_is_checked_against_the_array_it_is_opened_on() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.from_shape_fn::<u32, _>(10, |i| i as u32).unwrap();
    let open = |offset, shape: &[usize], strides: &[isize]| {
        xs.handle()
            .with_layout(offset, shape, strides)
            .unwrap()
            .open::<u32, ndarray::IxDyn>()
    };
    assert_eq!(
        open(36, &[2, 5], &[-20, -4])
            .unwrap()
            .read()
            .unwrap()
            .iter()
            .copied()
            .collect::<Vec<_>>(),
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    );
    let six = manager.ones::<f64, _>(6).unwrap();
    let views = bad::VIEWS.into_iter().map(|(view, _)| view);
    for view in views.chain(bad::OVERLAPPING_VIEWS) {
        let opened = six
            .handle()
            .with_layout(view.offset, view.shape, view.strides)
            .unwrap()
            .open::<f64, ndarray::IxDyn>();
        assert!(matches!(opened, Err(Error::Layout { .. })), "{}", view.what);
    }
    assert!(matches!(
        xs.handle().with_layout(0, &[1], &[]),
        Err(Error::Handle { .. })
    ));
    // For reading, elements may share bytes.
    let wide = xs
        .read_only()
        .unwrap()
        .handle()
        .with_layout(4, &[1 << 40], &[0])
        .unwrap()
        .open::<u32, Ix1>()
        .unwrap();
    assert_eq!((wide.len(), wide.read().unwrap()[1 << 39]), (1 << 40, 1));
    assert!(matches!(wide.write(), Err(Error::ReadOnly { .. })));
}

#[test]
fn a_wrong_fingerprint_is_refused() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(3).unwrap();
    assert!(matches!(
        bad::with_wrong_fingerprint(&xs.handle()).open::<f64, Ix1>(),
        Err(Error::Handle { .. })
    ));
}

#[test]
fn a_read_only_view_stays_read_only_on_its_way() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let printed = common::run(
        child_cannot_write,
        &[xs.read_only().unwrap().handle().to_string()],
    );
    assert!(printed.contains("sum 3"), "{printed}");
}

#[test]
#[ignore = "runs in a child"]
fn child_cannot_write() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    let xs: SharedArray1<f64> = handle.open().unwrap();
    assert!(!xs.is_writable() && !xs.handle().is_writable());
    assert!(matches!(xs.write(), Err(Error::ReadOnly { .. })));
    println!("sum {}", xs.read().unwrap().sum());
    common::done();
}

#[test]
fn serializing_any_number_of_times_changes_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .options()
        .scope(Scope::Remote)
        .zeros::<f64, _>(3)
        .unwrap();
    let texts: Vec<_> = (0..5)
        .map(|_| serde_json::to_string(&xs).unwrap())
        .collect();
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(xs.scope(), Scope::Remote);
    drop(texts);
    assert!(xs.path().exists());
}

#[test]
fn an_array_is_opened_by_its_path_and_only_in_its_store() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    assert_eq!(
        SharedArray1::<f64>::open_path(xs.path())
            .unwrap()
            .read()
            .unwrap()
            .sum(),
        3.0
    );
    let missing = root.path().join("none.ndshm");
    assert!(matches!(
        SharedArray::<f64, Ix1>::open_path(&missing),
        Err(Error::NotFound { .. })
    ));
    let other = root.manager();
    let copied = other.path().join("copied.ndshm");
    std::fs::copy(xs.path(), &copied).unwrap();
    let error = SharedArray1::<f64>::open_path(&copied).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Header {
                source: ndshm::HeaderError::ForeignStore,
                ..
            }
        ),
        "{error}"
    );
    let stray = root.path().join("stray");
    std::fs::create_dir(&stray).unwrap();
    std::fs::set_permissions(&stray, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::copy(xs.path(), stray.join("x.ndshm")).unwrap();
    let error = SharedArray1::<f64>::open_path(stray.join("x.ndshm")).unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
}

/// A file that another process had truncated was mapped already: opened a second time in the same
/// process it was found by its inode, its length was not looked at again, and the first read of a
/// page that was gone was a SIGBUS. The length is compared whenever a file is opened; a handle to
/// an array that the process has open is opened without its file.
#[test]
fn a_file_that_was_truncated_after_it_was_opened_is_not_opened_again() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(2000).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(xs.path())
        .unwrap();
    let len = file.metadata().unwrap().len();
    for other in [len - 1, len - 16_000, len + 1] {
        file.set_len(other).unwrap();
        let error = SharedArray1::<f64>::open_path(xs.path()).unwrap_err();
        let length = ndshm::HeaderError::Length {
            expected: len,
            found: other,
        };
        assert!(
            matches!(&error, Error::Header { source, .. } if *source == length),
            "{error}"
        );
    }
    file.set_len(len).unwrap();
    assert_eq!(xs.handle().open::<f64, Ix1>().unwrap().shape(), [2000]);
}

/// `info` and `list` looked at the lifecycle word alone, and took every one but "ready" for a
/// released array: a file from a machine of the other byte order, or with an invalid state, was
/// "released", and missing from the list without an error. They give the error of opening now.
#[test]
fn a_description_refuses_the_state_block_that_opening_refuses() {
    use std::os::unix::fs::FileExt;
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(xs.path())
        .unwrap();
    let header = |error: Error| match error {
        Error::Header { source, .. } => source,
        other => panic!("{other}"),
    };
    let swapped: Vec<u8> = [0x0403_0201u32, 0x0100_0000]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    file.write_all_at(&swapped, 64).unwrap();
    assert_eq!(
        header(xs.handle().info().unwrap_err()),
        ndshm::HeaderError::Endian
    );
    assert_eq!(
        header(manager.damaged().unwrap().remove(0)),
        ndshm::HeaderError::Endian
    );
    let ready: Vec<u8> = [0x0102_0304u32, 7]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    file.write_all_at(&ready, 64).unwrap();
    assert_eq!(
        header(xs.handle().info().unwrap_err()),
        ndshm::HeaderError::Lifecycle { found: 7 }
    );
    assert_eq!(
        header(manager.damaged().unwrap().remove(0)),
        ndshm::HeaderError::Lifecycle { found: 7 }
    );
    file.write_all_at(&common::words::READY.to_ne_bytes(), 68)
        .unwrap();
    assert_eq!(manager.list().unwrap().len(), 1);
}

/// `info` does not ask for a store, so its path can lead anywhere; it opened the file there for
/// reading and writing, and looked at its kind only then. By then a FIFO's other end had gone on, a
/// tape had been rewound, a watchdog started. The kind is looked at first.
#[test]
fn a_description_opens_nothing_but_files() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let root = Root::new();
    let manager = root.manager();
    let handle = manager.ones::<f64, _>(3).unwrap().handle();
    let fifo = root.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let handle: Handle = handle
        .to_string()
        .replace(handle.path().to_str().unwrap(), fifo.to_str().unwrap())
        .parse()
        .unwrap();
    let pause = || std::thread::sleep(std::time::Duration::from_millis(100));
    std::thread::scope(|scope| {
        // Waits until a process opens the other end.
        let writer =
            scope.spawn(|| drop(std::fs::File::options().write(true).open(&fifo).unwrap()));
        pause();
        assert!(matches!(handle.info(), Err(Error::Untrusted { .. })));
        pause();
        let went_on = writer.is_finished();
        drop(
            std::fs::File::options()
                .read(true)
                .write(true)
                .open(&fifo)
                .unwrap(),
        );
        writer.join().unwrap();
        assert!(!went_on, "the FIFO was opened");
    });
}
