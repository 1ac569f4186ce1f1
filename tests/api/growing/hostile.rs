//! Words that other programs wrote into the file of an array that grows: no length is believed that
//! the file does not have, and no row that was there changes.

use super::*;
use crate::common::words::{self, APPENDER, COMMITTED, RESERVED};
use std::{fs::File, path::Path};

fn log_of(manager: &Manager, rows: u64) -> GrowingArray<u64, Ix1> {
    let log = manager.options().name("log").growing(1 << 30, ()).unwrap();
    log.append(&Array::from_iter(0..rows)).unwrap();
    log
}

fn set(path: &Path, word: u64, value: u64) {
    words::set(path, words::growth_at(path) + word, value);
}

#[test]
fn a_length_that_the_file_does_not_have_is_not_believed() {
    let root = Root::new();
    let manager = root.manager();
    let log = log_of(&manager, 3);
    // Beyond the file, the maximum, and all numbers.
    for committed in [1 << 20, 1 << 30, (1 << 30) + 1, 1 << 61, u64::MAX] {
        set(log.path(), COMMITTED, committed);
        assert_eq!(log.len(), 3, "{committed}");
        for refused in [
            log.all().map(drop),
            log.push(1).map(drop),
            log.wait_grown(3, SHORT).map(drop),
            log.flush(),
            log.freeze(),
        ] {
            assert!(matches!(refused, Err(Error::Header { .. })), "{refused:?}");
        }
        let info = log.handle().info().unwrap();
        assert!(info.byte_len as u64 <= std::fs::metadata(log.path()).unwrap().len());
    }
    set(log.path(), COMMITTED, 4);
    assert_eq!(log.all().unwrap().len(), 4);
}

#[test]
fn a_reserved_space_that_is_not_there_is_not_believed() {
    let root = Root::new();
    let manager = root.manager();
    let log = log_of(&manager, 3);
    for (committed, reserved) in [(1 << 29, 1 << 33), (1 << 29, u64::MAX), (1 << 29, 0)] {
        set(log.path(), RESERVED, reserved);
        set(log.path(), COMMITTED, committed);
        assert!(matches!(log.all(), Err(Error::Header { .. })));
        assert_eq!(log.len(), 3);
    }
    // An appender reserves what it needs, whatever the word says.
    for reserved in [0, 1, u64::MAX, 1 << 33] {
        set(log.path(), COMMITTED, 3);
        set(log.path(), RESERVED, reserved);
        let first = log.append(&Array::from_elem(1 << 19, reserved)).unwrap();
        let rows = log.rows(first..).unwrap();
        assert!(rows.iter().all(|&x| x == reserved));
    }
}

#[test]
fn a_length_that_shrinks_is_ignored() {
    let root = Root::new();
    let manager = root.manager();
    let log = log_of(&manager, 10);
    let all = log.all().unwrap();
    for (appended, committed) in [9, 1, 0].into_iter().enumerate() {
        let rows = 10 + appended;
        set(log.path(), COMMITTED, committed);
        assert_eq!(log.len(), rows);
        assert_eq!(
            log.push(77).unwrap(),
            rows,
            "rows that were seen are written over"
        );
        assert_eq!(*log.rows(..10).unwrap(), *all);
    }
    assert_eq!(*all, Array::from_iter(0..10));
}

#[test]
fn rows_that_this_process_writes_are_not_read_by_it() {
    let root = Root::new();
    let manager = root.manager();
    let log = log_of(&manager, 2);
    let mut rows = log.reserve(5).unwrap();
    set(log.path(), COMMITTED, 7);
    rows.fill(1);
    assert_eq!((log.len(), log.all().unwrap().len()), (2, 2));
    rows.commit_rows(1).unwrap();
    assert_eq!(*log.all().unwrap(), array![0, 1, 1]);
}

#[test]
fn a_turn_of_a_member_that_never_was_is_taken_over() {
    let root = Root::new();
    let manager = root.manager();
    let log = log_of(&manager, 1);
    for appender in [1 << 40, u64::MAX, 1 << 63] {
        set(log.path(), APPENDER, appender);
        log.append_timeout(&array![5], LONG).unwrap();
    }
    assert_eq!(log.len(), 4);
}

#[test]
fn a_file_that_was_truncated_is_not_opened_and_its_rows_are_not_believed() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let log = log_of(&manager, 1 << 20);
    let path = log.path().to_path_buf();
    let reader = log.handle().read_only();
    drop(log);
    let page = crate::common::page() as u64;
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(page + 8)
        .unwrap();
    let opened = reader.open_growing::<u64, Ix1>().unwrap();
    assert_eq!(opened.len(), 0);
    assert!(matches!(opened.all(), Err(Error::Header { .. })));
    let info = ArrayInfo::at(&path).unwrap();
    assert_eq!(info.shape, [1]);
    drop(opened);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(page - 1)
        .unwrap();
    assert!(matches!(
        manager.growing::<u64, Ix1>("log"),
        Err(Error::Header { .. })
    ));
    let longer = page + (8 << 30) + 1;
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(longer)
        .unwrap();
    assert!(matches!(
        manager.growing::<u64, Ix1>("log"),
        Err(Error::Header { .. })
    ));
}

#[test]
fn verify_tells_of_wrong_words() {
    let root = Root::new();
    let manager = root.manager();
    let log = log_of(&manager, 3);
    let findings = || {
        let found = ndshm::verify(manager.path()).unwrap().findings;
        found
            .into_iter()
            .map(|finding| finding.text)
            .collect::<Vec<_>>()
    };
    assert_eq!(findings(), [""; 0]);
    set(log.path(), COMMITTED, 1 << 20);
    let found = findings();
    assert!(
        found.len() == 1 && found[0].contains("1048576 rows"),
        "{found:?}"
    );
    set(log.path(), COMMITTED, 3);
    set(log.path(), RESERVED, 1 << 40);
    let found = findings();
    assert!(
        found.len() == 1 && found[0].contains("reserved"),
        "{found:?}"
    );
    set(
        log.path(),
        RESERVED,
        std::fs::metadata(log.path()).unwrap().len(),
    );
    set(log.path(), words::FLUSHED, 4);
    let found = findings();
    assert!(
        found.len() == 1 && found[0].contains("flushed"),
        "{found:?}"
    );
}
