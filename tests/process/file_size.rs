//! The limit on the size of files (ulimit -f), which the kernel answers by a signal that ends the
//! process.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root};
use ndshm::{Error, Export, Exportable, Import, Manager, Result, SharedArray1};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::{fs, path::Path};

const LIMIT: u64 = 20_000;

// An export beyond the limit was the signal SIGXFSZ: the process ended without a word.
#[test]
fn an_export_or_import_beyond_the_limit_on_files_is_an_error() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let large = manager
        .from_shape_fn::<f64, _>(10_000, |i| i as f64)
        .unwrap();
    let large = large.into_any().unwrap();
    Export::new()
        .npy(&large, scratch.path().join("large"))
        .unwrap();
    common::run(child_with_a_limit_on_files, &[root.path(), scratch.path()]);
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

type Write = fn(&dyn Exportable, &Path) -> Result<()>;

#[test]
#[ignore = "runs in a child"]
fn child_with_a_limit_on_files() {
    let arguments = common::arguments();
    let (root, scratch) = (&arguments[0], Path::new(&arguments[1]));
    let manager = Manager::builder().root(root).create().unwrap();
    // Values that do not compress.
    let mixed = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let large = manager.from_shape_fn::<u64, _>(10_000, mixed).unwrap();
    let strided = large.slice(ndarray::s![..;2]).unwrap();
    let small = manager.from_shape_fn::<u64, _>(100, mixed).unwrap();
    let named = manager.options().name("named").zeros::<u8, _>(5).unwrap();
    let limit = Rlimit {
        current: Some(LIMIT),
        maximum: Some(LIMIT),
    };
    setrlimit(Resource::Fsize, limit).unwrap();

    let writes: &[Write] = &[
        |array, path| Export::new().npy(array, path),
        |array, path| Export::new().raw(array, path),
        #[cfg(feature = "zip")]
        |array, path| Export::new().npz(&[("a", array)], path),
        #[cfg(feature = "zip")]
        |array, path| Export::new().compress().npz(&[("a", array)], path),
        #[cfg(feature = "safetensors")]
        |array, path| Export::new().safetensors(&[("a", array)], path),
    ];
    for (nth, write) in writes.iter().enumerate() {
        for array in [&large as &dyn Exportable, &strided] {
            let refused = write(array, &scratch.join("refused"));
            let text = format!("{refused:?}");
            assert!(
                matches!(refused, Err(Error::Io { .. })) && text.contains("ulimit -f"),
                "{nth}: {text}"
            );
        }
        write(&small, &scratch.join("small")).unwrap();
        fs::remove_file(scratch.join("small")).unwrap();
    }
    let imported = Import::new().npy(&manager, scratch.join("large"));
    assert!(
        matches!(imported, Err(Error::NoSpace { limited_by, .. }) if limited_by.contains("FSIZE")),
        "{imported:?}"
    );
    // Arrays that fit, or exist, are made, written and flushed.
    large.write().unwrap().fill(1);
    large.flush().unwrap();
    named.flush().unwrap();
    let opened: SharedArray1<u64> = manager.zeros(1000).unwrap();
    opened.flush().unwrap();
    common::done();
}
