//! Export to other formats and import from them: arrays come back as they were, and no file or
//! array is ever incomplete.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common::{self, Root};
use ndarray::{Ix1, Ix2, IxDyn, ShapeBuilder, s};
use ndshm::{AnyArray, DType, Element, Error, Export, Exportable, Import, Manager, Order, Scope};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

/// Every element type, or one of its kind.
fn dtypes() -> Vec<DType> {
    let mut dtypes: Vec<DType> = [
        "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "uint128", "int128", "<f2",
        "bfloat16", "<f4", "<f8", "<c8", "<c16", "|V5", "(3,)<f4", "(2,3)<u2", "(2,)|V3",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    let inner = DType::structure(
        [
            ("x", "<f8".parse().unwrap(), 8),
            ("y", "(2,)<i2".parse().unwrap(), 0),
        ],
        24,
    )
    .unwrap();
    dtypes.push(
        DType::structure(
            [
                ("n", "|u1".parse().unwrap(), 1),
                ("inner", inner, 8),
                ("it's", "|V2".parse().unwrap(), 4),
            ],
            40,
        )
        .unwrap(),
    );
    dtypes
}

/// An array of such elements, whose bytes differ from the bytes beside them.
fn sample(manager: &Manager, dtype: &DType, shape: &[usize]) -> AnyArray {
    let array = manager.zeros_any(dtype, shape).unwrap();
    let is_bool = dtype.to_string() == "|b1";
    let bytes: Vec<u8> = (0..array.len() * dtype.itemsize())
        .map(|i| {
            if is_bool {
                (i % 3 == 0).into()
            } else {
                (i * 37 + 11) as u8
            }
        })
        .collect();
    array.write_bytes(&bytes).unwrap();
    array
}

fn shapes() -> [&'static [usize]; 5] {
    [&[], &[7], &[3, 4, 5], &[0], &[2, 0, 3]]
}

fn contents(array: &AnyArray) -> Vec<u8> {
    array.read_bytes().unwrap()
}

#[test]
fn every_type_and_shape_comes_back_from_npy() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    for dtype in dtypes() {
        for shape in shapes() {
            let path = scratch.path().join("x.npy");
            let array = sample(&manager, &dtype, shape);
            Export::new().replace().npy(&array, &path).unwrap();
            let read = Import::new().npy(&manager, &path).unwrap();
            assert_eq!(contents(&read), contents(&array), "{dtype} {shape:?}");
            if dtype.subarray().is_none() || dtype.to_string().starts_with("|V") {
                assert_eq!(read.shape(), shape);
            }
            let is_plain = !dtype.to_string().starts_with(['(', '{']);
            if is_plain {
                let read = Import::new().dtype(&dtype).npy(&manager, &path).unwrap();
                assert_eq!(*read.dtype(), dtype);
            }
        }
    }
}

#[test]
fn views_with_any_strides_are_written_in_their_logical_order() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<u16, _>((5, 6, 7), |(i, j, k)| (100 * i + 10 * j + k) as u16)
        .unwrap()
        .into_dyn()
        .unwrap();
    let views = [
        array.slice(s![..;-1, 1..;2, ..].as_ref()).unwrap(),
        array.slice(s![2, .., ..;3].as_ref()).unwrap(),
        array.t().unwrap(),
        array.slice(s![1..4, .., ..].as_ref()).unwrap(),
        array.slice(s![.., 3, 0..0].as_ref()).unwrap(),
        array.slice(s![4, 5, 6].as_ref()).unwrap(),
        array
            .slice(s![0, 0, 0..1].as_ref())
            .unwrap()
            .broadcast(IxDyn(&[9, 1]))
            .unwrap(),
    ];
    for (number, view) in views.iter().enumerate() {
        let path = scratch.path().join(format!("{number}.npy"));
        Export::new().npy(view, &path).unwrap();
        let read = Import::new()
            .npy(&manager, &path)
            .unwrap()
            .downcast::<u16, IxDyn>()
            .unwrap();
        assert_eq!(
            *read.read().unwrap(),
            *view.read().unwrap(),
            "view {number}"
        );
        let path = scratch.path().join(format!("{number}.raw"));
        Export::new().raw(view, &path).unwrap();
        let read = Import::new()
            .raw(&manager, &path, &"<u2".parse().unwrap(), view.shape())
            .unwrap()
            .downcast::<u16, IxDyn>()
            .unwrap();
        assert_eq!(
            *read.read().unwrap(),
            *view.read().unwrap(),
            "view {number}"
        );
    }
}

