//! `.npy` files with types and headers that this library does not write by itself.

use super::npy;
use crate::common::Root;
use ndarray::{Ix1, array};
use ndshm::{Export, Import, Order};
use std::fs;

/// Text, times and `longdouble` were refused, also as fields.
#[test]
fn types_that_numpy_alone_has_are_stored_as_others_and_written_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let (path, back) = (scratch.path().join("x.npy"), scratch.path().join("y.npy"));
    let data: Vec<u8> = (0..48).collect();
    for (descr, stored) in [
        ("'<U3'", "(3,)<u4"),
        ("'|S12'", "|V12"),
        ("'<M8[ns]'", "<i8"),
        ("'<m8[25s]'", "<i8"),
        ("'<f16'", "|V16"),
        (
            "[('t', '<M8[s]'), ('s', '|S4')]",
            "{'names': ['t', 's'], 'formats': ['<i8', '|V4'], 'offsets': [0, 8], 'itemsize': 12}",
        ),
        (
            "[('a', [('b', '<i2')], (3,)), ('', '|V2')]",
            "{'names': ['a'], 'formats': ['|V6'], 'offsets': [0], 'itemsize': 8}",
        ),
    ] {
        let size = ndshm::NumpyDType::itemsize(&descr.trim_matches('\'').parse().unwrap());
        let file = npy(descr, &format!("({},)", 48 / size), &data);
        fs::write(&path, &file).unwrap();
        let read = Import::new().name("x").npy(&manager, &path).unwrap();
        assert_eq!(read.dtype().to_string(), stored, "{descr}");
        assert_eq!(read.read_bytes().unwrap(), data, "{descr}");
        // By another opening: the type is in the file.
        let opened = manager.array_any("x").unwrap();
        let export = Export::new().replace();
        export.npy(&opened, &back).unwrap();
        assert_eq!(fs::read(&back).unwrap(), file, "{descr}");
        export.npz(&[("x", &opened)], &back).unwrap();
        let again = Import::new().npz(&manager, &back).unwrap();
        assert_eq!(again.arrays[0].1.numpy_dtype(), opened.numpy_dtype());
        let turned = opened.slice(ndarray::s![..;-1].as_ref()).unwrap();
        assert_eq!(turned.numpy_dtype(), opened.numpy_dtype(), "{descr}");
        opened.release().unwrap();
    }
    // The other byte order, a field alone, and a type that the caller asked for.
    let big = npy(
        "[('s', '>U1'), ('t', '>m8[s]')]",
        "(1,)",
        &[0, 0, 0, 65, 0, 0, 0, 0, 0, 0, 0, 5],
    );
    fs::write(&path, big).unwrap();
    let read = Import::new().npy(&manager, &path).unwrap();
    assert_eq!(
        read.read_bytes().unwrap(),
        [65, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
    );
    let time = read.field("t").unwrap().numpy_dtype().unwrap();
    assert_eq!(time.to_string(), "<m8[s]");
    let text = read.field("s").unwrap();
    assert_eq!(text.numpy_dtype().unwrap().to_string(), "<U1");
    Export::new().replace().npy(&text, &back).unwrap();
    assert!(String::from_utf8_lossy(&fs::read(&back).unwrap()).contains("'descr': '<U1'"));
    fs::write(&path, npy("'|S8'", "(2,)", &[1; 16])).unwrap();
    let read = Import::new()
        .dtype(&"<f8".parse().unwrap())
        .npy(&manager, &path)
        .unwrap();
    assert_eq!(
        (read.dtype().to_string().as_str(), read.numpy_dtype()),
        ("<f8", None)
    );
}

#[test]
fn headers_of_other_writers_are_read() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npy");
    let data = [1u64, 2].map(u64::to_le_bytes).concat();
    for (descr, shape) in [
        ("'u8'", "(2,)"),
        ("'=u8'", "(2L,)"),
        ("'uint64'", "(np.int64(2),)"),
        ("u'Q'", "(numpy.int32(2), )"),
    ] {
        fs::write(&path, npy(descr, shape, &data)).unwrap();
        let read = Import::new().npy(&manager, &path).unwrap();
        let read = read.downcast::<u64, Ix1>().unwrap();
        assert_eq!(read.to_ndarray().unwrap(), array![1, 2], "{descr} {shape}");
    }
}

#[test]
fn elements_without_bytes_and_very_large_ones_become_a_further_axis() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let (path, back) = (scratch.path().join("x.npy"), scratch.path().join("y.npy"));
    for (descr, shape, size, expected) in [
        ("'|S0'", "(2, 3)", 0, vec![2, 3, 0]),
        ("'<U0'", "()", 0, vec![0]),
        ("[]", "(5,)", 0, vec![5, 0]),
        ("'|V2000000'", "(2,)", 4_000_000, vec![2, 2_000_000]),
    ] {
        let file = npy(descr, shape, &vec![7; size]);
        fs::write(&path, &file).unwrap();
        let read = Import::new().npy(&manager, &path).unwrap();
        assert_eq!(
            (read.shape(), read.order()),
            (&expected[..], Some(Order::C))
        );
        Export::new().replace().npy(&read, &back).unwrap();
        assert!(fs::read(&back).unwrap() == file, "{descr}");
    }
}
