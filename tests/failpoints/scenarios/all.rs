//! All scenarios, with their crashes and outcomes.

use super::*;

pub(crate) const SCENARIOS: &[Scenario] = &[
    // Guards.
    scenario(
        "write",
        &[
            Crash("WordTaken", 1, Free),
            Crash("LaneLeased", 1, Free),
            Crash("HintWritten", 1, Free),
            Crash("HintSet", 1, Free),
            Crash("LaneSpanWritten", 1, Free),
            Crash("LanePublished", 1, Poison),
            Crash("WordFreeing", 1, Poison),
            Crash("GuardTaken", 1, Poison),
            Crash("WithdrawWanted", 1, Poison),
            Crash("LaneReplaced", 1, Free),
            Crash("WithdrawDone", 1, Free),
        ],
    ),
    scenario(
        "take many guards",
        &[
            Crash("LaneLeased", 70, Free),
            Crash("LanesReserved", 1, Free),
            Crash("LanesAdded", 1, Free),
        ],
    ),
    scenario(
        "read",
        &[
            Crash("LanePublished", 1, Free),
            Crash("GuardTaken", 1, Free),
            Crash("WithdrawWanted", 1, Free),
            Crash("WithdrawDone", 1, Free),
        ],
    ),
    scenario(
        "atomic",
        &[
            Crash("LanePublished", 1, Free),
            Crash("AtomicTaken", 1, Free),
            Crash("WithdrawWanted", 1, Free),
        ],
    ),
    scenario(
        "panic",
        &[
            Crash("PoisonWanted", 1, Poison),
            Crash("PoisonDone", 1, Poison),
        ],
    ),
    helped(
        "wait",
        &[
            Crash("WaitPublished", 1, Free),
            Crash("GuardsKeptAwake", 1, Free),
            Crash("WaitFlagged", 1, Free),
            Crash("WaitSleeping", 1, Free),
            Crash("WaitWoken", 1, Free),
            Crash("WaitFlagged", 2, Free),
        ],
    ),
    helped(
        "convert",
        &[
            Crash("WaitReady", 1, Free),
            Crash("WaitConverted", 1, Poison),
        ],
    ),
    Scenario {
        is_quiet: true,
        ..helped(
            "wake",
            &[
                Crash("LaneReplaced", 1, Free),
                Crash("LaneTurned", 1, Free),
                Crash("LaneWoken", 1, Free),
            ],
        )
    },
    quiet(
        "rest",
        &[
            Crash("GuardRests", 1, Free),
            Crash("GuardResumed", 1, Poison),
            Crash("GuardRests", 2, Free),
            Crash("GuardResumed", 2, Poison),
        ],
    ),
    quiet(
        "rows",
        // In the first row only the victim writes.
        &[
            Crash("GuardPartWritten", 1, Free),
            Crash("GuardResumed", 1, Poison),
            Crash("GuardPartWritten", 3, Free),
            Crash("GuardResumed", 3, Poison),
        ],
    ),
    quiet("revoke", &[Crash("GuardRevoked", 1, Free)]),
    quiet(
        "take over",
        &[Crash("WordTakenOver", 1, Free), Crash("WordTaken", 1, Free)],
    ),
    // Poison.
    scenario(
        "clear the dead",
        &[
            Crash("ClearDeadWanted", 1, Poison),
            Crash("DeadCleared", 1, Poison),
            Crash("RecordSpanWritten", 1, Poison),
            Crash("RecordPublished", 1, Poison),
            Crash("PoisonFolded", 1, Poison),
        ],
    ),
    quiet(
        "merge",
        &[
            Crash("MergeBegun", 1, Free),
            Crash("MergePitch", 1, Free),
            Crash("MergeWidth", 1, Free),
            Crash("MergeStart", 1, Free),
            Crash("MergeEnd", 1, Free),
            Crash("MergeDone", 1, Free),
            Crash("MergeStart", 2, Free),
            Crash("MergeEnd", 2, Free),
            Crash("MergePitch", 8, Free),
            Crash("MergeDone", 8, Free),
        ],
    ),
    scenario(
        "recover",
        &[
            Crash("LanePublished", 1, Poison),
            Crash("RecoverGuardPublished", 1, Poison),
            Crash("RecoverRestPublished", 1, Poison),
            Crash("RecoverRestPublished", 2, Poison),
            Crash("RecoverRecordFreed", 1, Poison),
            Crash("WithdrawWanted", 1, Poison),
            Crash("WithdrawDone", 1, Free),
        ],
    ),
    helped(
        "recover after a wait",
        &[
            Crash("WaitReady", 1, Poison),
            Crash("WaitConverted", 1, Poison),
            Crash("RecoverGuardPublished", 1, Poison),
            Crash("RecoverRestPublished", 1, Poison),
            Crash("RecoverRecordFreed", 1, Poison),
            Crash("WithdrawDone", 1, Free),
        ],
    ),
    // Frozen arrays.
    scenario(
        "freeze",
        &[
            Crash("FreezeExclusive", 1, Abandoned),
            Crash("FreezeFlagged", 1, Frozen),
            Crash("FreezeWoken", 1, Frozen),
            Crash("FreezeProtecting", 1, Frozen),
            Crash("FreezeProtected", 1, Frozen),
        ],
    ),
    Scenario {
        is_quiet: true,
        ..helped(
            "freeze for a waiter",
            &[
                Crash("WakeFlagCleared", 1, Frozen),
                Crash("WakeBumped", 1, Frozen),
                Crash("WakeDone", 1, Frozen),
            ],
        )
    },
    helped(
        "await",
        &[
            Crash("FreezeAwaited", 1, Frozen),
            Crash("FrozenAwaited", 1, Frozen),
            Crash("FreezeAwaited", 2, Frozen),
        ],
    ),
    // Events.
    scenario("wait for a name", &[Crash("SignalAwaited", 1, Free)]),
    // Counting writes.
    scenario(
        "watch",
        &[
            Crash("WritersMarked", 1, Free),
            Crash("ChangesWatched", 1, Free),
        ],
    ),
    scenario(
        "write what is watched",
        &[
            Crash("LanePublished", 1, Poison),
            Crash("LaneReplaced", 1, Free),
            Crash("ChangeCounted", 1, Free),
            Crash("ChangeSettled", 1, Free),
            Crash("ChangeBitsCleared", 1, Free),
            Crash("SignalRaised", 1, Free),
        ],
    ),
    scenario("wait for a change", &[Crash("ChangeAwaited", 1, Free)]),
    // Growing.
    scenario(
        "append",
        &[
            Crash("GrowthTurnTaken", 1, Free),
            Crash("GrowthReserved", 1, Free),
            Crash("GrowthReservedNoted", 1, Free),
            Crash("GrowthWritten", 1, Free),
            Crash("GrowthCommitted", 1, Free),
            Crash("GrowthGivenBack", 1, Free),
            Crash("GrowthFlushed", 1, Free),
            Crash("GrowthFlushNoted", 1, Free),
            Crash("GrowthTurnTaken", 2, Free),
            Crash("GrowthFrozen", 1, Frozen),
        ],
    ),
    scenario(
        "append for a waiter",
        &[Crash("GrowthFlagCleared", 1, Free)],
    ),
    helped("wait for rows", &[Crash("GrowthAwaited", 1, Free)]),
    scenario(
        "append after a boot",
        &[
            Crash("GrowthBootTaken", 1, Free),
            Crash("GrowthRestarting", 1, Free),
        ],
    ),
    // Opening and owning arrays.
    scenario(
        "open",
        &[
            Crash("OpenMapped", 1, Free),
            Crash("OpenCounted", 1, Free),
            Crash("OpenHeaderRead", 1, Free),
            Crash("OpenEnlisted", 1, Free),
            Crash("OpenReceived", 1, Free),
            Crash("OpenWritableMapped", 1, Free),
            Crash("MappingCountedOut", 1, Free),
        ],
    ),
    scenario(
        "claim",
        &[
            Crash("ClaimWanted", 1, Claimable),
            Crash("ClaimTaken", 1, Owned),
            Crash("OpenReceived", 1, Owned),
            Crash("GiveBackWanted", 1, Owned),
            Crash("GiveBackDone", 1, Claimable),
        ],
    ),
    scenario(
        "hand over",
        &[
            Crash("HandOverOffered", 1, Owned),
            Crash("HandOverPassed", 1, Claimable),
            Crash("HandOverClaimable", 1, Claimable),
        ],
    ),
    // Another process has the array open, and closes it when the victim is dead or stands.
    opened(
        "hand over to an heir",
        &[
            Crash("HandOverHeirOwns", 1, Gone),
            Crash("HandOverDone", 1, Gone),
        ],
    ),
    scenario(
        "be an heir",
        &[Crash("HeirNamed", 1, Left), Crash("HeirRenounced", 1, Left)],
    ),
    scenario(
        "scope",
        &[
            Crash("ScopeWanted", 1, Owned),
            Crash("ScopeChanged", 1, Claimable),
        ],
    ),
    // Making and deleting them.
    scenario(
        "create",
        &[
            Crash("CreateFileMade", 1, Free),
            Crash("CreateReserved", 1, Free),
            Crash("CreateHeaderWritten", 1, Free),
            Crash("CreateMapped", 1, Free),
            Crash("CreateFilled", 1, Free),
            Crash("PublishEnlisted", 1, Free),
            Crash("PublishReady", 1, Free),
            Crash("NamesLocked", 1, Free),
            Crash("PublishWanted", 1, Free),
            Crash("PublishRenamed", 1, Taken),
            Crash("SignalRaised", 1, Taken),
            Crash("PublishLooked", 1, Taken),
        ],
    ),
    scenario(
        "create unnamed",
        &[
            Crash("CreateFileMade", 1, Free),
            Crash("CreateReserved", 1, Free),
            Crash("CreateHeaderWritten", 1, Free),
            Crash("CreateMapped", 1, Free),
            Crash("CreateFilled", 1, Free),
            Crash("PublishEnlisted", 1, Free),
            Crash("PublishWanted", 1, Free),
            Crash("PublishReady", 1, Owned),
            Crash("PublishLooked", 1, Owned),
        ],
    ),
    helped(
        "create while closing",
        &[
            Crash("PublishClosingSeen", 1, Closed),
            Crash("ReleaseOwnerTaken", 1, Closed),
            Crash("UnlinkWanted", 1, Closed),
        ],
    ),
    scenario("rename", &[Crash("ArrayRenamed", 1, Taken)]),
    scenario("replace", &[Crash("ArrayReplaced", 1, Taken)]),
    scenario(
        "release",
        &[
            Crash("ReleaseOwnerTaken", 1, Taken),
            Crash("ReleaseMarked", 1, Free),
            Crash("NamesLocked", 1, Free),
            Crash("UnlinkWanted", 1, Free),
            Crash("UnlinkDone", 1, Free),
        ],
    ),
    scenario(
        "drop",
        &[
            Crash("DropMarked", 1, Free),
            Crash("UnlinkWanted", 1, Free),
            Crash("UnlinkDone", 1, Free),
        ],
    ),
    // Files that are used again: by the victim, and by another process while the victim opens one.
    opened(
        "drop and keep",
        &[
            Crash("DropMarked", 1, Gone),
            Crash("RecycleTaken", 1, Gone),
            Crash("RecycleBegun", 1, Gone),
            Crash("RecycleKept", 1, Gone),
        ],
    ),
    opened(
        "drop and keep what another member made",
        &[
            Crash("RecycleRenamed", 1, Gone),
            Crash("RecycleTaken", 1, Gone),
            Crash("RecycleKept", 1, Gone),
        ],
    ),
    opened(
        "release and keep",
        &[
            Crash("ReleaseOwnerTaken", 1, Owned),
            Crash("ReleaseMarked", 1, Gone),
            Crash("RecycleTaken", 1, Gone),
            Crash("RecycleBegun", 1, Gone),
            Crash("RecycleKept", 1, Gone),
        ],
    ),
    opened(
        "make of a kept file",
        &[
            Crash("RecycleHeaderWritten", 1, Gone),
            Crash("CreateFilled", 1, Gone),
            Crash("PublishEnlisted", 1, Gone),
            Crash("PublishWanted", 1, Gone),
            Crash("PublishReady", 1, Owned),
            Crash("PublishLooked", 1, Owned),
        ],
    ),
    opened(
        "make of a kept file, named",
        &[
            Crash("RecycleHeaderWritten", 1, Free),
            Crash("PublishReady", 1, Free),
            Crash("NamesLocked", 1, Free),
            Crash("PublishWanted", 1, Free),
            Crash("PublishRenamed", 1, Taken),
        ],
    ),
    scenario(
        "open what is dropped",
        &[
            Crash("OpenMapped", 1, Reused),
            Crash("OpenCounted", 1, Left),
            Crash("OpenHeaderRead", 1, Left),
            Crash("OpenEnlisted", 1, Left),
            Crash("OpenReceived", 1, Left),
            Crash("OpenFromCache", 1, Left),
            Crash("MappingCountedOut", 1, Reused),
            Crash("MappingKept", 1, Reused),
        ],
    ),
    scenario(
        "open what is released",
        &[
            Crash("OpenMapped", 1, Reused),
            Crash("OpenCounted", 1, Left),
            Crash("OpenHeaderRead", 1, Left),
            Crash("OpenReceived", 1, Left),
            Crash("OpenFromCache", 1, Left),
            Crash("MappingKept", 1, Reused),
        ],
    ),
    helped(
        "open what is frozen",
        &[
            Crash("OpenMapped", 1, Frozen),
            Crash("OpenCounted", 1, Frozen),
            Crash("OpenHeaderRead", 1, Frozen),
            Crash("OpenReceived", 1, Frozen),
            Crash("OpenFromCache", 1, Frozen),
        ],
    ),
    // Whole stores.
    scenario(
        "join",
        &[
            Crash("JoinOpened", 1, Free),
            Crash("JoinShared", 1, Free),
            Crash("JoinMapped", 1, Free),
            Crash("JoinIdTaken", 1, Free),
            Crash("JoinAlive", 1, Free),
        ],
    ),
    helped(
        "join after a boot",
        &[
            Crash("JoinBootLocked", 1, Free),
            Crash("JoinBootNoted", 1, Free),
        ],
    ),
    scenario(
        "make a store",
        &[
            Crash("BuildersShared", 1, Swept),
            Crash("StoreBuilt", 1, Swept),
            Crash("StoreLockWritten", 1, Swept),
            Crash("StoreJoined", 1, Swept),
            Crash("StoreInPlace", 1, Swept),
        ],
    ),
    scenario(
        "persist",
        &[
            Crash("PersistWanted", 1, Swept),
            Crash("PersistMarked", 1, Kept),
            Crash("PersistDisowned", 1, Kept),
        ],
    ),
    scenario(
        "sweep",
        &[
            Crash("SweepReleasedFound", 1, Swept),
            Crash("SweepDeadOwnerFound", 1, Swept),
            Crash("SweepDeadOwnerFound", 2, Swept),
            Crash("ReleaseOwnerTaken", 1, Swept),
            Crash("ReleaseMarked", 1, Swept),
            Crash("NamesLocked", 1, Swept),
            Crash("UnlinkWanted", 1, Swept),
            Crash("UnlinkDone", 1, Swept),
            Crash("SweepHalfMadeFound", 1, Swept),
            Crash("SweepHalfMadeRemoved", 1, Swept),
            Crash("SweepStoreDone", 1, Swept),
            Crash("SweepGoneFound", 1, Swept),
            Crash("SweepStoreDeserted", 1, Swept),
            Crash("SweepStoreMarked", 1, Swept),
            Crash("SweepBuildersExcluded", 1, Swept),
            Crash("RenameAwayWanted", 1, Swept),
            Crash("StoreRenamedAway", 1, Swept),
            Crash("StoreFileRemoved", 1, Swept),
            Crash("StoreFileRemoved", 3, Swept),
            Crash("StoreEmptied", 1, Swept),
            Crash("StoreEmptied", 2, Swept),
            Crash("StoreRemoved", 1, Swept),
            Crash("StoreRemoved", 3, Swept),
        ],
    ),
    // Another sweeper was killed before, in the middle of the same work.
    scenario(
        "sweep after a dead sweeper",
        &[
            Crash("SweepGoneFound", 1, Swept),
            Crash("StoreFileRemoved", 1, Swept),
            Crash("StoreEmptied", 1, Swept),
            Crash("StoreRemoved", 1, Swept),
            Crash("SweepBuildersExcluded", 1, Swept),
        ],
    ),
    scenario(
        "close",
        &[
            Crash("CloseMarked", 1, Closed),
            Crash("RenameAwayWanted", 1, Closed),
            Crash("StoreRenamedAway", 1, Closed),
            Crash("StoreFileRemoved", 1, Closed),
            Crash("StoreFileRemoved", 2, Closed),
            Crash("StoreEmptied", 1, Closed),
            Crash("StoreRemoved", 1, Closed),
        ],
    ),
    scenario(
        "close, then open or create",
        &[
            Crash("CloseMarked", 1, Closed),
            Crash("StoreRenamedAway", 1, Closed),
            Crash("StoreFileRemoved", 1, Closed),
        ],
    ),
    scenario(
        "close, then create",
        &[
            Crash("CloseMarked", 1, Closed),
            Crash("StoreFileRemoved", 1, Closed),
        ],
    ),
    helped("close, then close", &[Crash("CloseMarked", 1, Closed)]),
    scenario(
        "drop a store",
        &[
            Crash("CloseMarked", 1, Swept),
            Crash("StoreRenamedAway", 1, Swept),
            Crash("StoreFileRemoved", 1, Swept),
        ],
    ),
    helped("close another's place", &[Crash("StorePutBack", 1, Kept)]),
    // Forks. The process that forks dies, or the child dies inside `fork` and the one that forked
    // goes on.
    scenario("be forked", &[Crash("ForkCounted", 1, Poison)]),
    Scenario {
        can_stand: false,
        is_alone: false,
        ..scenario(
            "fork",
            &[
                Crash("ForkBegun", 1, Free),
                Crash("ForkPartDone", 1, Free),
                Crash("ForkPartDone", 2, Free),
                Crash("ForkDone", 1, Free),
            ],
        )
    },
];
