//! What errors say: the mistaken name first, then the store; the file, what was expected, and the
//! next step. Advice on the mode of a directory is for stores alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{Peer, Root, arguments, done};
use ndarray::{Ix1, Ix2};
use ndshm::{AnyArray, ArrayInfo, Error, Export, Handle, Manager, Observer, SharedArray1};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Every function that takes the path of an array or a store, with its name.
fn calls(path: &Path, handle: &Handle) -> Vec<(&'static str, ndshm::Result<()>)> {
    let store = handle.path().parent().unwrap().to_str().unwrap();
    let directory = path.parent().unwrap().to_str().unwrap();
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let own_stem = handle.path().file_stem().unwrap().to_str().unwrap();
    // A handle's path ends in the suffix of arrays.
    let text = handle
        .to_string()
        .replace(store, directory)
        .replace(&format!("{own_stem}.ndshm"), &format!("{stem}.ndshm"));
    let handle: Handle = text.parse().unwrap();
    vec![
        ("open_path", SharedArray1::<f64>::open_path(path).map(drop)),
        ("open_path any", AnyArray::open_path(path).map(drop)),
        ("ArrayInfo::at", ArrayInfo::at(path).map(drop)),
        ("Manager::open", Manager::open(path).map(drop)),
        ("Observer::open", Observer::open(path).map(drop)),
        ("Handle::open", handle.open::<f64, Ix1>().map(drop)),
        ("Handle::info", handle.info().map(drop)),
        (
            "wait_frozen",
            handle.wait_frozen(Duration::from_millis(1)).map(drop),
        ),
        (
            "sweep_when_deserted",
            Manager::sweep_when_deserted(path).map(drop),
        ),
    ]
}

/// `open("typo")`, /etc/passwd and handles to missing files were answered with "its mode is 755:
/// chmod 700", about the directory around the name: advice that makes /etc inaccessible.
#[test]
fn a_mistaken_path_is_never_answered_with_advice_on_a_mode() {
    let root = Root::new();
    let manager = root.manager();
    let handle = manager
        .options()
        .name("xs")
        .zeros::<f64, _>(3)
        .unwrap()
        .handle();
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("short"), "text").unwrap();
    fs::write(at("long"), vec![b'x'; 100_000]).unwrap();
    fs::write(at("shared"), vec![b'x'; 100_000]).unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/.lock"), "another program's").unwrap();
    chmod(&at("shared"), 0o666);
    for mode in [0o700, 0o755, 0o777] {
        chmod(scratch.path(), mode);
        chmod(&at("directory"), mode);
        chmod(&at("other"), mode);
        let names = [
            "typo",
            "directory",
            "short",
            "long",
            "shared",
            "short/typo",
            "none/typo",
            "other",
        ];
        for path in names
            .map(at)
            .into_iter()
            .chain([PathBuf::from("/etc/passwd"), "/etc".into()])
        {
            for (call, result) in calls(&path, &handle) {
                let Err(error) = result else {
                    panic!("{call} takes {}", path.display())
                };
                let text = error.to_string();
                assert!(
                    !text.contains("chmod") && !text.contains("its mode is"),
                    "{call} of {} with mode {mode:o}: {text}",
                    path.display()
                );
            }
            for error in [ndshm::verify(&path).err(), Manager::create(&path).err()]
                .into_iter()
                .flatten()
            {
                assert!(!error.to_string().contains("chmod"), "{error}");
            }
            let _ = fs::remove_dir_all(at("none"));
            if at("typo").exists() {
                Manager::open(at("typo")).unwrap().close().unwrap();
            }
        }
        let error = Manager::open_or_create(at("directory")).unwrap_err();
        assert!(
            matches!(&error, Error::Untrusted { path, reason } if *path == at("directory")
                && reason.contains("no store")),
            "{error}"
        );
        if mode == 0o777 {
            let error = Manager::sweep_root(scratch.path()).unwrap_err().to_string();
            assert!(
                error.contains("mkdir -m 700") && !error.contains("chmod"),
                "{error}"
            );
        }
    }
    // A store whose mode is wrong gets the advice, and so does an array in one.
    chmod(manager.path(), 0o755);
    let path = manager.path().join("xs.ndshm");
    for error in [
        Observer::open(manager.path()).unwrap_err(),
        Manager::open(manager.path()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }
    chmod(manager.path(), 0o700);
    chmod(&path, 0o666);
    let error = ArrayInfo::at(&path).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    chmod(&path, 0o600);
}