#[test]
fn the_order_in_memory_is_kept_by_npy() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<i32, _>((3, 4).f(), |(i, j)| (10 * i + j) as i32)
        .unwrap();
    let path = scratch.path().join("x.npy");
    Export::new().npy(&array, &path).unwrap();
    let read = Import::new()
        .npy(&manager, &path)
        .unwrap()
        .downcast::<i32, Ix2>()
        .unwrap();
    assert_eq!((read.order(), read.shape()), (Some(Order::F), &[3, 4][..]));
    assert_eq!(*read.read().unwrap(), *array.read().unwrap());
}

#[test]
fn booleans_are_written_as_0_and_1() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager.zeros_any(&"|b1".parse().unwrap(), &[4]).unwrap();
    array.write_bytes(&[0, 1, 2, 255]).unwrap();
    Export::new().raw(&array, scratch.path().join("x")).unwrap();
    assert_eq!(fs::read(scratch.path().join("x")).unwrap(), [0, 1, 1, 1]);
}

#[test]
fn no_file_is_replaced_unless_the_caller_asks_for_it() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let array = root.manager().ones::<u8, _>(3).unwrap();
    let path = scratch.path().join("x");
    fs::write(&path, "mine").unwrap();
    assert!(matches!(
        Export::new().raw(&array, &path),
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    Export::new().replace().raw(&array, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [1; 3]);
    // A file that appears while this one is written stays too.
    let late = scratch.path().join("late");
    let comes = |_, _| fs::write(&late, "mine").unwrap();
    assert!(matches!(
        Export::new().progress(&comes).raw(&array, &late),
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(fs::read(&late).unwrap(), b"mine");
    assert!(matches!(
        Export::new().replace().raw(&array, scratch.path()),
        Err(Error::Transfer { .. })
    ));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager.ones::<u8, _>(3).unwrap();
    assert!(matches!(
        Export::new().npy(&array, scratch.path().join("not/there")),
        Err(Error::Io { .. })
    ));
    let _held = array.write().unwrap();
    assert!(matches!(
        Export::new().npy(&array, scratch.path().join("x")),
        Err(Error::WouldDeadlock { .. })
    ));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn an_exported_file_has_the_permissions_that_the_umask_leaves() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let array = root.manager().ones::<u8, _>(3).unwrap();
    let (path, plain) = (scratch.path().join("x"), scratch.path().join("plain"));
    Export::new().raw(&array, &path).unwrap();
    fs::write(&plain, "").unwrap();
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode(),
        fs::metadata(plain).unwrap().permissions().mode()
    );
}

/// The reason for which a file with these bytes is refused; no array is made, and nothing stays in
/// the store.
#[track_caller]
fn refused(manager: &Manager, bytes: &[u8]) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.npy");
    fs::write(&path, bytes).unwrap();
    let error = Import::new().name("x").npy(manager, &path).unwrap_err();
    assert!(matches!(error, Error::Transfer { .. }), "{error}");
    assert_eq!(
        fs::read_dir(manager.path()).unwrap().count(),
        1,
        "only the lock file"
    );
    error.to_string()
}

#[test]
fn files_that_are_cut_off_or_go_on_make_no_array() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npy");
    Export::new()
        .npy(&manager.ones::<f64, _>((3, 4)).unwrap(), &path)
        .unwrap();
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 128 + 96);
    for len in [0, 5, 9, 40, 127] {
        assert!(
            refused(&manager, &whole[..len]).contains("ends too early"),
            "{len}"
        );
    }
    assert!(refused(&manager, &whole[..whole.len() - 1]).contains("cut off"));
    assert!(refused(&manager, &[&whole[..], &[0]].concat()).contains("1 more bytes follow"));
    // The length is compared before any memory is allocated.
    let huge = String::from_utf8_lossy(&whole[10..128]).replace("(3, 4)", "(3000000000000, 4)");
    let huge = [
        b"\x93NUMPY\x01\x00".as_slice(),
        &(huge.len() as u16).to_le_bytes(),
        huge.as_bytes(),
        &whole[128..],
    ]
    .concat();
    assert!(refused(&manager, &huge).contains("cut off"));
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// An export with the option to replace put a file in the place of a link: of `current.npy`, which
/// other programs read by the link, and as root of /dev/stdout.
#[test]
fn an_export_writes_through_links() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let array = root.manager().ones::<u8, _>(3).unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("data")).unwrap();
    // Relative, over another link, and to a file that does not exist yet.
    symlink("data/target", at("second")).unwrap();
    symlink(at("second"), at("first")).unwrap();
    Export::new().raw(&array, at("first")).unwrap();
    assert_eq!(fs::read(at("data/target")).unwrap(), [1; 3]);
    let error = Export::new().raw(&array, at("first")).unwrap_err();
    assert!(
        matches!(&error, Error::AlreadyExists { path, .. } if path.ends_with("data/target")),
        "{error}"
    );
    let twos = root.manager().from_elem::<u8, _>(2, 2).unwrap();
    Export::new().replace().raw(&twos, at("first")).unwrap();
    assert_eq!(fs::read(at("data/target")).unwrap(), [2; 2]);
    for link in ["first", "second"] {
        assert!(at(link).symlink_metadata().unwrap().is_symlink());
    }
    symlink("loop", at("loop")).unwrap();
    let error = Export::new().replace().raw(&twos, at("loop")).unwrap_err();
    assert!(error.to_string().contains("too many links"), "{error}");
    symlink("data", at("directory")).unwrap();
    let error = Export::new()
        .replace()
        .raw(&twos, at("directory"))
        .unwrap_err();
    assert!(error.to_string().contains("it is a directory"), "{error}");
}

