//! What victims do, the points that they die at, and what others are told then.

use Told::*;

/// How a process dies at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It kills itself.
    Dies,
    /// It stands there while others act, and is killed.
    Stands,
    /// It stands there while others act, and then goes on: the dead are not the only ones who take
    /// their time.
    GoesOn,
}

impl Scene {
    /// What the others are told if the victim goes on. None where the test's part in the scene does
    /// not allow that.
    pub(crate) fn told_if_it_goes_on(&self, &Death(point, _, told): &Death) -> Option<Told> {
        match self.name {
            "write"
            | "read"
            | "atomic"
            | "convert"
            | "take over"
            | "merge"
            | "recover"
            | "recover after a wait" => Some(Free),
            "be forked" => Some(Free),
            "panic" | "bury" => Some(Poison),
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
            | "make a store" => Some(told),
            "sweep" | "sweep after a dead sweeper" | "drop a store" => Some(told),
            "close" | "close, then open or create" | "close, then create" => Some(told),
            "drop and keep"
            | "release and keep"
            | "make of a kept file"
            | "make of a kept file, named" => Some(told),
            "open what is dropped" | "open what is released" | "open what is frozen" => Some(told),
            _ => None,
        }
    }
}

/// What an operation that conflicts with what the dead one held comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It goes on.
    Free,
    Poison,
    /// The name is another array's.
    Taken,
    /// The array is the dead one's, until it is swept.
    Owned,
    /// The array can be claimed.
    Claimable,
    Closed,
    Frozen,
    Abandoned,
    /// A sweep deleted what was left.
    Swept,
    /// The store stays.
    Kept,
    /// The array was released.
    Gone,
    /// The file of the array that was there has another one.
    Reused,
    /// The file is left alone: somebody may have it open.
    Left,
}

pub(crate) struct Scene {
    pub(crate) name: &'static str,
    /// The others come to the array only when the victim stands or is dead: before, they would do
    /// what the victim shall do.
    pub(crate) is_quiet: bool,
    /// Whether the victim itself comes to the points, and not a child that it forks.
    pub(crate) can_stand: bool,
    /// Whether it comes to its end without the help of the test.
    pub(crate) is_alone: bool,
    /// Another process has the file of the victim's first array mapped, and not counted, before
    /// that is released.
    pub(crate) has_opener: bool,
    pub(crate) deaths: &'static [Death],
}

