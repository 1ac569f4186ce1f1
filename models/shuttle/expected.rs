//! The expected content of the table: the guards on 64 bytes, and the poisoned bytes.

use crate::{layout::span::Span, state::lanes::Mode};

/// The bytes of a span, as bits.
pub(crate) fn bytes(span: Span) -> u64 {
    let is_covered = |byte: &u64| {
        span.pitch == 0 || (byte - span.start) % u64::from(span.pitch) < u64::from(span.width)
    };
    (span.start..span.end.min(64))
        .filter(is_covered)
        .fold(0, |bytes, byte| bytes | 1 << byte)
}

#[derive(Clone, Copy, Debug)]
struct Guard {
    lane: u32,
    bytes: u64,
    mode: Mode,
    member: u64,
}

/// The guards and poison that the members know of. A guard is listed only within the time in which
/// it is in the table, and poison is listed as long as it must be found there.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    guards: Vec<Guard>,
    poison: u64,
    /// The bytes of each write guard that has ended, from a moment before it is counted; and of
    /// those of them that are counted.
    ended: Vec<u64>,
    counted: Vec<u64>,
    /// Whether the write is done, or under way, after which no other comes.
    pub(crate) is_last_written: bool,
    /// Whether any member panicked or died. Then bytes may be poisoned that are not listed, such as
    /// those of a member that died while it took a guard.
    has_trouble: bool,
}

impl Expected {
    pub(crate) fn given(&mut self, member: u64, lane: u32, span: Span, mode: Mode) {
        let bytes = bytes(span);
        let excluded = self
            .guards
            .iter()
            .find(|guard| guard.bytes & bytes != 0 && (mode == Mode::Write || guard.mode != mode));
        assert!(
            excluded.is_none(),
            "{member} was given {mode:?} of {span:?} beside {excluded:?}"
        );
        assert!(
            self.guards.iter().all(|guard| guard.lane != lane),
            "lane {lane} was given twice: {self:?}"
        );
        assert_eq!(
            self.poison & bytes,
            0,
            "{member} was given {mode:?} of poisoned bytes"
        );
        self.guards.push(Guard {
            lane,
            bytes,
            mode,
            member,
        });
    }

    pub(crate) fn recovered(&mut self, member: u64, lane: u32, span: Span) {
        self.poison &= !bytes(span);
        self.given(member, lane, span, Mode::Write);
    }

    /// Before the guard is given back.
    pub(crate) fn given_back(&mut self, lane: u32) {
        let written = |guard: &&Guard| guard.lane == lane && guard.mode == Mode::Write;
        let written = self.guards.iter().filter(written).map(|guard| guard.bytes);
        self.ended.extend(written);
        self.guards.retain(|guard| guard.lane != lane);
    }

    /// After a guard to write was given back, and did not rest.
    pub(crate) fn counted(&mut self, span: Span) {
        self.counted.push(bytes(span));
    }

    /// The guards to write on these bytes that have ended.
    pub(crate) fn ended(&self, span: Span) -> u64 {
        number_of(&self.ended, span)
    }

    /// Those of them that must be counted, if the array is watched.
    pub(crate) fn all_counted(&self, span: Span) -> u64 {
        number_of(&self.counted, span)
    }

    pub(crate) fn poisoned(&mut self, lane: u32) {
        self.has_trouble = true;
        self.poison |= self
            .guards
            .iter()
            .find(|guard| guard.lane == lane)
            .map_or(0, |guard| guard.bytes);
        self.given_back(lane);
    }

    pub(crate) fn died(&mut self, member: u64) {
        self.has_trouble = true;
        for guard in self
            .guards
            .iter()
            .filter(|guard| guard.member == member && guard.mode == Mode::Write)
        {
            self.poison |= guard.bytes;
        }
        self.guards.retain(|guard| guard.member != member);
    }

    pub(crate) fn refused(&self, span: Span, record: Span) {
        assert!(
            self.has_trouble && record.overlaps(&span),
            "{span:?} was refused for {record:?}"
        );
    }

    /// Asserts at the end that every poisoned byte is in a record.
    pub(crate) fn end(&self, records: impl Iterator<Item = Span>) {
        let covered = records.fold(0, |covered, record| covered | bytes(record));
        assert_eq!(self.poison & !covered, 0, "poison was lost");
        assert!(self.guards.is_empty());
    }
}

fn number_of(guards: &[u64], span: Span) -> u64 {
    let bytes = bytes(span);
    guards.iter().filter(|&guard| guard & bytes != 0).count() as u64
}
