//! The state block of an array's file: whether this library can have written its words.

use super::{Severity, Verification, is_at, lock::Store};
use crate::{
    error::{HeaderError, Result},
    format::{
        constants::*,
        words::{Owner, frozen},
    },
    segment,
    state::{
        block::lifecycle,
        lock_table::{Mode, member_of},
        snapshot::{SlotSnapshot, StateSnapshot},
    },
    store::plan::Reason,
};
use std::{fs::File, path::Path, time::Duration};

const MODES: [Mode; 5] = [
    Mode::Read,
    Mode::Write,
    Mode::Intent,
    Mode::Poisoned,
    Mode::Atomic,
];

/// A block in use changes while it is read: a finding counts if so many looks find it.
const LOOKS: usize = 4;
const BETWEEN: Duration = Duration::from_millis(2);

/// Notes damage and leftovers.
pub(super) fn check(
    path: &Path,
    file: &File,
    data_len: u64,
    store: Option<&Store>,
    found: &mut Verification,
) -> Result<()> {
    for look in 1..=LOOKS {
        let notes = Block {
            state: &segment::read_state(file, path)?,
            data_len,
            store,
        }
        .notes()?;
        // An array that is being deleted is released a little before it loses its name.
        if notes.is_empty() || !is_at(path, file)? {
            return Ok(());
        }
        if look == LOOKS {
            for (severity, text) in notes {
                found.note(path, severity, text);
            }
            return Ok(());
        }
        std::thread::sleep(BETWEEN);
    }
    Ok(())
}

struct Block<'a> {
    state: &'a StateSnapshot,
    data_len: u64,
    store: Option<&'a Store>,
}

type Note = (Severity, String);

impl Block<'_> {
    /// Whether this can be the id of a member of the store.
    fn can_be(&self, member: u64) -> Result<bool> {
        match self.store {
            Some(store) => store.has_given(member),
            None => Ok((1..MAX_MEMBER).contains(&member)),
        }
    }

    /// Whether a member lives; without a store every member counts as alive.
    fn is_alive(&self, member: u64) -> Result<bool> {
        self.store.map_or(Ok(true), |store| store.is_alive(member))
    }

    fn notes(&self) -> Result<Vec<Note>> {
        if self.state.endian != ENDIAN_PROBE {
            return Ok(vec![damage(HeaderError::Endian.to_string())]);
        }
        let mut notes = Vec::new();
        notes.extend(self.lifecycle());
        notes.extend(self.flags());
        notes.extend(self.members()?);
        if notes
            .iter()
            .all(|(severity, _)| *severity == Severity::Leftover)
            && let Some(reason) = Reason::of_array(self.state, |member| self.is_alive(member))?
        {
            notes.push((Severity::Leftover, reason.to_string()));
        }
        for slot in 0..SLOTS {
            notes.extend(self.slot(slot)?);
        }
        Ok(notes)
    }

    fn lifecycle(&self) -> Option<Note> {
        match self.state.lifecycle {
            lifecycle::READY | lifecycle::RELEASED => None,
            lifecycle::RECYCLING => {
                let text = "it is being reused and still has the name of its old array";
                Some((Severity::Leftover, text.into()))
            }
            found => Some(damage(HeaderError::Lifecycle { found }.to_string())),
        }
    }

    fn flags(&self) -> Vec<Note> {
        let StateSnapshot {
            frozen, waiting, ..
        } = *self.state;
        let mut notes = Vec::new();
        if frozen != frozen::NOT_YET && frozen != frozen::FROZEN {
            notes.push(damage(HeaderError::Frozen { found: frozen }.to_string()));
        }
        if waiting > 1 {
            let text = format!("its waiting flag is {waiting}, which is neither 0 nor 1");
            notes.push(damage(text));
        }
        notes
    }

    /// Damage to the words that name a member.
    fn members(&self) -> Result<Vec<Note>> {
        let StateSnapshot {
            owner,
            producer,
            lock,
            ..
        } = *self.state;
        let mut notes = Vec::new();
        let owner = match Owner::of(owner) {
            None => {
                notes.push(damage(HeaderError::Owner { found: owner }.to_string()));
                None
            }
            Some(Owner::None | Owner::Claimable) => None,
            Some(Owner::Member(owner)) => Some(owner),
        };
        for (what, member) in [
            ("owner", owner),
            ("producer", Some(producer)),
            ("lock word's holder", Some(lock).filter(|&lock| lock != 0)),
        ] {
            if let Some(member) = member
                && !self.can_be(member)?
            {
                notes.push(damage(format!(
                    "its {what} has the member id {member}, which was never given"
                )));
            }
        }
        Ok(notes)
    }

    fn slot(&self, slot: usize) -> Result<Option<Note>> {
        let SlotSnapshot {
            tag,
            start,
            end,
            pitch,
            width,
        } = self.state.slots[slot];
        if tag == 0 {
            return Ok(None);
        }
        let member = member_of(tag);
        let wrong = |text: String| {
            Ok(Some(damage(format!(
                "slot {slot} of its lock table {text}"
            ))))
        };
        let Some(mode) = MODES.into_iter().find(|mode| mode.is(tag)) else {
            return wrong(format!("has the mode {}, which does not exist", tag >> 56));
        };
        if !self.can_be(member)? {
            return wrong(format!("has the member id {member}, which was never given"));
        }
        if self.state.used >> slot & 1 == 0 {
            return wrong("is taken, and not marked as used".into());
        }
        if start >= end || end > self.data_len {
            return wrong(format!(
                "covers the bytes {start}..{end} of {}",
                self.data_len
            ));
        }
        if width > pitch || (pitch == 0) != (width == 0) {
            return wrong(format!("covers {width} of every {pitch} bytes"));
        }
        if mode == Mode::Poisoned || mode == Mode::Write && !self.is_alive(member)? {
            let text = format!(
                "the bytes {start}..{end} of its data may be half-written, by member {member}: \
                 recover them"
            );
            return Ok(Some((Severity::Leftover, text)));
        }
        Ok(None)
    }
}

fn damage(text: String) -> Note {
    (Severity::Damage, text)
}
