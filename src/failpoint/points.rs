//! The one list of all fail-points.

macro_rules! points {
    ($($point:ident: $what:literal,)*) => {
        /// A step at which a process can be killed or stopped.
        #[derive(Clone, Copy)]
        pub(crate) enum Point {
            $(#[doc = $what] $point,)*
        }

        /// The names of all points, in the order in which a process usually reaches them.
        pub const NAMES: &[&str] = &[$(stringify!($point)),*];
    };
}

points! {
    // Making a store.
    BuildersShared: "the directory around the new store is locked, shared",
    StoreBuilt: "the new store has its directory, under a temporary name",
    StoreLockWritten: "and its lock file",
    StoreJoined: "and its first member",
    StoreInPlace: "it was renamed into its place",
    PersistWanted: "an ephemeral store is about to be kept",
    PersistMarked: "it is marked as persistent",
    PersistDisowned: "and has no owner any more",

    // Joining one.
    JoinOpened: "the lock file is open",
    JoinShared: "its flock is taken, shared",
    JoinMapped: "its page is mapped",
    JoinBootLocked: "the names are locked, to note another boot",
    JoinBootNoted: "the boot is noted, the names still locked",
    JoinIdTaken: "a member id is taken, and its byte is not locked yet",
    JoinAlive: "its byte is locked",

    // Opening an array.
    OpenMapped: "the file is mapped",
    OpenCounted: "and counted in its openers",
    OpenHeaderRead: "its header was read and accepted",
    OpenFromCache: "or a mapping that was kept is counted again",
    OpenEnlisted: "the process's table of segments has the file",
    OpenWritableMapped: "a second mapping exists, for writing",
    OpenReceived: "the handle's scope was applied, the claim included",
    MappingCountedOut: "a mapping is counted out and still mapped",
    MappingKept: "or it is kept, counted out, for the next opening",
    ClaimWanted: "an opener is about to claim the owner word",
    ClaimTaken: "the owner word is the claimant's",
    GiveBackWanted: "an unused claim is about to be given back",
    GiveBackDone: "the array can be claimed again",
    HandOverOffered: "the array is offered to the first opener of a remote handle",
    HeirNamed: "an opener has taken the offer up",
    HeirRenounced: "the heir has closed the array, or owns it by now",
    HandOverPassed: "an owner ends, and passes on what no process has opened",
    HandOverClaimable: "the array is claimable",
    HandOverHeirOwns: "or the owner word names the heir",
    HandOverDone: "and the heir word none any more",
    ScopeWanted: "the owner word is about to be changed by its owner",
    ScopeChanged: "it was changed",

    // Making one.
    CreateFileMade: "the file exists, empty",
    CreateReserved: "its space is reserved",
    CreateHeaderWritten: "its header is written",
    CreateMapped: "it is mapped",
    CreateFilled: "its elements are written",
    RecycleHeaderWritten: "or a recycled file has its new header",
    PublishEnlisted: "the process's table of segments has the file, which is not ready yet",
    NamesLocked: "the names are locked, to publish or to unlink one",
    PublishReady: "the array is ready, but for its name if it gets a chosen one",
    PublishWanted: "the array is about to be ready, or the file to get its chosen name",
    PublishRenamed: "the file has its name; the closing flag was not checked yet",
    PublishLooked: "the store is not being closed",
    PublishClosingSeen: "the store is being closed, and the new array is still in it",

    // Renaming one.
    ArrayRenamed: "the array has its new name; the closing flag was not checked yet",
    ArrayReplaced: "it has the name of another array, which is not marked as released yet",

    // Deleting one.
    ReleaseOwnerTaken: "the owner word is the deleter's",
    ReleaseMarked: "the array is marked as released",
    DropMarked: "the owner that dropped its last array has marked the file as released",
    UnlinkWanted: "the file is about to be unlinked",
    UnlinkDone: "it is unlinked",
    RecycleRenamed: "or the file of another maker is renamed, to be recycled",
    RecycleTaken: "it is marked as recycling; its openers were not checked yet",
    RecycleBegun: "no other process has it open",
    RecycleKept: "it is kept",

    // Sweeping.
    SweepReleasedFound: "a released array was found that still has its name",
    SweepDeadOwnerFound: "an array of a dead owner was found",
    SweepHalfMadeFound: "a file of a dead maker was found",
    SweepHalfMadeRemoved: "it was removed",
    SweepStoreDone: "the own store is swept, the root is not yet",
    SweepGoneFound: "a store was found that another process renamed away",
    SweepStoreDeserted: "a store without members was found, and is locked against new ones",
    SweepStoreMarked: "it is marked as closing",
    SweepBuildersExcluded: "the root is locked against builders, to delete half-built stores",

    // Closing.
    CloseMarked: "the store is marked as closing",
    RenameAwayWanted: "the marked store is in its place, locked to be renamed away",
    StoreRenamedAway: "it was renamed away",
    StoreFileRemoved: "one of its files was removed",
    StoreEmptied: "all of them were",
    StoreRemoved: "its directory is gone",
    StorePutBack: "another store was renamed away by mistake, and is about to be put back",

    // The lock word.
    WordTaken: "the lock word was taken",
    WordTakenOver: "it was taken over from a dead member",
    WordFreeing: "it is about to be freed",

    // Lanes.
    LaneLeased: "a lane is leased",
    LanesReserved: "the lock file is longer; its number of lanes is not raised yet",
    LanesAdded: "it is raised",
    HintWritten: "an entry of the list leads to the lane; it is not marked as used yet",
    HintSet: "a hint leads to the lane",
    LaneSpanWritten: "the span of the lane is written",
    LanePublished: "it has its tag",
    GuardTaken: "a guard is about to be given",
    AtomicTaken: "an atomic view is about to be given",
    GuardPartWritten: "a part of what rests in the lane is about to be taken",
    GuardRests: "a guard rests in its lane, or could not",
    GuardResumed: "a guard that rested is taken again, or was revoked",
    GuardRevoked: "a guard that rested is revoked, or was taken again",
    GuardsKeptAwake: "no guard in the way of the waiter can rest",
    WithdrawWanted: "a lane is about to be given back",
    LaneReplaced: "it is given back, or poison; the waiters are not woken yet",
    LaneTurned: "the number of the lane's use is raised, its sleepers are not woken",
    LaneWoken: "they were woken",
    WithdrawDone: "the lane is given back",
    PoisonWanted: "a writer that panics is about to leave poison",
    PoisonDone: "the poison is published",
    ClearDeadWanted: "a dead member's lane is about to be cleared",
    DeadCleared: "it is cleared",

    // Waiting.
    WaitFlagged: "the lane in the way says that a waiter sleeps on it",
    WaitPublished: "a wait is published",
    WaitSleeping: "a waiter is about to sleep",
    WaitWoken: "it has woken",
    WaitReady: "a wait is about to become a guard",
    WaitConverted: "it has become one",
    FrozenAwaited: "the waiting flag is set, for the array to be frozen",
    WakeFlagCleared: "a waker has cleared the waiting flag",
    WakeBumped: "the wake word is bumped, the waiters are not woken yet",
    WakeDone: "they were woken",

    // Waiting for an event.
    SignalAwaited: "a thread is about to sleep until an event",
    SignalRaised: "the word of an event is raised, the waiters are not woken yet",

    // Counting writes.
    WritersMarked: "all guards that write say that they are counted; the array is not watched yet",
    ChangesWatched: "it is watched",
    ChangeCounted: "a guard that was given back is counted in one of its stripes",
    ChangeSettled: "its lane does not say any more that it is not counted",
    ChangeAwaited: "a waiter for a change has set the bits of its stripes",
    ChangeBitsCleared: "a waker has cleared the bits of the stripes that are waited for",

    // Poison.
    RecordSpanWritten: "the span of a record of poison is written",
    RecordPublished: "it has its tag",
    PoisonFolded: "a record has moved from a lane into the block",
    MergeBegun: "two records of poison are about to become one",
    MergePitch: "the kept one has no pitch any more",
    MergeWidth: "and no width",
    MergeStart: "and its new start",
    MergeEnd: "and its new end",
    MergeDone: "the other one is free",
    RecoverGuardPublished: "a recovery's guard is published",
    RecoverRestPublished: "a part of a record that the recovery does not cover is published",
    RecoverRecordFreed: "the record is free",

    // Freezing.
    FreezeExclusive: "all of the array is held exclusively, to be frozen",
    FreezeFlagged: "it is frozen, the waiters are not woken yet",
    FreezeWoken: "the waiters are woken, the guard is held",
    FreezeProtecting: "the guard is given back, the pages can still be written",
    FreezeProtected: "the pages cannot be written any more",
    FreezeAwaited: "a consumer checks whether the array is frozen",

    // Rings.
    RingTurnTaken: "a producer has the turn",
    RingDeathNoted: "the death of a producer is noted; its turn is not ended yet",
    RingTurnTakenOver: "it is ended",
    RingFrameHidden: "a slot is hidden; its holders were not looked for again",
    RingFrameWritten: "a frame is about to be published",
    RingFrameWhole: "the frame is whole; it is not the newest yet",
    RingFramePublished: "it is the newest; the subscribers are not woken yet",
    RingWakeRaised: "the word is raised on which they sleep",
    RingSeatTaken: "a seat is taken, by a subscriber that joins",
    RingSeatTakenOver: "the seat of a dead subscriber is taken over, to be cleared",
    RingFramePinned: "a frame is pinned",
    RingFrameAwaited: "the waiting flag is set, for a frame",

    // Growing.
    GrowthAwaited: "a thread is about to sleep until its turn, or until rows are appended",
    GrowthTurnTaken: "an appender has the turn",
    GrowthReserved: "the file has more space; its words do not say so yet",
    GrowthReservedNoted: "they do",
    GrowthWritten: "rows are written, and not committed",
    GrowthCommitted: "they are committed, the turn is not given back",
    GrowthGivenBack: "it is given back, the waiters are not woken yet",
    GrowthFlagCleared: "a waker has cleared their flag",
    GrowthFrozen: "the growth has ended for good, the turn is not given back",
    GrowthFlushed: "the rows are on the disk, their number is not noted",
    GrowthFlushNoted: "it is noted, and not on the disk",
    GrowthBootTaken: "an opener after another boot has the turn",
    GrowthRestarting: "only the flushed rows are left, the words do not say in which boot",

    // Forking.
    ForkCounted: "the parent has counted the mappings that the child inherits",
    ForkBegun: "the child has its generation",
    ForkPartDone: "one part of the library has handled the fork in the child",
    ForkDone: "all parts have",
}