/// A point, which hit of it, and what the others are told.
pub(crate) struct Death(pub(crate) &'static str, pub(crate) u64, pub(crate) Told);

/// Points at which others must wait for whoever stands there.
pub(crate) const HOLDING: &[&str] = &[
    "WordTaken",
    "WordTakenOver",
    "WordFreeing",
    "SlotSpanWritten",
    "SlotUsedSet",
    "SlotPublished",
    "GuardTaken",
    "AtomicTaken",
    "WithdrawWanted",
    "PoisonWanted",
    "IntentPublished",
    "IntentReady",
    "IntentConverted",
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

const fn scene(name: &'static str, deaths: &'static [Death]) -> Scene {
    Scene {
        name,
        is_quiet: false,
        can_stand: true,
        is_alone: true,
        has_opener: false,
        deaths,
    }
}

/// A scene that the test plays in, too.
const fn helped(name: &'static str, deaths: &'static [Death]) -> Scene {
    Scene {
        is_alone: false,
        ..scene(name, deaths)
    }
}

/// A scene in which somebody opens the victim's first array while its file is used again.
const fn opened(name: &'static str, deaths: &'static [Death]) -> Scene {
    Scene {
        has_opener: true,
        ..helped(name, deaths)
    }
}

const fn quiet(name: &'static str, deaths: &'static [Death]) -> Scene {
    Scene {
        is_quiet: true,
        ..scene(name, deaths)
    }
}

pub(crate) const SCENES: &[Scene] = &[
    // Guards.
    scene(
        "write",
        &[
            Death("WordTaken", 1, Free),
            Death("SlotSpanWritten", 1, Free),
            Death("SlotUsedSet", 1, Free),
            Death("SlotPublished", 1, Poison),
            Death("WordFreeing", 1, Poison),
            Death("GuardTaken", 1, Poison),
            Death("WithdrawWanted", 1, Poison),
            Death("WithdrawDone", 1, Free),
        ],
    ),
    scene(
        "read",
        &[
            Death("SlotPublished", 1, Free),
            Death("GuardTaken", 1, Free),
            Death("WithdrawWanted", 1, Free),
            Death("WithdrawDone", 1, Free),
        ],
    ),
    scene(
        "atomic",
        &[
            Death("SlotPublished", 1, Free),
            Death("AtomicTaken", 1, Free),
            Death("WithdrawWanted", 1, Free),
        ],
    ),
    scene(
        "panic",
        &[
            Death("PoisonWanted", 1, Poison),
            Death("PoisonDone", 1, Poison),
        ],
    ),
    helped(
        "wait",
        &[
            Death("IntentPublished", 1, Free),
            Death("WaitFlagged", 1, Free),
            Death("WaitSleeping", 1, Free),
            Death("WaitWoken", 1, Free),
            Death("WaitFlagged", 2, Free),
        ],
    ),
    helped(
        "convert",
        &[
            Death("IntentReady", 1, Free),
            Death("IntentConverted", 1, Poison),
        ],
    ),
    Scene {
        is_quiet: true,
        ..helped(
            "wake",
            &[
                Death("WakeFlagCleared", 1, Free),
                Death("WakeBumped", 1, Free),
                Death("WakeDone", 1, Free),
            ],
        )
    },
    quiet(
        "take over",
        &[Death("WordTakenOver", 1, Free), Death("WordTaken", 1, Free)],
    ),
    // Poison.
    scene(
        "bury",
        &[
            Death("ClearDeadWanted", 1, Poison),
            Death("DeadCleared", 1, Poison),
        ],
    ),
    quiet(
        "merge",
        &[
            Death("MergeBegun", 1, Free),
            Death("MergePitch", 1, Free),
            Death("MergeWidth", 1, Free),
            Death("MergeStart", 1, Free),
            Death("MergeEnd", 1, Free),
            Death("MergeDone", 1, Free),
            Death("MergeStart", 2, Free),
            Death("MergeEnd", 2, Free),
            Death("MergePitch", 8, Free),
            Death("MergeDone", 8, Free),
        ],
    ),
    scene(
        "recover",
        &[
            Death("SlotPublished", 1, Poison),
            Death("RecoverGuardPublished", 1, Poison),
            Death("RecoverRestPublished", 1, Poison),
            Death("RecoverRestPublished", 2, Poison),
            Death("RecoverRecordFreed", 1, Poison),
            Death("WithdrawWanted", 1, Poison),
            Death("WithdrawDone", 1, Free),
        ],
    ),
    helped(
        "recover after a wait",
        &[
            Death("IntentReady", 1, Poison),
            Death("IntentConverted", 1, Poison),
            Death("RecoverGuardPublished", 1, Poison),
            Death("RecoverRestPublished", 1, Poison),
            Death("RecoverRecordFreed", 1, Poison),
            Death("WithdrawDone", 1, Free),
        ],
    ),
    // Frozen arrays.
    scene(
        "freeze",
        &[
            Death("FreezeExclusive", 1, Abandoned),
            Death("FreezeFlagged", 1, Frozen),
            Death("FreezeWoken", 1, Frozen),
            Death("FreezeProtecting", 1, Frozen),
            Death("FreezeProtected", 1, Frozen),
        ],
    ),
    helped(
        "await",
        &[
            Death("FreezeAwaited", 1, Frozen),
            Death("WaitSleeping", 1, Frozen),
            Death("WaitWoken", 2, Frozen),
        ],
    ),
    // Opening and owning arrays.
    scene(
        "open",
        &[
            Death("OpenMapped", 1, Free),
            Death("OpenCounted", 1, Free),
            Death("OpenHeaderRead", 1, Free),
            Death("OpenEnlisted", 1, Free),
            Death("OpenReceived", 1, Free),
            Death("OpenWritableMapped", 1, Free),
            Death("MappingCountedOut", 1, Free),
        ],
    ),
    scene(
        "claim",
        &[
            Death("ClaimWanted", 1, Claimable),
            Death("ClaimTaken", 1, Owned),
            Death("OpenReceived", 1, Owned),
            Death("GiveBackWanted", 1, Owned),
            Death("GiveBackDone", 1, Claimable),
        ],
    ),
    scene(
        "scope",
        &[
            Death("ScopeWanted", 1, Owned),
            Death("ScopeChanged", 1, Claimable),
        ],
    ),
    // Making and deleting them.
    scene(
        "create",
        &[
            Death("CreateFileMade", 1, Free),
            Death("CreateReserved", 1, Free),
            Death("CreateHeaderWritten", 1, Free),
            Death("CreateMapped", 1, Free),
            Death("CreateFilled", 1, Free),
            Death("PublishEnlisted", 1, Free),
            Death("NamesLocked", 1, Free),
            Death("PublishWanted", 1, Free),
            Death("PublishRenamed", 1, Taken),
            Death("PublishLooked", 1, Taken),
        ],
    ),
    scene(
        "create unnamed",
        &[
            Death("CreateFilled", 1, Free),
            Death("PublishWanted", 1, Free),
            Death("PublishRenamed", 1, Owned),
            Death("PublishLooked", 1, Owned),
        ],
    ),
    helped(
        "create while closing",
        &[
            Death("PublishClosingSeen", 1, Closed),
            Death("ReleaseOwnerTaken", 1, Closed),
            Death("UnlinkWanted", 1, Closed),
        ],
    ),
    scene(
        "release",
        &[
            Death("ReleaseOwnerTaken", 1, Taken),
            Death("ReleaseMarked", 1, Free),
            Death("NamesLocked", 1, Free),
            Death("UnlinkWanted", 1, Free),
            Death("UnlinkDone", 1, Free),
        ],
    ),
    scene(
        "drop",
        &[
            Death("DropMarked", 1, Free),
            Death("UnlinkWanted", 1, Free),
            Death("UnlinkDone", 1, Free),
        ],
    ),
    // Files that are used again: by the victim, and by another process while the victim opens one.
    opened(
        "drop and keep",
        &[
            Death("DropMarked", 1, Gone),
            Death("RecycleRenamed", 1, Gone),
            Death("RecycleTaken", 1, Gone),
            Death("RecycleBegun", 1, Gone),
            Death("RecycleKept", 1, Gone),
        ],
    ),
    opened(
        "release and keep",
        &[
            Death("ReleaseOwnerTaken", 1, Owned),
            Death("ReleaseMarked", 1, Gone),
            Death("RecycleRenamed", 1, Gone),
            Death("RecycleTaken", 1, Gone),
            Death("RecycleBegun", 1, Gone),
            Death("RecycleKept", 1, Gone),
        ],
    ),
    opened(
        "make of a kept file",
        &[
            Death("RecycleHeaderWritten", 1, Gone),
            Death("CreateFilled", 1, Gone),
            Death("RecycleReady", 1, Gone),
            Death("PublishEnlisted", 1, Gone),
            Death("PublishWanted", 1, Gone),
            Death("PublishRenamed", 1, Owned),
            Death("PublishLooked", 1, Owned),
        ],
    ),
    opened(
        "make of a kept file, named",
        &[
            Death("RecycleHeaderWritten", 1, Free),
            Death("RecycleReady", 1, Free),
            Death("NamesLocked", 1, Free),
            Death("PublishWanted", 1, Free),
            Death("PublishRenamed", 1, Taken),
        ],
    ),
    scene(
        "open what is dropped",
        &[
            Death("OpenMapped", 1, Reused),
            Death("OpenCounted", 1, Left),
            Death("OpenHeaderRead", 1, Left),
            Death("OpenEnlisted", 1, Left),
            Death("OpenReceived", 1, Left),
            Death("OpenFromCache", 1, Left),
            Death("MappingCountedOut", 1, Reused),
            Death("MappingKept", 1, Reused),
        ],
    ),
    scene(
        "open what is released",
        &[
            Death("OpenMapped", 1, Reused),
            Death("OpenCounted", 1, Left),
            Death("OpenHeaderRead", 1, Left),
            Death("OpenReceived", 1, Left),
            Death("OpenFromCache", 1, Left),
            Death("MappingKept", 1, Reused),
        ],
    ),
    helped(
        "open what is frozen",
        &[
            Death("OpenMapped", 1, Frozen),
            Death("OpenCounted", 1, Frozen),
            Death("OpenHeaderRead", 1, Frozen),
            Death("OpenReceived", 1, Frozen),
            Death("OpenFromCache", 1, Frozen),
        ],
    ),
    // Whole stores.
    scene(
        "join",
        &[
            Death("JoinOpened", 1, Free),
            Death("JoinShared", 1, Free),
            Death("JoinMapped", 1, Free),
            Death("JoinIdTaken", 1, Free),
            Death("JoinAlive", 1, Free),
        ],
    ),
    helped(
        "join after a boot",
        &[
            Death("JoinBootLocked", 1, Free),
            Death("JoinBootNoted", 1, Free),
        ],
    ),
    scene(
        "make a store",
        &[
            Death("BuildersShared", 1, Swept),
            Death("StoreBuilt", 1, Swept),
            Death("StoreLockWritten", 1, Swept),
            Death("StoreJoined", 1, Swept),
            Death("StoreInPlace", 1, Swept),
        ],
    ),
    scene(
        "keep",
        &[
            Death("PersistWanted", 1, Swept),
            Death("PersistMarked", 1, Kept),
            Death("PersistDisowned", 1, Kept),
        ],
    ),
    scene(
        "sweep",
        &[
            Death("SweepReleasedFound", 1, Swept),
            Death("SweepDeadOwnerFound", 1, Swept),
            Death("SweepDeadOwnerFound", 2, Swept),
            Death("ReleaseOwnerTaken", 1, Swept),
            Death("ReleaseMarked", 1, Swept),
            Death("NamesLocked", 1, Swept),
            Death("UnlinkWanted", 1, Swept),
            Death("UnlinkDone", 1, Swept),
            Death("SweepHalfMadeFound", 1, Swept),
            Death("SweepHalfMadeRemoved", 1, Swept),
            Death("SweepStoreDone", 1, Swept),
            Death("SweepGoneFound", 1, Swept),
            Death("SweepStoreDeserted", 1, Swept),
            Death("SweepStoreMarked", 1, Swept),
            Death("SweepBuildersExcluded", 1, Swept),
            Death("StoreRenamedAway", 1, Swept),
            Death("StoreFileRemoved", 1, Swept),
            Death("StoreFileRemoved", 3, Swept),
            Death("StoreEmptied", 1, Swept),
            Death("StoreEmptied", 2, Swept),
            Death("StoreRemoved", 1, Swept),
            Death("StoreRemoved", 3, Swept),
        ],
    ),
    // Another sweeper was killed before, in the middle of the same work.
    scene(
        "sweep after a dead sweeper",
        &[
            Death("SweepGoneFound", 1, Swept),
            Death("StoreFileRemoved", 1, Swept),
            Death("StoreEmptied", 1, Swept),
            Death("StoreRemoved", 1, Swept),
            Death("SweepBuildersExcluded", 1, Swept),
        ],
    ),
    scene(
        "close",
        &[
            Death("CloseMarked", 1, Closed),
            Death("StoreRenamedAway", 1, Closed),
            Death("StoreFileRemoved", 1, Closed),
            Death("StoreFileRemoved", 2, Closed),
            Death("StoreEmptied", 1, Closed),
            Death("StoreRemoved", 1, Closed),
        ],
    ),
    scene(
        "close, then open or create",
        &[
            Death("CloseMarked", 1, Closed),
            Death("StoreRenamedAway", 1, Closed),
            Death("StoreFileRemoved", 1, Closed),
        ],
    ),
    scene(
        "close, then create",
        &[
            Death("CloseMarked", 1, Closed),
            Death("StoreFileRemoved", 1, Closed),
        ],
    ),
    helped("close, then close", &[Death("CloseMarked", 1, Closed)]),
    scene(
        "drop a store",
        &[
            Death("CloseMarked", 1, Swept),
            Death("StoreRenamedAway", 1, Swept),
            Death("StoreFileRemoved", 1, Swept),
        ],
    ),
    helped("close another's place", &[Death("StorePutBack", 1, Kept)]),
    // Forks. The process that forks dies, or the child dies inside `fork` and the one that forked
    // goes on.
    scene("be forked", &[Death("ForkCounted", 1, Poison)]),
    Scene {
        can_stand: false,
        is_alone: false,
        ..scene(
            "fork",
            &[
                Death("ForkBegun", 1, Free),
                Death("ForkPartDone", 1, Free),
                Death("ForkPartDone", 2, Free),
                Death("ForkDone", 1, Free),
            ],
        )
    },
];
