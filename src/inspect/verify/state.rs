//! The state block of an array's file: whether this library can have written its words.

use super::{Severity, Verification, is_at, lock::Store};
use crate::{
    error::{HeaderError, Result},
    format::{
        constants::*,
        words::{Heir, Owner, frozen},
    },
    layout::span::Span,
    segment,
    state::{
        block::lifecycle,
        changes,
        lanes::{Mode, member_of},
        snapshot::{LaneSnapshot, StateSnapshot},
    },
    store::plan::Reason,
};
use std::{fs::File, path::Path, time::Duration};

/// A block in use changes while it is read: a finding counts if so many looks find it.
const LOOKS: usize = 4;
const BETWEEN: Duration = Duration::from_millis(2);

/// Notes damage and leftovers.
pub(super) fn check(
    path: &Path,
    file: &File,
    (data_len, key): (u64, u64),
    store: Option<&Store>,
    found: &mut Verification,
) -> Result<()> {
    for look in 1..=LOOKS {
        let lanes = match store {
            Some(store) => store.lanes_of(key)?,
            None => Vec::new(),
        };
        let notes = Block {
            state: &segment::read_state(file, path)?,
            lanes: &lanes,
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
    /// The lanes of this array, copied before the block.
    lanes: &'a [(usize, LaneSnapshot)],
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
        notes.extend(self.stripes());
        if notes
            .iter()
            .all(|(severity, _)| *severity == Severity::Leftover)
            && let Some(reason) = Reason::of_array(self.state, |member| self.is_alive(member))?
        {
            notes.push((Severity::Leftover, reason.to_string()));
        }
        if !self.state.is_zero_elsewhere {
            notes.push(damage(
                "bytes of its state that are zero by the format are not".into(),
            ));
        }
        if let Some(record) = self.state.odd_record() {
            notes.push(damage(format!("record {record} of its poison is none")));
        }
        if self.state.poisoned >> RECORDS != 0 {
            notes.push(damage(format!(
                "records of poison are marked that do not exist: it has {RECORDS}"
            )));
        }
        for (record, words) in self.state.poison() {
            let what = format!("record {record} of its poison");
            notes.extend(self.guard(&what, words.tag, words.span)?);
        }
        for (index, lane) in self.lanes {
            notes.extend(self.lane(*index, lane)?);
        }
        Ok(notes)
    }

    fn lifecycle(&self) -> Option<Note> {
        match self.state.lifecycle {
            lifecycle::READY | lifecycle::RELEASED | lifecycle::DELETED => None,
            lifecycle::RECYCLING => {
                let text = "it is being reused and has a name that a user chose";
                Some((Severity::Leftover, text.into()))
            }
            found => Some(damage(HeaderError::Lifecycle { found }.to_string())),
        }
    }

    fn flags(&self) -> Vec<Note> {
        let StateSnapshot {
            frozen,
            waiting,
            overflown,
            ..
        } = *self.state;
        let mut notes = Vec::new();
        if frozen != frozen::NOT_YET && frozen != frozen::FROZEN {
            notes.push(damage(HeaderError::Frozen { found: frozen }.to_string()));
        }
        for (what, flag) in [("waiting", waiting), ("overflown", overflown)] {
            if flag > 1 {
                let text = format!("its {what} flag is {flag}, which is neither 0 nor 1");
                notes.push(damage(text));
            }
        }
        notes
    }

    /// Damage to the words about changes. The numbers themselves may have any values.
    fn stripes(&self) -> Vec<Note> {
        let StateSnapshot {
            stripe_len,
            awaited,
            ..
        } = *self.state;
        let mut notes = Vec::new();
        let expected = changes::stripe_len(self.data_len);
        if stripe_len != 0 && stripe_len != expected {
            let text = format!("its stripes have {stripe_len} bytes instead of {expected}");
            notes.push(damage(text));
        }
        if awaited >> STRIPES != 0 {
            let text = format!("stripes {awaited:#x} are waited for: it has {STRIPES}");
            notes.push(damage(text));
        }
        notes
    }

    /// Damage to the words that name a member.
    fn members(&self) -> Result<Vec<Note>> {
        let StateSnapshot {
            owner,
            heir,
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
        let heir = match Heir::of(heir) {
            None => {
                notes.push(damage(HeaderError::Heir { found: heir }.to_string()));
                None
            }
            Some(Heir::None | Heir::Offered) => None,
            Some(Heir::Member(heir) | Heir::Passed(heir)) => Some(heir),
        };
        for (what, member) in [
            ("owner", owner),
            ("heir", heir),
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

    fn lane(&self, index: usize, lane: &LaneSnapshot) -> Result<Option<Note>> {
        if !self.state.leads_to(index) {
            let text = format!("lane {index} has a guard on it, and no hint leads there");
            return Ok(Some(damage(text)));
        }
        self.guard(&format!("lane {index}"), lane.tag, lane.span)
    }

    /// Damage to a guard or a record of poison.
    fn guard(&self, what: &str, tag: u64, span: Span) -> Result<Option<Note>> {
        let member = member_of(tag);
        let wrong = |text: String| Ok(Some(damage(format!("{what} {text}"))));
        if !self.can_be(member)? {
            return wrong(format!("has the member id {member}, which was never given"));
        }
        let Span {
            start,
            end,
            pitch,
            width,
        } = span;
        if start >= end || end > self.data_len {
            return wrong(format!(
                "covers the bytes {start}..{end} of {}",
                self.data_len
            ));
        }
        if width > pitch || (pitch == 0) != (width == 0) {
            return wrong(format!("covers {width} of every {pitch} bytes"));
        }
        if Mode::Poisoned.is(tag) || Mode::Write.is(tag) && !self.is_alive(member)? {
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
