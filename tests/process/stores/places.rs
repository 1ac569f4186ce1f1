//! The places of stores: roots, relative paths, links.

use super::*;

#[test]
fn the_root_is_the_one_of_the_environment_and_never_another() {
    let root = Root::new();
    let with = |value: &Path, expected: &str| {
        let mut command =
            common::child_command(child_makes_a_store_in_the_default_root, &[expected]);
        command
            .env("NDSHM_ROOT", value)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        common::finish(command.spawn().unwrap());
    };
    with(&root.path().join("made"), "made");
    with(&root.path().join("missing/made"), "error");
    assert_eq!(root.contents(), [root.path().join("made")]);
}

#[test]
#[ignore = "runs in a child"]
fn child_makes_a_store_in_the_default_root() {
    let root = std::env::var_os("NDSHM_ROOT").unwrap();
    match (common::arguments()[0].as_str(), Manager::new()) {
        ("made", Ok(manager)) => assert!(manager.path().starts_with(root)),
        ("error", Err(error)) => assert!(error.to_string().contains("NDSHM_ROOT"), "{error}"),
        (expected, found) => panic!("{expected}: {found:?}"),
    }
    common::done();
}

#[test]
fn an_unusual_file_system_needs_the_switch() {
    // sysfs is on every Linux machine, and nothing can be made in it: only the check of the
    // directory is of interest.
    let error = Manager::builder().root("/sys/kernel").create().unwrap_err();
    assert!(
        matches!(&error, Error::Untrusted { .. }) && error.to_string().contains("any_file_system")
            || !is_root(),
        "{error}"
    );
    let error = Manager::builder()
        .root("/sys/kernel")
        .any_file_system()
        .create()
        .unwrap_err();
    assert!(!error.to_string().contains("any_file_system"), "{error}");
}

#[test]
fn a_store_is_made_and_opened_by_a_relative_path() {
    let root = Root::new();
    common::run(child_uses_relative_paths, &[root.path()]);
    assert_eq!(root.contents(), NOTHING);
}

#[test]
#[ignore = "runs in a child"]
fn child_uses_relative_paths() {
    let root = PathBuf::from(common::arguments().remove(0));
    std::env::set_current_dir(&root).unwrap();
    for path in ["run-7", "./run-7", "../run-7"] {
        std::fs::create_dir_all("deeper").unwrap();
        if path.starts_with("..") {
            std::env::set_current_dir("deeper").unwrap();
        }
        let manager = Manager::create(path).unwrap();
        assert_eq!(manager.path(), root.join("run-7"));
        assert_eq!(Manager::open(path).unwrap().path(), manager.path());
        manager.close().unwrap();
    }
    std::fs::remove_dir(root.join("deeper")).unwrap();
    common::done();
}

#[test]
fn opening_makes_no_root() {
    let root = Root::new();
    let missing = root.path().join("missing");
    assert!(matches!(
        Manager::builder().root(&missing).name("run-7").open(),
        Err(Error::NotFound { .. })
    ));
    assert!(!missing.exists());
    let manager = Manager::builder()
        .root(&missing)
        .name("run-7")
        .open_or_create()
        .unwrap();
    assert!(manager.is_owner() && missing.exists());
}

#[test]
fn a_store_that_is_reached_through_a_link_is_joined_once() {
    let root = Root::new();
    let real = root.path().join("real");
    std::fs::create_dir(&real).unwrap();
    chmod(&real, 0o700);
    std::os::unix::fs::symlink(&real, root.path().join("link")).unwrap();
    let manager = Manager::builder()
        .root(&real)
        .name("run-7")
        .create()
        .unwrap();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let text = xs.handle().to_string().replace("/real/", "/link/");
    let linked: ndshm::SharedArray1<f64> = text.parse::<ndshm::Handle>().unwrap().open().unwrap();
    assert_eq!(
        linked.scope(),
        Scope::Local,
        "it is the process that owns it"
    );
    let _guard = xs.write().unwrap();
    assert!(matches!(
        linked.try_write(),
        Err(Error::WouldDeadlock { .. })
    ));
}

#[test]
fn a_taken_path_is_refused_with_the_advice_for_its_store() {
    let root = Root::new();
    let advice = |path: &Path| match Manager::builder().path(path).create() {
        Err(Error::AlreadyExists { next, .. }) => next,
        other => panic!("{other:?}"),
    };
    let living = root.manager();
    assert!(advice(living.path()).starts_with("open it with Manager::open, or choose"));
    let persistent = root.path().join("persistent");
    drop(
        Manager::builder()
            .path(&persistent)
            .persistent()
            .create()
            .unwrap(),
    );
    assert!(advice(&persistent).contains("Manager::open_or_create"));
    let child = common::start(sweeps::child_kills_itself, &[root.path()]);
    child.wait_with_output().unwrap();
    let stores: Vec<_> = ndshm::Observer::stores(root.path()).unwrap();
    let dead = stores
        .iter()
        .find(|path| **path != living.path() && **path != persistent);
    assert!(advice(dead.unwrap()).contains("its processes are gone"));
    let directory = root.path().join("directory");
    std::fs::create_dir(&directory).unwrap();
    assert!(advice(&directory).starts_with("it is no store"));
}