/// As above: the fault of the name comes first.
#[test]
fn a_mistaken_path_is_answered_with_the_fault_of_the_name() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").zeros::<f64, _>(3).unwrap();
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("text"), vec![b'x'; 100_000]).unwrap();
    fs::copy(xs.path(), at("xs.ndshm")).unwrap();
    chmod(scratch.path(), 0o755);
    let said = |path: &Path| AnyArray::open_path(path).unwrap_err().to_string();
    for (path, words) in [
        (at("typo"), "typo: not found: no such array"),
        (PathBuf::from("typo"), "typo: not found: no such array"),
        (at("text/typo"), "typo: not found: no such array"),
        (
            at("text"),
            "text: not an ndshm file; name the file of an array",
        ),
        (
            PathBuf::from("/etc/passwd"),
            "/etc/passwd: not an ndshm file",
        ),
        (
            scratch.path().into(),
            "it is not a regular file but a directory",
        ),
        (
            manager.path().into(),
            "it is a store: open it with Manager::open",
        ),
        (at("xs.ndshm"), "it is an array outside of a store"),
    ] {
        assert!(
            said(&path).contains(words),
            "{}: {}",
            path.display(),
            said(&path)
        );
    }
    let text = Manager::open(at("typo")).unwrap_err().to_string();
    assert!(
        text.contains("no store is here; correct the path"),
        "{text}"
    );
    let text = manager.array::<f64, Ix1>("ys").unwrap_err().to_string();
    assert!(
        text.contains("ys.ndshm: not found") && text.contains("Manager::list"),
        "{text}"
    );
    // A handle with another name than its array has finds it by its id, as after a rename.
    let renamed = xs.handle().to_string().replace("xs.ndshm", "ys.ndshm");
    let renamed: Handle = renamed.parse().unwrap();
    assert_eq!(renamed.info().unwrap().name.as_deref(), Some("xs"));
    xs.release().unwrap();
    assert!(matches!(
        renamed.info(),
        Err(Error::Released { path, .. }) if path.ends_with("ys.ndshm")
    ));
}

#[test]
#[ignore = "started by another test"]
fn child_with_a_store() {
    let _manager = Manager::builder()
        .path(arguments().remove(0))
        .ephemeral()
        .create()
        .unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    done();
}

/// "already exists; open it, or choose another name" stood at every taken path: of a file that an
/// export would replace, of a store whose processes are dead, of a directory that is no store.
#[test]
fn a_taken_path_is_answered_with_the_next_step() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").zeros::<f64, _>(3).unwrap();
    let said = |error: Error| {
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        error.to_string()
    };
    let text = said(manager.options().name("xs").zeros::<f64, _>(3).unwrap_err());
    assert!(
        text.contains("xs.ndshm: already exists; open it, release it"),
        "{text}"
    );
    let file = root.path().join("xs.npy");
    fs::write(&file, "mine").unwrap();
    let text = said(Export::new().npy(&xs, &file).unwrap_err());
    assert!(text.contains("replace it with Export::replace"), "{text}");
    let text = said(Manager::create(root.path()).unwrap_err());
    assert!(text.contains("no store"), "{text}");
    let path = root.path().join("dead");
    let mut peer = Peer::start(child_with_a_store, &[&path]);
    peer.hear("ready");
    let text = said(Manager::create(&path).unwrap_err());
    assert!(text.contains("open it with Manager::open, or"), "{text}");
    peer.kill();
    let text = said(Manager::create(&path).unwrap_err());
    assert!(
        text.contains("delete it with Manager::sweep_root"),
        "{text}"
    );
    Manager::sweep_root(root.path()).unwrap();
    let made = Manager::create(&path).unwrap();
    let text = said(Manager::create(&path).unwrap_err());
    assert!(text.contains("Manager::open_or_create"), "{text}");
    made.close().unwrap();
}

/// Attributes that do not fit were called a damaged header of the store's directory.
#[test]
fn a_header_that_is_too_long_names_the_array_and_the_limit() {
    let root = Root::new();
    let manager = root.manager();
    let long = "x".repeat(70_000);
    let attrs = BTreeMap::from([("note", &long)]);
    for (error, name) in [
        (
            manager
                .options()
                .name("xs")
                .attrs(&attrs)
                .and_then(|options| options.zeros::<f64, _>(3))
                .unwrap_err(),
            "xs.ndshm",
        ),
        (
            manager
                .options()
                .name("ys")
                .axis_names([&long])
                .zeros_any(&"<f8".parse().unwrap(), &[3])
                .unwrap_err(),
            "ys.ndshm",
        ),
    ] {
        let text = error.to_string();
        assert!(
            matches!(error, Error::Attrs { .. })
                && text.contains(name)
                && text.contains("at most 65536 fit"),
            "{text}"
        );
    }
    assert!(manager.list().unwrap().is_empty());
}

