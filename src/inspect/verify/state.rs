//! The state block of an array's file: whether what stands in it can have come from this library.

use super::{Severity, Verification, is_at, lock::Store};
use crate::{
    error::{Error, HeaderError, Result},
    format::constants::*,
    state::{
        block::lifecycle,
        lock_table::{Mode, member_of},
    },
};
use std::{fs::File, os::unix::fs::FileExt, path::Path, time::Duration};

const ENDIAN_AT: usize = STATE_AT;
const LOCK_WORD_AT: usize = 96;
const USED_AT: usize = 112;
const MODES: [Mode; 5] = [
    Mode::Read,
    Mode::Write,
    Mode::Intent,
    Mode::Poisoned,
    Mode::Atomic,
];

/// A block that is in use is read while it changes: what is found in it counts when so many looks
/// find it.
const LOOKS: usize = 4;
const BETWEEN: Duration = Duration::from_millis(2);

/// Notes what cannot be, and what the dead left.
pub(super) fn check(
    path: &Path,
    file: &File,
    data_len: u64,
    store: Option<&Store>,
    found: &mut Verification,
) -> Result<()> {
    for look in 1..=LOOKS {
        let mut head = [0; HEADER_KEY_AT];
        file.read_exact_at(&mut head, 0)
            .map_err(Error::io(path, "read the state block"))?;
        let notes = Block {
            head: &head,
            data_len,
            store,
        }
        .notes()?;
        // What is just being deleted is released a little before its name is gone.
        if notes.is_empty() || !is_at(path, file) {
            return Ok(());
        }
        if look == LOOKS {
            notes
                .into_iter()
                .for_each(|(severity, text)| found.note(path, severity, text));
            return Ok(());
        }
        std::thread::sleep(BETWEEN);
    }
    Ok(())
}

struct Block<'a> {
    head: &'a [u8; HEADER_KEY_AT],
    data_len: u64,
    store: Option<&'a Store>,
}

impl Block<'_> {
    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(std::array::from_fn(|i| self.head[at + i]))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_ne_bytes(std::array::from_fn(|i| self.head[at + i]))
    }

    /// Whether this can be the id of a member of the store.
    fn can_be(&self, member: u64) -> Result<bool> {
        match self.store {
            Some(store) => store.has_given(member),
            None => Ok((1..MAX_MEMBER).contains(&member)),
        }
    }

    fn is_dead(&self, member: u64) -> Result<bool> {
        self.store.map_or(Ok(false), |store| {
            store.is_alive(member).map(|is_alive| !is_alive)
        })
    }

    fn notes(&self) -> Result<Vec<(Severity, String)>> {
        let mut notes = Vec::new();
        if self.word(ENDIAN_AT) != ENDIAN_PROBE {
            notes.push((Severity::Damage, HeaderError::Endian.to_string()));
            return Ok(notes);
        }
        match self.word(LIFECYCLE_AT as usize) {
            lifecycle::READY => {}
            lifecycle::RELEASED | lifecycle::RECYCLING => {
                notes.push((
                    Severity::Leftover,
                    "it was released and still has its name: a sweep deletes it".into(),
                ));
            }
            found => notes.push((
                Severity::Damage,
                HeaderError::Lifecycle { found }.to_string(),
            )),
        }
        for (what, at) in [("frozen", FROZEN_AT), ("waiting", WAITING_AT)] {
            if self.word(at) > 1 {
                notes.push((
                    Severity::Damage,
                    format!(
                        "its {what} flag is {}, which is neither 0 nor 1",
                        self.word(at)
                    ),
                ));
            }
        }
        let owner = self.long(OWNER_AT);
        if owner != 0 && owner != CLAIMABLE {
            if !self.can_be(owner)? {
                notes.push((
                    Severity::Damage,
                    format!("its owner has the member id {owner}, which was never given"),
                ));
            } else if self.is_dead(owner)? {
                notes.push((
                    Severity::Leftover,
                    format!("its owner, member {owner}, is gone: a sweep deletes it"),
                ));
            }
        }
        for (what, at, can_be_none) in [
            ("producer", PRODUCER_AT, false),
            ("lock word's holder", LOCK_WORD_AT, true),
        ] {
            let member = self.long(at);
            if !(can_be_none && member == 0 || self.can_be(member)?) {
                notes.push((
                    Severity::Damage,
                    format!("its {what} has the member id {member}, which was never given"),
                ));
            }
        }
        for slot in 0..SLOTS {
            if let Some(note) = self.slot(slot)? {
                notes.push(note);
            }
        }
        Ok(notes)
    }

    fn slot(&self, slot: usize) -> Result<Option<(Severity, String)>> {
        let at = SLOTS_AT + slot * SLOT_LEN;
        let tag = self.long(at);
        if tag == 0 {
            return Ok(None);
        }
        let member = member_of(tag);
        let (start, end) = (self.long(at + 8), self.long(at + 16));
        let (pitch, width) = (self.word(at + 24), self.word(at + 28));
        let damage = |text: String| {
            Ok(Some((
                Severity::Damage,
                format!("slot {slot} of its lock table {text}"),
            )))
        };
        let Some(mode) = MODES.into_iter().find(|mode| mode.is(tag)) else {
            return damage(format!("has the mode {}, which is none", tag >> 56));
        };
        if !self.can_be(member)? {
            return damage(format!("has the member id {member}, which was never given"));
        }
        if self.long(USED_AT) >> slot & 1 == 0 {
            return damage("is taken, and not marked as used".into());
        }
        if start >= end || end > self.data_len {
            return damage(format!(
                "covers the bytes {start}..{end} of {}",
                self.data_len
            ));
        }
        if width > pitch || (pitch == 0) != (width == 0) {
            return damage(format!("covers {width} of every {pitch} bytes"));
        }
        if mode == Mode::Poisoned || mode == Mode::Write && self.is_dead(member)? {
            let text = format!(
                "the bytes {start}..{end} of its data may be half-written, by member {member}: recover them"
            );
            return Ok(Some((Severity::Leftover, text)));
        }
        Ok(None)
    }
}
