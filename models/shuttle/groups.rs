//! The groups of members that the models run.

/// Members that act on the arrays of a store at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    pub(crate) members: u64,
    /// Arrays, which share the lanes.
    pub(crate) arrays: usize,
    /// Actions of each member, one after the other.
    pub(crate) actions: u32,
    /// The most guards that one member holds at once.
    pub(crate) guards: u32,
    /// One in this many write guards ends by a panic; 0 means none.
    pub(crate) panics: u32,
    /// One in this many members dies; 0 means none.
    pub(crate) deaths: u32,
    /// Further members, which only consume: they watch an array and wait for changes of it.
    pub(crate) consumers: u64,
}

const LIVING: Group = Group {
    members: 3,
    arrays: 1,
    actions: 4,
    guards: 1,
    panics: 0,
    deaths: 0,
    consumers: 0,
};

pub(crate) const GROUPS: &[(&str, Group)] = &[
    ("3 members that live", LIVING),
    (
        "5 members that wait for their turns",
        Group {
            members: 5,
            ..LIVING
        },
    ),
    (
        "4 members that use two arrays",
        Group {
            members: 4,
            arrays: 2,
            ..LIVING
        },
    ),
    (
        "4 members that take all lanes",
        Group {
            members: 4,
            actions: 3,
            guards: 4,
            ..LIVING
        },
    ),
    (
        "3 members that panic",
        Group {
            guards: 2,
            panics: 3,
            ..LIVING
        },
    ),
    (
        "4 members that panic and die",
        Group {
            members: 4,
            actions: 3,
            guards: 2,
            panics: 6,
            deaths: 2,
            ..LIVING
        },
    ),
    (
        "4 members that panic and die, with two arrays",
        Group {
            members: 4,
            arrays: 2,
            guards: 2,
            panics: 6,
            deaths: 2,
            ..LIVING
        },
    ),
    (
        "3 members, and 2 that wait for changes",
        Group {
            actions: 3,
            consumers: 2,
            ..LIVING
        },
    ),
    (
        "3 members that panic and die, and 2 that wait for changes",
        Group {
            actions: 3,
            guards: 2,
            panics: 4,
            deaths: 3,
            consumers: 2,
            ..LIVING
        },
    ),
];