#[test]
fn a_wrong_type_rank_or_wait_names_the_way_that_works() {
    let root = Root::new();
    let manager = root.manager();
    let parts = manager.zeros::<[f32; 3], _>(4).unwrap();
    let text = parts.handle().open::<f32, Ix1>().unwrap_err().to_string();
    assert!(text.contains("field_array or unpack"), "{text}");
    let text = parts.handle().open::<u8, Ix1>().unwrap_err().to_string();
    assert!(text.contains("or as AnyArray"), "{text}");
    let text = parts
        .handle()
        .open::<[f32; 3], Ix2>()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("has 1 dimensions, not 2: open it with Ix1"),
        "{text}"
    );
    let xs = manager.zeros::<f64, _>(4).unwrap();
    let guard = xs.write().unwrap();
    let text = crate::common::elsewhere(|| xs.try_read().map(drop).unwrap_err().to_string());
    assert!(text.contains("wait for it with read"), "{text}");
    let wait = Duration::from_millis(1);
    let text =
        crate::common::elsewhere(|| xs.read_timeout(wait).map(drop).unwrap_err().to_string());
    assert!(
        text.contains(": this process holds ") && text.contains("wait longer, or look with"),
        "{text}"
    );
    drop(guard);
}

/// One damaged file hid all arrays of the store from `list` and `usage`, and so from every program
/// that looks for its arrays.
#[test]
fn one_damaged_file_does_not_hide_the_others() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").zeros::<f64, _>(3).unwrap();
    let ys = manager.options().name("ys").zeros::<f64, _>(3).unwrap();
    let usage = manager.usage().unwrap();
    let at = |name: &str| manager.path().join(name);
    fs::write(at("text.ndshm"), "no array").unwrap();
    let mut copy = fs::read(xs.path()).unwrap();
    fs::write(at("copy.ndshm"), &copy).unwrap();
    copy[68] ^= 1; // in the header, which still names the store
    fs::write(at("flipped.ndshm"), &copy).unwrap();
    fs::write(at("short.ndshm"), &copy[..4000]).unwrap();
    fs::create_dir(at("directory.ndshm")).unwrap();
    std::os::unix::fs::symlink(xs.path(), at("link.ndshm")).unwrap();
    chmod(ys.path(), 0o666);
    let names = |manager: &Manager| -> Vec<_> {
        let list = manager.list().unwrap().into_iter();
        list.filter_map(|info| info.name).collect()
    };
    assert!(names(&manager).contains(&"xs".to_owned()) && !names(&manager).contains(&"ys".into()));
    let damaged = manager.damaged().unwrap();
    let said: Vec<_> = damaged.iter().map(ToString::to_string).collect();
    let strays = Observer::open(manager.path()).unwrap().strays().unwrap();
    for (name, is_of_store) in [
        ("directory", false),
        ("flipped", true),
        ("link", false),
        ("short", true),
        ("text", false),
        ("ys", true),
    ] {
        let path = at(&format!("{name}.ndshm"));
        let is_named = |text: &&String| text.starts_with(path.to_str().unwrap());
        let times = said.iter().filter(is_named).count();
        assert_eq!(times, usize::from(is_of_store), "{name}: {said:#?}");
        assert_eq!(strays.contains(&path), !is_of_store, "{name}");
        // Its name is taken.
        assert!(manager.contains(name).unwrap(), "{name}");
    }
    assert!(manager.usage().unwrap().arrays >= 1);
    assert!(manager.array::<f64, Ix1>("xs").is_ok());
    chmod(ys.path(), 0o600);
    for name in ["copy", "flipped", "short", "text"] {
        fs::remove_file(at(&format!("{name}.ndshm"))).unwrap();
    }
    fs::remove_dir(at("directory.ndshm")).unwrap();
    fs::remove_file(at("link.ndshm")).unwrap();
    assert_eq!(names(&manager), ["xs", "ys"]);
    assert!(manager.damaged().unwrap().is_empty());
    assert_eq!(manager.usage().unwrap().arrays, usage.arrays);
}
