//! The operations of victims, the points at which they die, and the outcome for others.

mod all;

pub(crate) use all::SCENARIOS;

use Outcome::*;

/// How a process dies at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It kills itself.
    Dies,
    /// It stands there while others act, and is killed.
    Stands,
    /// It stands there while others act, and then goes on: a slow process must do no more harm than
    /// a dead one.
    GoesOn,
}

impl Scenario {
    /// The outcome for the others if the victim goes on. None where the test's part in the scenario
    /// does not allow that.
    pub(crate) fn outcome_if_it_goes_on(
        &self,
        &Crash(point, _, outcome): &Crash,
    ) -> Option<Outcome> {
        match self.name {
            "write"
            | "read"
            | "atomic"
            | "convert"
            | "take over"
            | "merge"
            | "recover"
            | "recover after a wait"
            | "watch"
            | "write what is watched" => Some(Free),
            "be forked" => Some(Free),
            "panic" | "clear the dead" => Some(Poison),
            "freeze" | "await" => Some(Frozen),
            // The others wait for the lock on the names.
            "create" | "make of a kept file, named"
                if ["NamesLocked", "PublishWanted"].contains(&point) =>
            {
                Some(Taken)
            }
            "create"
            | "create while closing"
            | "open"
            | "release"
            | "drop"
            | "join"
            | "join after a boot"
            | "make a store" => Some(outcome),
            "sweep" | "sweep after a dead sweeper" | "drop a store" => Some(outcome),
            "close" | "close, then open or create" | "close, then create" => Some(outcome),
            // The owner that goes on deletes the array, because the probe opened and closed it.
            "hand over" if point == "HandOverOffered" => None,
            "hand over" | "hand over to an heir" | "be an heir" => Some(outcome),
            "drop and keep"
            | "drop and keep what another member made"
            | "release and keep"
            | "make of a kept file"
            | "make of a kept file, named" => Some(outcome),
            "open what is dropped" | "open what is released" | "open what is frozen" => {
                Some(outcome)
            }
            _ => None,
        }
    }
}

/// The result of an operation that conflicts with the dead process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on.
    Free,
    Poison,
    /// The name is another array's.
    Taken,
    /// The dead process owns the array until a sweep.
    Owned,
    /// The array can be claimed.
    Claimable,
    Closed,
    Frozen,
    Abandoned,
    /// A sweep deleted the leftovers.
    Swept,
    /// The store stays.
    Kept,
    /// The array was released.
    Gone,
    /// The file of the array that was there has another one.
    Reused,
    /// The file is left alone: another process may have it open.
    Left,
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The others reach the array only when the victim stands or is dead: before, they would do the
    /// victim's part.
    pub(crate) is_quiet: bool,
    /// Whether the victim itself comes to the points, and not a child that it forks.
    pub(crate) can_stand: bool,
    /// Whether it comes to its end without the help of the test.
    pub(crate) is_alone: bool,
    /// Another process has the file of the victim's first array mapped, and not counted, before
    /// that is released.
    pub(crate) has_opener: bool,
    pub(crate) crashes: &'static [Crash],
}

/// A point, which hit of it, and the outcome for the others.
pub(crate) struct Crash(pub(crate) &'static str, pub(crate) u64, pub(crate) Outcome);

/// Points at which others must wait for the process that stands there.
pub(crate) const HOLDING: &[&str] = &[
    "GrowthTurnTaken",
    "GrowthReserved",
    "GrowthReservedNoted",
    "GrowthWritten",
    "GrowthCommitted",
    "GrowthFrozen",
    "GrowthBootTaken",
    "GrowthRestarting",
    "WordTaken",
    "WordTakenOver",
    "WordFreeing",
    "HintWritten",
    "HintSet",
    "LaneSpanWritten",
    "LanePublished",
    "WaitFlagged",
    "RecordSpanWritten",
    "RecordPublished",
    "PoisonFolded",
    "GuardTaken",
    "AtomicTaken",
    "WithdrawWanted",
    "PoisonWanted",
    "WaitPublished",
    "WaitReady",
    "WaitConverted",
    "MergeBegun",
    "MergePitch",
    "MergeWidth",
    "MergeStart",
    "MergeEnd",
    "MergeDone",
    "RecoverGuardPublished",
    "RecoverRestPublished",
    "RecoverRecordFreed",
    "FreezeExclusive",
    "ForkCounted",
    "NamesLocked",
    "JoinBootLocked",
    "JoinBootNoted",
];

const fn scenario(name: &'static str, crashes: &'static [Crash]) -> Scenario {
    Scenario {
        name,
        is_quiet: false,
        can_stand: true,
        is_alone: true,
        has_opener: false,
        crashes,
    }
}

/// A scenario in which the test takes part too.
const fn helped(name: &'static str, crashes: &'static [Crash]) -> Scenario {
    Scenario {
        is_alone: false,
        ..scenario(name, crashes)
    }
}

/// A scenario in which another process opens the victim's first array while its file is used again.
const fn opened(name: &'static str, crashes: &'static [Crash]) -> Scenario {
    Scenario {
        has_opener: true,
        ..helped(name, crashes)
    }
}

const fn quiet(name: &'static str, crashes: &'static [Crash]) -> Scenario {
    Scenario {
        is_quiet: true,
        ..scenario(name, crashes)
    }
}
