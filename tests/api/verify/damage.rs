//! Bytes of array files and lock files that were changed are found.

use super::{severities, with_change};
use crate::common::{Root, words};
use ndshm::{Finding, Severity, verify};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

/// Bytes of the head of an array that may be anything: the generation, the wake word, openers,
/// tickets, words of events, hints that lead nowhere, records that are not marked as used, the
/// numbers of writes, and the stripes that are waited for.
fn is_free(at: u64) -> bool {
    let is_marked_too_high = matches!(at, 150 | 151);
    matches!(at, 80..96 | 136..160 | 168..172 | 184..229 | 256..520 | 544..2176)
        && !is_marked_too_high
}

#[test]
fn a_change_of_any_byte_of_the_head_is_found() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let path = manager
        .options()
        .name("xs")
        .axis_names(["row", "column"])
        .ones::<f64, _>((300, 40))
        .unwrap()
        .path()
        .to_path_buf();
    let data_offset = fs::metadata(&path).unwrap().len() - 300 * 40 * 8;
    let mut missed = Vec::new();
    for at in 0..data_offset {
        // Of the padding only a part: all of it is the same loop.
        if at > 2900 && at % 61 != 0 && at + 80 < data_offset {
            continue;
        }
        let mut byte = [0];
        File::open(&path)
            .unwrap()
            .read_exact_at(&mut byte, at)
            .unwrap();
        let found = with_change(&path, at, &[byte[0] ^ 0x40], &path);
        if found.findings.is_empty() && !is_free(at) {
            missed.push(at);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
    assert_eq!(verify(&path).unwrap().findings, []);
}

#[test]
fn a_change_of_any_byte_of_the_lock_file_is_found() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let _array = manager.options().name("xs").zeros::<u8, _>(5).unwrap();
    let lock = manager.path().join(".lock");
    let mut missed = Vec::new();
    for at in (0..100).chain(4000..4096) {
        let mut byte = [0];
        File::open(&lock)
            .unwrap()
            .read_exact_at(&mut byte, at)
            .unwrap();
        let change = byte[0] ^ 0x40;
        if with_change(&lock, at, &[change], manager.path())
            .findings
            .is_empty()
        {
            missed.push(at);
        }
    }
    // The boot id may be any, and so may the words of names and lanes that are free.
    let free = (56..72).chain(80..100).chain(4000..4096);
    assert_eq!(missed, free.collect::<Vec<_>>());
}

#[test]
fn the_state_block_is_found_out() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let path = manager
        .options()
        .name("xs")
        .ones::<u8, _>(1000)
        .unwrap()
        .path()
        .to_path_buf();
    let tag = |mode: u64, member: u64| member << 8 | mode;
    let record = |tag: u64, start: u64, end: u64, pitch: u32, width: u32| {
        let mut bytes = [tag.to_ne_bytes(), start.to_ne_bytes(), end.to_ne_bytes()].concat();
        bytes.extend([pitch.to_ne_bytes(), width.to_ne_bytes()].concat());
        bytes
    };
    // The map of used records, and the third of them.
    let with_record = |record: Vec<u8>, used: u64| {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut before = [0; 8];
        file.read_exact_at(&mut before, 144).unwrap();
        file.write_all_at(&used.to_ne_bytes(), 144).unwrap();
        let found = with_change(&path, 544 + 2 * 32, &record, &path);
        file.write_all_at(&before, 144).unwrap();
        found
    };
    assert_eq!(
        severities(&with_record(record(tag(4, 1), 10, 20, 0, 0), 4)),
        [Severity::Leftover],
        "poison"
    );
    assert_eq!(
        severities(&with_record(record(tag(4, 1), 0, 1000, 10, 3), 4)),
        [Severity::Leftover],
        "poison of columns"
    );
    for (record, used) in [
        (record(tag(4, 1), 10, 20, 0, 0), 0),
        (record(0, 10, 20, 0, 0), 4),
    ] {
        assert_eq!(severities(&with_record(record, used)), [], "a free record");
    }
    for (record, used, expected) in [
        (record(tag(6, 1), 10, 20, 0, 0), 4, "is none"),
        (record(tag(4, 999), 10, 20, 0, 0), 4, "never given"),
        (record(tag(4, 0), 10, 20, 0, 0), 4, "never given"),
        (record(tag(4, 1), 20, 20, 0, 0), 4, "20..20"),
        (record(tag(4, 1), 20, 1001, 0, 0), 4, "20..1001"),
        (record(tag(4, 1), 0, u64::MAX, 0, 0), 4, "of 1000"),
        (record(tag(4, 1), 0, 1000, 4, 5), 4, "5 of every 4"),
        (record(tag(4, 1), 0, 1000, 4, 0), 4, "0 of every 4"),
        (record(0, 0, 0, 0, 0), 1 << 49, "it has 49"),
    ] {
        let found = with_record(record, used);
        assert!(
            !found.is_sound() && found.findings[0].text.contains(expected),
            "{expected}: {found:?}"
        );
    }
    for (at, bytes, severity, expected) in [
        (
            68,
            &words::RELEASED.to_ne_bytes()[..],
            Severity::Leftover,
            "released",
        ),
        (68, &4u32.to_ne_bytes()[..], Severity::Damage, "lifecycle"),
        (72, &2u32.to_ne_bytes()[..], Severity::Damage, "frozen"),
        (160, &2u32.to_ne_bytes()[..], Severity::Damage, "waiting"),
        (164, &2u32.to_ne_bytes()[..], Severity::Damage, "overflown"),
        (76, &[1][..], Severity::Damage, "zero by the format"),
        (127, &[1][..], Severity::Damage, "zero by the format"),
        (255, &[1][..], Severity::Damage, "zero by the format"),
        (176, &[1][..], Severity::Damage, "1 bytes instead of 125"),
        (229, &[1][..], Severity::Damage, "0x100 are waited for"),
        (543, &[1][..], Severity::Damage, "zero by the format"),
        (
            88,
            &words::sealed(77).to_ne_bytes()[..],
            Severity::Damage,
            "never given",
        ),
        (88, &77u64.to_ne_bytes()[..], Severity::Damage, "owner word"),
        (
            88,
            &words::claimable().to_ne_bytes()[..],
            Severity::Leftover,
            "",
        ),
        (
            104,
            &words::sealed(77).to_ne_bytes()[..],
            Severity::Damage,
            "its heir has the member id 77, which was never given",
        ),
        (
            104,
            &words::sealed(1 << 55 | 77).to_ne_bytes()[..],
            Severity::Damage,
            "its heir has the member id 77, which was never given",
        ),
        (104, &77u64.to_ne_bytes()[..], Severity::Damage, "heir word"),
        (
            104,
            &words::claimable().to_ne_bytes()[..],
            Severity::Leftover,
            "",
        ),
        (112, &[1][..], Severity::Damage, "zero by the format"),
        (128, &77u64.to_ne_bytes()[..], Severity::Damage, "lock word"),
        (96, &0u64.to_ne_bytes()[..], Severity::Damage, "producer"),
    ] {
        let found = with_change(&path, at, bytes, &path);
        match expected {
            "" => assert_eq!(found.findings, []),
            _ => assert!(
                found.findings[0].severity == severity && found.findings[0].text.contains(expected),
                "{found:?}"
            ),
        }
    }
}

