//! No space, no address space, no huge pages: errors, with nothing changed.

use super::*;
use crate::common::files_below;
use ndshm::HugePages;
use rustix::process::{Resource, Rlimit, setrlimit};

#[test]
fn a_full_tmpfs_is_an_error_of_the_append_and_nothing_has_changed() {
    let root = Root::new();
    common::run_on_tmpfs(
        "a_full_tmpfs_is_an_error_of_the_append_and_nothing_has_changed",
        child_appends_until_it_is_full,
        "8m",
        root.path(),
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_appends_until_it_is_full() {
    let root = common::arguments().remove(0);
    let manager = Manager::builder().root(&root).create().unwrap();
    let log = manager.options().growing::<u64, _>(1 << 30, 512).unwrap();
    let mut rows = 0;
    let refused = loop {
        match log.append(&Array2::from_elem((16, 512), rows)) {
            Ok(_) => rows += 16,
            Err(error) => break error,
        }
        assert!(rows < 4096, "the tmpfs is never full");
    };
    assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
    assert!(rows >= 1024, "after {rows} rows of a page");
    assert_eq!(log.len() as u64, rows);
    // All that is there can be read and opened anew, and a filled page more is no signal.
    let all = log.all().unwrap();
    for (number, row) in all.outer_iter().enumerate() {
        assert!(row.iter().all(|&x| x == (number as u64) / 16 * 16));
    }
    let handle = log.handle();
    assert_eq!(
        handle.open_growing::<u64, Ix2>().unwrap().len() as u64,
        rows
    );
    let again = log.append(&Array2::zeros((16, 512))).unwrap_err();
    assert!(matches!(again, Error::NoSpace { .. }), "{again}");
    // Another process opens it on the full file system.
    common::run(child_counts, &[handle.to_string(), rows.to_string()]);
    // With space again it goes on.
    drop(all);
    let other = manager.options().growing::<u64, _>(1 << 30, 512).unwrap();
    drop(other);
    log.release().unwrap();
    drop(log);
    assert_eq!(files_below(Path::new(&root)).len(), 2);
    let log = manager.options().growing::<u64, _>(1 << 30, 512).unwrap();
    log.append(&Array2::zeros((1024, 512))).unwrap();
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_counts() {
    let [handle, rows] = common::arguments().try_into().unwrap();
    let log = handle
        .parse::<Handle>()
        .unwrap()
        .open_growing::<u64, Ix2>()
        .unwrap();
    assert_eq!(log.len(), rows.parse::<usize>().unwrap());
    assert_eq!(log.all().unwrap().shape()[1], 512);
    common::done();
}

#[test]
fn a_limit_on_files_is_an_error_of_the_append() {
    let root = Root::new();
    common::run(child_with_a_limit_on_files, &[root.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_with_a_limit_on_files() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let log = manager.options().growing::<u8, _>(1 << 30, 4096).unwrap();
    let limit = Rlimit {
        current: Some(100_000),
        maximum: Some(100_000),
    };
    setrlimit(Resource::Fsize, limit).unwrap();
    // Less than a step fits.
    log.append(&Array2::ones((20, 4096))).unwrap();
    let refused = log.append(&Array2::ones((20, 4096))).unwrap_err();
    assert!(
        matches!(refused, Error::NoSpace { limited_by, .. } if limited_by.contains("FSIZE")),
        "{refused}"
    );
    log.append(&Array2::ones((1, 4096))).unwrap();
    assert_eq!(log.len(), 21);
    common::done();
}

#[test]
fn too_little_address_space_is_a_clear_error() {
    let root = Root::new();
    common::run(child_with_little_address_space, &[root.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_with_little_address_space() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let large = manager
        .options()
        .name("large")
        .growing::<u8, _>(1 << 40, ())
        .unwrap();
    large.push(1).unwrap();
    drop(large);
    let limit = Rlimit {
        current: Some(16 << 30),
        maximum: Some(16 << 30),
    };
    setrlimit(Resource::As, limit).unwrap();
    let options = manager.options();
    for refused in [
        options.growing::<u8, _>(1 << 40, ()).unwrap_err(),
        manager.growing::<u8, Ix1>("large").unwrap_err(),
    ] {
        let text = refused.to_string();
        assert!(
            matches!(refused, Error::AddressSpace { limit: Some(limit), .. } if limit == 16 << 30),
            "{text}"
        );
        assert!(text.contains("RLIMIT_AS"), "{text}");
    }
    assert_eq!(manager.list().unwrap().len(), 1);
    assert_eq!(files_below(manager.path()).len(), 2);
    options
        .growing::<u8, _>(1 << 30, ())
        .unwrap()
        .push(1)
        .unwrap();
    common::done();
}

#[test]
fn a_terabyte_of_address_space_costs_no_memory() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().growing::<f32, _>(1 << 38, ()).unwrap();
    log.append(&Array::ones(1000)).unwrap();
    assert_eq!(log.all().unwrap().sum(), 1000.0);
    assert!(manager.usage().unwrap().allocated < 4 << 20);
}

#[test]
fn huge_pages_are_made_or_missed_as_the_setting_says() {
    for wanted in [HugePages::Never, HugePages::Auto, HugePages::Require] {
        let root = Root::new();
        let manager = Manager::builder()
            .root(root.path())
            .huge_pages(wanted)
            .create()
            .unwrap();
        let log = manager.options().growing::<u64, _>(1 << 30, 512).unwrap();
        let mut appended = Ok(0);
        for row in 0..2000 {
            appended = log.append_row(&Array::from_elem(512, row));
            if appended.is_err() {
                break;
            }
        }
        match appended {
            Ok(last) => assert_eq!(last, 1999),
            // Where the machine gives none.
            Err(Error::Io { .. }) if wanted == HugePages::Require => continue,
            Err(error) => panic!("{error}"),
        }
        for (number, row) in log.all().unwrap().outer_iter().enumerate() {
            assert!(row.iter().all(|&x| x == number as u64), "row {number}");
        }
    }
}