/// The kernel follows no link that another user put into /tmp (`fs.protected_symlinks`). An export
/// that resolves links itself must not either.
#[test]
fn a_link_of_another_user_in_a_shared_directory_is_not_followed() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    if !rustix::process::geteuid().is_root() {
        common::skip("a_link_of_another_user", "only root can give a link away");
        return;
    }
    let array = root.manager().ones::<u8, _>(3).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let link = scratch.path().join("link");
    symlink("target", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    let error = Export::new().replace().raw(&array, &link).unwrap_err();
    assert!(error.to_string().contains("another user"), "{error}");
    assert!(!scratch.path().join("target").exists());
}

/// Streams were refused, or replaced by files.
#[test]
fn what_is_no_regular_file_gets_and_gives_the_bytes_as_they_come() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<u16, _>(100_000, |i| i as u16)
        .unwrap();
    let (fifo, link) = (scratch.path().join("fifo"), scratch.path().join("link"));
    make_fifo(&fifo);
    symlink(&fifo, &link).unwrap();
    for path in [&fifo, &link] {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| Export::new().npy(&array, path));
            let read = Import::new().npy(&manager, path).unwrap();
            writer.join().unwrap().unwrap();
            assert_eq!(
                read.read_bytes().unwrap(),
                array.into_any().unwrap().read_bytes().unwrap()
            );
        });
    }
    assert!(!fs::symlink_metadata(&fifo).unwrap().is_file());
    // More bytes than the array has, and fewer.
    for (bytes, words) in [
        (&b"12345"[..], "more bytes follow"),
        (&b"123"[..], "ends too early"),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| fs::write(&fifo, bytes).unwrap());
            let u8s = "|u1".parse().unwrap();
            let error = Import::new().raw(&manager, &fifo, &u8s, &[4]).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        });
    }
    Export::new().npy(&array, "/dev/null").unwrap();
    assert!(!fs::symlink_metadata("/dev/null").unwrap().is_file());
    for path in [scratch.path(), Path::new("/dev/zero")] {
        assert!(matches!(
            Import::new().npy(&manager, path),
            Err(Error::Transfer { .. })
        ));
    }
    assert_eq!(manager.list().unwrap().len(), 1);
}