/// The lanes of a store that are not free: where each lies in the lock file, and its tag.
fn used_lanes(lock: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(lock).unwrap();
    let tag = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    (128..bytes.len())
        .step_by(64)
        .map(|at| (at as u64, tag(at)))
        .filter(|(_, tag)| tag & 0xf != 0)
        .collect()
}

#[test]
fn the_lanes_of_a_store_are_found_out() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let xs = manager.options().name("xs").ones::<u8, _>(1000).unwrap();
    let lock = manager.path().join(".lock");
    let guard = xs.read().unwrap();
    let [(at, tag)] = used_lanes(&lock)[..] else {
        panic!("{:?}", used_lanes(&lock));
    };
    assert_eq!(tag & 0xf, 1);
    assert_eq!(verify(manager.path()).unwrap().findings, []);
    let (member, dead) = (tag >> 8, 999u64 << 8);
    let change = |offset: u64, bytes: &[u8]| {
        let found = with_change(&lock, at + offset, bytes, manager.path());
        let is_damage = |finding: &Finding| finding.severity == Severity::Damage;
        let texts: Vec<_> = found
            .findings
            .iter()
            .map(|finding| finding.text.clone())
            .collect();
        (found.findings.iter().any(is_damage), texts.join("; "))
    };
    for (offset, bytes, expected) in [
        (0, (member << 8 | 7).to_ne_bytes(), "mode 7"),
        (0, (dead | 1).to_ne_bytes(), "never given"),
        (0, (dead | 8).to_ne_bytes(), "never given"),
        (16, 1000u64.to_ne_bytes(), "1000..1000"),
        (24, 1001u64.to_ne_bytes(), "0..1001"),
        (32, [4, 0, 0, 0, 5, 0, 0, 0], "5 of every 4"),
        (32, [4, 0, 0, 0, 0, 0, 0, 0], "0 of every 4"),
    ] {
        let (is_damage, texts) = change(offset, &bytes);
        assert!(is_damage && texts.contains(expected), "{expected}: {texts}");
    }
    for (mode, expected) in [
        (4, "may be half-written"),
        (8, ""),
        (0, ""),
        (6, ""),
        (11, ""),
    ] {
        let (is_damage, texts) = change(0, &(member << 8 | mode).to_ne_bytes());
        assert!(!is_damage && texts.contains(expected), "{mode}: {texts}");
        assert_eq!(texts.is_empty(), expected.is_empty(), "{mode}: {texts}");
    }
    // Poison of an array that is gone.
    let mut lane = vec![0; 16];
    lane[..8].copy_from_slice(&(member << 8 | 4).to_ne_bytes());
    let (is_damage, texts) = change(0, &lane);
    assert!(
        !is_damage && texts.contains("array that is gone"),
        "{texts}"
    );
    // A guard to which no hint leads.
    let used = with_change(xs.path(), 136, &[0; 8], manager.path());
    assert!(!used.is_sound() && used.findings[0].text.contains("no hint"));
    drop(guard);
    assert_eq!(verify(manager.path()).unwrap().findings, []);
}

#[test]
fn a_wrong_number_of_lanes_is_found() {
    let root = Root::new();
    let manager = root.manager();
    let lock = manager.path().join(".lock");
    for (lanes, expected) in [
        (0u32, "0 lanes"),
        (61, "61 lanes"),
        (1000, "1000 lanes"),
        (u32::MAX, "lanes"),
        (62 + 17 * 1024, "lanes"),
        (62 + 1024, "no room for 1086 lanes"),
        (62 + 16 * 1024, "no room for"),
    ] {
        let found = with_change(&lock, 72, &lanes.to_ne_bytes(), manager.path());
        assert!(
            !found.is_sound() && found.findings[0].text.contains(expected),
            "{lanes}: {found:?}"
        );
    }
    assert_eq!(verify(manager.path()).unwrap().findings, []);
}
