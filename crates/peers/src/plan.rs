//! The plan of a run: sizes, jobs, and the number of calls and rounds.

/// A part of the run: one job for every variant, in rounds.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The job.
    pub job: Job,
    /// The most rounds.
    pub rounds: usize,
    /// Seconds after which no further round starts.
    pub seconds: f64,
    /// Whether only the variants that the goals need are measured: floors, this library, memmap2.
    pub is_narrow: bool,
}

/// A job for a producer.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    /// All operations on arrays of `bytes`, `calls` times.
    Turn { bytes: usize, calls: usize },
    /// Many small arrays at the same time.
    Crowd { arrays: usize, bytes: usize },
    /// Arrays whose elements were not written.
    Large { bytes: usize, calls: usize },
    /// The memory of an array.
    Memory { bytes: usize },
}

impl Job {
    /// The line that tells a producer the job.
    pub fn line(self) -> String {
        match self {
            Self::Turn { bytes, calls } => format!("turn {bytes} {calls}"),
            Self::Crowd { arrays, bytes } => format!("crowd {arrays} {bytes}"),
            Self::Large { bytes, calls } => format!("large {bytes} {calls}"),
            Self::Memory { bytes } => format!("memory {bytes}"),
        }
    }

    /// The number of arrays whose common time is reported.
    pub fn arrays(self) -> usize {
        if let Self::Crowd { arrays, .. } = self {
            arrays
        } else {
            1
        }
    }

    /// A smaller job for a variant that failed at this crowd; `None` if it was made smaller
    /// already.
    pub fn smaller(self, first: Self) -> Option<Self> {
        match (self, first) {
            (
                Self::Crowd { arrays, bytes },
                Self::Crowd {
                    arrays: of_first, ..
                },
            ) if arrays == of_first => Some(Self::Crowd {
                arrays: arrays / 4,
                bytes,
            }),
            _ => None,
        }
    }

    /// Bytes of an array.
    pub fn bytes(self) -> usize {
        match self {
            Self::Turn { bytes, .. }
            | Self::Crowd { bytes, .. }
            | Self::Large { bytes, .. }
            | Self::Memory { bytes } => bytes,
        }
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// Sizes of the tables and plots.
pub const SIZES: [usize; 6] = [4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, GIB];
/// A size that a goal names and the tables leave out.
pub const GOAL_SIZE: usize = 2 * MIB;
/// Small arrays that exist at the same time.
pub const CROWD: usize = 10_000;
/// Bytes of a small array.
pub const SMALL: usize = 4 * KIB;
/// Bytes of the array that is opened and not filled.
pub const LARGE: usize = 8 * GIB;
/// Bytes of the array whose memory is measured.
pub const OCCUPYING: usize = 256 * MIB;
/// Arrays that a store holds while others are made and opened in it.
pub const STORE: usize = 100_000;

/// The sections of a run.
pub fn sections(is_quick: bool) -> Vec<Section> {
    let turn = |bytes, calls, rounds, seconds| Section {
        job: Job::Turn { bytes, calls },
        rounds,
        seconds,
        is_narrow: false,
    };
    let narrow = |bytes, calls, rounds, seconds| Section {
        is_narrow: true,
        ..turn(bytes, calls, rounds, seconds)
    };
    let other = |job, rounds, seconds| Section {
        job,
        rounds,
        seconds,
        is_narrow: false,
    };
    if is_quick {
        return vec![
            turn(4 * KIB, 20, 4, 5.0),
            turn(64 * KIB, 20, 4, 5.0),
            turn(MIB, 8, 3, 5.0),
            narrow(GOAL_SIZE, 8, 3, 2.0),
            turn(16 * MIB, 2, 3, 5.0),
            turn(256 * MIB, 1, 1, 1.0),
            other(
                Job::Crowd {
                    arrays: CROWD / 10,
                    bytes: SMALL,
                },
                1,
                1.0,
            ),
            other(
                Job::Memory {
                    bytes: OCCUPYING / 16,
                },
                1,
                1.0,
            ),
        ];
    }
    vec![
        turn(4 * KIB, 60, 21, 40.0),
        turn(64 * KIB, 50, 21, 40.0),
        turn(MIB, 20, 21, 50.0),
        narrow(GOAL_SIZE, 20, 21, 15.0),
        turn(16 * MIB, 4, 16, 75.0),
        turn(256 * MIB, 1, 6, 80.0),
        narrow(256 * MIB, 2, 6, 40.0),
        turn(GIB, 1, 2, 100.0),
        narrow(GIB, 1, 6, 60.0),
        other(
            Job::Crowd {
                arrays: CROWD,
                bytes: SMALL,
            },
            3,
            60.0,
        ),
        other(
            Job::Large {
                bytes: LARGE,
                calls: 2,
            },
            1,
            30.0,
        ),
        other(Job::Memory { bytes: OCCUPYING }, 1, 30.0),
    ]
}