#[test]
fn any_writer_and_reader_carries_every_format() {
    let root = Root::new();
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<u16, _>((3, 4), |(i, j)| (4 * i + j) as u16)
        .unwrap();
    let any = array.into_any().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| fs::read(scratch.path().join(name)).unwrap();
    let mut bytes = Vec::new();
    Export::new().npy_to(&any, &mut bytes).unwrap();
    Export::new().npy(&any, scratch.path().join("npy")).unwrap();
    assert_eq!(bytes, file("npy"));
    Export::new().raw_to(&any, &mut bytes).unwrap();
    // One after another: an import takes no byte more than it needs.
    let mut stream = &bytes[..];
    let npy = Import::new().npy_from(&manager, &mut stream).unwrap();
    let raw = Import::new()
        .raw_from(&manager, &mut stream, any.dtype(), &[3, 4])
        .unwrap();
    assert!(stream.is_empty());
    for read in [npy, raw] {
        assert_eq!(read.read_bytes().unwrap(), any.read_bytes().unwrap());
    }
    #[cfg(feature = "safetensors")]
    {
        let mut bytes = Vec::new();
        Export::new()
            .safetensors_to(&[("a", &any)], &mut bytes)
            .unwrap();
        Export::new()
            .safetensors(&[("a", &any)], scratch.path().join("s"))
            .unwrap();
        assert_eq!(bytes, file("s"));
        let (key, read) = Import::new()
            .safetensors_from(&manager, &bytes[..])
            .unwrap()
            .arrays
            .remove(0);
        assert_eq!((key.as_str(), read.shape()), ("a", &[3, 4][..]));
        let error = Import::new().safetensors_from(&manager, &bytes[..bytes.len() - 1]);
        assert!(error.unwrap_err().to_string().contains("ends too early"));
    }
    #[cfg(feature = "zip")]
    {
        let mut bytes = Vec::new();
        Export::new().npz_to(&[("a", &any)], &mut bytes).unwrap();
        Export::new()
            .npz(&[("a", &any)], scratch.path().join("z"))
            .unwrap();
        assert_eq!(bytes, file("z"));
        let (key, read) = Import::new()
            .npz_from(&manager, &bytes[..])
            .unwrap()
            .arrays
            .remove(0);
        assert_eq!((key.as_str(), read.shape()), ("a", &[3, 4][..]));
    }
    let error = Import::new()
        .npy_from(&manager, &b"\x93NUMPY"[..])
        .unwrap_err();
    assert_eq!(error.to_string(), "stream: it ends too early");
}

#[test]
fn a_missing_file_is_named() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    assert!(matches!(
        Import::new().npy(&manager, scratch.path().join("none")),
        Err(Error::Io { .. })
    ));
}

#[test]
fn an_import_refuses_a_name_that_is_taken() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npy");
    let first = manager.options().name("x").ones::<u8, _>(3).unwrap();
    Export::new().npy(&first, &path).unwrap();
    assert!(matches!(
        Import::new().name("x").npy(&manager, &path),
        Err(Error::AlreadyExists { .. })
    ));
    assert!(matches!(
        Import::new().name(".x").npy(&manager, &path),
        Err(Error::Name { .. })
    ));
    assert_eq!(manager.array::<u8, Ix1>("x").unwrap().id(), first.id());
    let told = Import::new()
        .dtype(&"<f8".parse().unwrap())
        .npy(&manager, &path)
        .unwrap_err()
        .to_string();
    assert!(told.contains("|u1") && told.contains("<f8"), "{told}");
}

