// The guide of docs/guide, with its links pointing here: of two definitions of a link the first
// counts. The module exists for rustdoc only, which also runs the code of the guide and the README;
// that of two pages needs other libraries, and runs in crates/ndshm-checks.
#![doc = "
[worker-pools]: crate::guide::worker_pools
[frozen-frames]: crate::guide::frozen_frames
[rings]: crate::guide::rings
[growing]: crate::guide::growing
[resume]: crate::guide::resume
[checkpoints]: crate::guide::checkpoints
[run-time-types]: crate::guide::run_time_types
[where-it-runs]: crate::guide::where_it_runs
[administrators]: crate::guide::administrators
[safety]: crate::guide::safety
[coming-from]: crate::guide::coming_from
[dask]: crate::guide::dask
[xarray]: crate::guide::xarray
[torch]: crate::guide::torch
[ray]: crate::guide::ray
"]
#![doc = include_str!("../docs/guide/README.md")]

#[cfg_attr(not(doctest), doc = include_str!("../docs/guide/worker-pools.md"))]
pub mod worker_pools {}

#[doc = "[rings]: crate::guide::rings\n\n"]
#[doc = include_str!("../docs/guide/frozen-frames.md")]
pub mod frozen_frames {}

#[doc = include_str!("../docs/guide/rings.md")]
pub mod rings {}

#[doc = include_str!("../docs/guide/growing.md")]
pub mod growing {}

#[doc = "[where-it-runs]: crate::guide::where_it_runs\n\n"]
#[doc = include_str!("../docs/guide/resume.md")]
pub mod resume {}

#[cfg(feature = "zarr")]
#[doc = include_str!("../docs/guide/checkpoints.md")]
pub mod checkpoints {}

#[doc = include_str!("../docs/guide/run-time-types.md")]
pub mod run_time_types {}

#[doc = include_str!("../docs/guide/where-it-runs.md")]
pub mod where_it_runs {}

#[doc = "[where-it-runs]: crate::guide::where_it_runs\n\n"]
#[doc = include_str!("../docs/guide/administrators.md")]
pub mod administrators {}

#[doc = include_str!("../docs/guide/safety.md")]
pub mod safety {}

#[doc = "[frozen-frames]: crate::guide::frozen_frames\n\n"]
#[cfg_attr(not(doctest), doc = include_str!("../docs/guide/coming-from.md"))]
pub mod coming_from {}

#[doc = include_str!("../docs/guide/dask.md")]
pub mod dask {}

#[doc = "[dask]: crate::guide::dask\n\n"]
#[doc = include_str!("../docs/guide/xarray.md")]
pub mod xarray {}

#[doc = "[rings]: crate::guide::rings\n\n"]
#[doc = include_str!("../docs/guide/torch.md")]
pub mod torch {}

#[doc = include_str!("../docs/guide/ray.md")]
pub mod ray {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
