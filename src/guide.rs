//! The code of the guide and of the README: it runs with the doctests.

#[doc = include_str!("../README.md")]
struct Readme;

#[doc = include_str!("../docs/guide/README.md")]
struct Guide;

#[doc = include_str!("../docs/guide/worker-pools.md")]
struct WorkerPools;

#[doc = include_str!("../docs/guide/frozen-frames.md")]
struct FrozenFrames;

#[doc = include_str!("../docs/guide/resume.md")]
struct Resume;

#[doc = include_str!("../docs/guide/run-time-types.md")]
struct RunTimeTypes;

#[doc = include_str!("../docs/guide/where-it-runs.md")]
struct WhereItRuns;

#[doc = include_str!("../docs/guide/safety.md")]
struct Safety;

#[doc = include_str!("../docs/guide/coming-from.md")]
struct ComingFrom;