#[test]
fn typed_frozen_and_run_time_typed_arrays_are_exported_alike() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let typed = manager
        .from_shape_fn::<i16, _>((3, 4), |(i, j)| (10 * i + j) as i16)
        .unwrap();
    let (any, frozen) = (typed.into_any().unwrap(), typed.freeze().unwrap());
    let view = typed.slice(s![.., ..]).unwrap();
    let arrays: [&dyn Exportable; 4] = [&typed, &any, &frozen, &view];
    let mut files = Vec::new();
    for (number, array) in arrays.into_iter().enumerate() {
        let path = scratch.path().join(number.to_string());
        Export::new().npy(array, &path).unwrap();
        files.push(fs::read(&path).unwrap());
        Export::new().replace().raw(array, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), contents(&any));
    }
    assert!(files.iter().all(|file| *file == files[0]));
}

/// Checks the labels of an array that was imported with the settings of [`labelled`].
fn check_labels(array: &AnyArray, name: &str) {
    assert_eq!(
        (array.name().as_deref(), array.scope()),
        (Some(name), Scope::Local)
    );
    assert_eq!(array.attrs::<BTreeMap<String, u8>>().unwrap()["gain"], 3);
    let axis_names = ["row", "column"].map(|name| Some(name.to_owned()));
    assert_eq!(array.axis_names(), axis_names);
}

fn labelled() -> Import<'static> {
    Import::new()
        .scope(Scope::Local)
        .attrs(&BTreeMap::from([("gain", 3)]))
        .unwrap()
        .axis_names(["row", "column"])
}

#[test]
fn imported_arrays_get_the_name_attributes_axis_names_and_scope_that_were_set() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let array = manager.ones::<u8, _>((3, 4)).unwrap();
    Export::new().npy(&array, &path).unwrap();
    check_labels(&labelled().name("npy").npy(&manager, &path).unwrap(), "npy");
    let file = Export::new().replace();
    file.raw(&array, &path).unwrap();
    let raw = labelled()
        .name("raw")
        .raw(&manager, &path, &u8::DTYPE, &[3, 4]);
    check_labels(&raw.unwrap(), "raw");
    #[cfg(feature = "zip")]
    {
        file.npz(&[("x", &array), ("y", &array)], &path).unwrap();
        let read = labelled().prefix("npz.").npz(&manager, &path).unwrap();
        check_labels(&read.arrays[0].1, "npz.x");
        check_labels(&read.arrays[1].1, "npz.y");
    }
    #[cfg(feature = "safetensors")]
    {
        file.safetensors(&[("x", &array)], &path).unwrap();
        let read = labelled().prefix("st.").safetensors(&manager, &path);
        check_labels(&read.unwrap().arrays[0].1, "st.x");
    }
    // Without settings an array has no name, and is local.
    file.npy(&array, &path).unwrap();
    let plain = Import::new().npy(&manager, &path).unwrap();
    assert_eq!((plain.name(), plain.scope()), (None, Scope::Local));
    let named = Import::new().name("named").npy(&manager, &path).unwrap();
    assert_eq!(named.scope(), Scope::Store);
    let wrong = Import::new().axis_names(["row"]).npy(&manager, &path);
    assert!(matches!(wrong, Err(Error::Attrs { .. })));
}

#[test]
fn a_name_is_for_one_array_and_a_prefix_for_several() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let array = manager.ones::<u8, _>(3).unwrap();
    let file = Export::new().replace();
    let prefixed = Import::new().prefix("x");
    file.npy(&array, &path).unwrap();
    let found = prefixed.npy(&manager, &path);
    assert!(matches!(found, Err(Error::Name { reason, .. }) if reason.contains("give a name")));
    file.raw(&array, &path).unwrap();
    let found = prefixed.raw(&manager, &path, &u8::DTYPE, &[3]);
    assert!(matches!(found, Err(Error::Name { .. })));
    #[cfg(feature = "zip")]
    {
        file.npz(&[("x", &array)], &path).unwrap();
        let found = Import::new().name("x").npz(&manager, &path);
        assert!(
            matches!(found, Err(Error::Name { reason, .. }) if reason.contains("give a prefix"))
        );
    }
    #[cfg(feature = "safetensors")]
    {
        file.safetensors(&[("x", &array)], &path).unwrap();
        let found = Import::new().name("x").safetensors(&manager, &path);
        assert!(matches!(found, Err(Error::Name { .. })));
    }
    assert_eq!(manager.list().unwrap().len(), 1);
}

#[test]
fn progress_ends_at_the_total() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npy");
    let (last, total, calls) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let progress = |done, all| {
        assert!(done > last.swap(done, SeqCst) && done <= all);
        total.store(all, SeqCst);
        calls.fetch_add(1, SeqCst);
    };
    let array = manager.ones::<u8, _>(20_000_000).unwrap();
    Export::new()
        .progress(&progress)
        .npy(&array, &path)
        .unwrap();
    assert_eq!(
        (last.swap(0, SeqCst), total.load(SeqCst)),
        (20_000_000, 20_000_000)
    );
    Import::new()
        .progress(&progress)
        .npy(&manager, &path)
        .unwrap();
    assert_eq!(
        (last.load(SeqCst), total.load(SeqCst)),
        (20_000_000, 20_000_000)
    );
    assert!((8..20).contains(&calls.load(SeqCst)));
}

#[test]
#[ignore = "started by others"]
fn child_that_hangs_in_a_transfer() {
    let arguments = common::arguments();
    let manager = Manager::builder().path(&arguments[0]).open().unwrap();
    let hangs = |done, _| {
        if done > 8 << 20 {
            println!("hanging");
            std::thread::sleep(Duration::from_secs(600));
        }
    };
    match arguments[1].as_str() {
        "export" => Export::new()
            .progress(&hangs)
            .npy(&manager.array_any("big").unwrap(), &arguments[2])
            .unwrap(),
        _ => drop(
            Import::new()
                .name("copy")
                .progress(&hangs)
                .npy(&manager, &arguments[2])
                .unwrap(),
        ),
    }
}

/// Kills a process in the middle of a transfer.
fn killed_amid(verb: &str, manager: &Manager, file: &Path) {
    use std::io::BufRead;
    let arguments = [
        manager.path().to_str().unwrap(),
        verb,
        file.to_str().unwrap(),
    ];
    let mut child = common::child_command(child_that_hangs_in_a_transfer, &arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("hanging")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_kill_during_an_export_leaves_no_file_and_during_an_import_a_file_for_the_sweep() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let big = manager
        .options()
        .name("big")
        .from_shape_fn::<u8, _>(32 << 20, |i| i as u8)
        .unwrap();
    killed_amid("export", &manager, &scratch.path().join("x.npy"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    let path = scratch.path().join("big.npy");
    Export::new().npy(&big, &path).unwrap();
    killed_amid("import", &manager, &path);
    let names = || {
        fs::read_dir(manager.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(!manager.contains("copy").unwrap());
    assert_eq!(
        (manager.list().unwrap().len(), names().len()),
        (1, 3),
        "{:?}",
        names()
    );
    manager.sweep().unwrap();
    assert_eq!(names().len(), 2, "{:?}", names());
}

#[cfg(feature = "zip")]
mod npz {
    use super::*;

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
            for (((key, _), array), (key_read, array_read)) in keyed.iter().zip(&arrays).zip(&read)
            {
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
}

#[cfg(feature = "safetensors")]
mod safetensors {
    use super::*;

    #[test]
    fn every_type_of_the_format_comes_back() {
        let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
        let manager = root.manager();
        let texts = [
            "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "bfloat16",
            "<f4", "<f8", "<c8", "(3,)<f4",
        ];
        let arrays: Vec<_> = texts
            .iter()
            .flat_map(|text| shapes().map(|shape| sample(&manager, &text.parse().unwrap(), shape)))
            .collect();
        let keyed: Vec<_> = arrays
            .iter()
            .enumerate()
            .map(|(number, array)| (format!("x \"{number}\""), array as &dyn Exportable))
            .collect();
        let path = scratch.path().join("x");
        Export::new().safetensors(&keyed, &path).unwrap();
        let read = Import::new().safetensors(&manager, &path).unwrap().arrays;
        assert_eq!(read.len(), keyed.len());
        for ((key, _), array) in keyed.iter().zip(&arrays) {
            let (_, found) = read.iter().find(|(found, _)| found == key).unwrap();
            assert_eq!(contents(array), contents(found));
        }
        for text in ["|V5", "<c16", "uint128"] {
            let array = sample(&manager, &text.parse().unwrap(), &[3]);
            let error = Export::new()
                .safetensors(&[("x", &array)], scratch.path().join("y"))
                .unwrap_err();
            assert!(matches!(error, Error::Transfer { .. }));
        }
        let view = manager
            .from_shape_fn::<u8, _>((3, 4).f(), |(i, j)| (4 * i + j) as u8)
            .unwrap();
        Export::new()
            .safetensors(&[("x", &view)], scratch.path().join("f"))
            .unwrap();
        assert_eq!(
            Import::new()
                .safetensors(&manager, scratch.path().join("f"))
                .unwrap()
                .arrays[0]
                .1
                .read_bytes()
                .unwrap(),
            (0..12).collect::<Vec<u8>>()
        );
    }

    #[test]
    fn hostile_headers_make_no_array() {
        let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
        let manager = root.manager();
        let path = scratch.path().join("x");
        let file = |json: &str, data: usize| {
            [
                &(json.len() as u64).to_le_bytes()[..],
                json.as_bytes(),
                &vec![7; data],
            ]
            .concat()
        };
        let tensor = |dtype: &str, shape: &str, from: u64, to: u64| {
            format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
        };
        let good = file(
            &format!(
                r#"{{"__metadata__":{{"a":"b"}},"x":{}}}  "#,
                tensor("U8", "[3]", 0, 3)
            ),
            3,
        );
        fs::write(&path, &good).unwrap();
        assert_eq!(
            Import::new().safetensors(&manager, &path).unwrap().arrays[0]
                .1
                .read_bytes()
                .unwrap(),
            [7; 3]
        );
        let one = |tensor: String| format!(r#"{{"x":{tensor}}}"#);
        let cases = [
            (u64::MAX.to_le_bytes().to_vec(), "longer than the file"),
            (
                200_000_000u64.to_le_bytes().to_vec(),
                "longer than the file",
            ),
            (vec![1; 5], "ends too early"),
            (file("[]", 0), "brace"),
            (file("{", 0), "EOF"),
            (file(&one(tensor("U8", "[3]", 0, 3)), 4), "the file has 4"),
            (file(&one(tensor("U8", "[3]", 0, 3)), 2), "the file has 2"),
            (file(&one(tensor("U8", "[3]", 1, 4)), 4), "match neither"),
            (file(&one(tensor("U8", "[3]", 0, 4)), 4), "match neither"),
            (file(&one(tensor("U8", "[3]", 3, 0)), 3), "match neither"),
            (
                file(
                    &one(tensor(
                        "U8",
                        "[18446744073709551615,18446744073709551615]",
                        0,
                        1,
                    )),
                    1,
                ),
                "match neither",
            ),
            (file(&one(tensor("U8", "[-1]", 0, 1)), 1), "header"),
            (file(&one(tensor("F8_E4M3", "[1]", 0, 1)), 1), "F8_E4M3"),
            (
                file(
                    &one(tensor("U8", &format!("[{}1]", "1,".repeat(32)), 0, 1)),
                    1,
                ),
                "33 axes",
            ),
            (
                file(
                    &format!(r#"{{"x":{0},"x":{0}}}"#, tensor("U8", "[1]", 0, 1)),
                    1,
                ),
                "duplicate key",
            ),
            (
                file(
                    &format!(r#"{{"x":{0},"y":{0}}}"#, tensor("U8", "[1]", 0, 1)),
                    1,
                ),
                "match neither",
            ),
            (
                file(r#"{"x":{"dtype":"U8","shape":[1]}}"#, 1),
                "data_offsets",
            ),
        ];
        for (bytes, expected) in cases {
            fs::write(&path, &bytes).unwrap();
            let error = Import::new().safetensors(&manager, &path).unwrap_err();
            assert!(
                matches!(error, Error::Transfer { .. }) && error.to_string().contains(expected),
                "{error}"
            );
        }
        assert_eq!(manager.list().unwrap().len(), 0);
    }
}
