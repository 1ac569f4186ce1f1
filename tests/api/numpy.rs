//! Files of other formats against NumPy itself: NumPy reads exported files, and its files are
//! imported. Started by `.ci/numpy`.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common::Root;
use ndarray::s;
use ndshm::{AnyArray, DType, Element, Error, Export, Import, Manager, Order, SharedArray};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Runs the script of all formats.
fn python(verb: &str, directory: &Path) {
    script("transfer.py", verb, directory);
}

/// Runs a script of `tests/numpy` with the interpreter that has NumPy.
fn script(name: &str, verb: &str, directory: &Path) {
    let interpreter = std::env::var_os("NDSHM_PYTHON")
        .expect("NDSHM_PYTHON names a Python with numpy, ml_dtypes and safetensors");
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/numpy")
        .join(name);
    let output = Command::new(interpreter)
        .arg(script)
        .arg(verb)
        .arg(directory)
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}{stderr}");
    println!("{stdout}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn patterned<T: Element>(manager: &Manager, f: bool) -> SharedArray<T, ndarray::Ix3> {
    use ndarray::ShapeBuilder;
    let shape = (3, 4, 5).set_f(f);
    let array = manager.zeros::<T, _>(shape).unwrap();
    let is_bool = T::DTYPE.to_string() == "|b1";
    let bytes: Vec<u8> = (0..60 * size_of::<T>())
        .map(|i| {
            if is_bool {
                (i % 3 == 0).into()
            } else {
                (i * 37 + 11) as u8
            }
        })
        .collect();
    array.into_any().unwrap().write_bytes(&bytes).unwrap();
    array
}

/// Writes an array in every format that has its type. `descr` is NumPy's type for it, in Python.
fn write(
    array: &AnyArray,
    descr: Option<&str>,
    number: &mut usize,
    directory: &Path,
    cases: &mut Vec<Value>,
) {
    *number += 1;
    let text = array.dtype().to_string();
    let inner = text
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .map(|(dims, _)| dims);
    let dims = inner
        .into_iter()
        .flat_map(|dims| dims.split(','))
        .filter(|dim| !dim.is_empty())
        .map(|dim| dim.parse::<usize>().unwrap());
    let shape: Vec<usize> = array.shape().iter().copied().chain(dims).collect();
    let is_fortran = array.order() == Some(Order::F) && inner.is_none();
    let mut note = |file: String, key: Option<&str>, fortran| {
        cases.push(json!({
            "file": file,
            "key": key,
            "shape": shape,
            "dtype": text,
            "descr": descr,
            "fortran": fortran,
            "bytes": hex(&array.read_bytes().unwrap()),
        }));
    };
    let name = format!("out{number}.npy");
    Export::new().npy(array, directory.join(&name)).unwrap();
    note(name, None, is_fortran);
    let name = format!("out{number}.npz");
    Export::new()
        .npz(&[("arr_0", array)], directory.join(&name))
        .unwrap();
    note(name, Some("arr_0"), is_fortran);
    let name = format!("outc{number}.npz");
    Export::new()
        .compress()
        .npz(&[("some key", array)], directory.join(&name))
        .unwrap();
    note(name, Some("some key"), is_fortran);
    let name = format!("out{number}.safetensors");
    match Export::new().safetensors(&[("arr_0", array)], directory.join(&name)) {
        Ok(()) => note(name, Some("arr_0"), false),
        Err(Error::Transfer { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

#[test]
#[ignore = "needs NumPy: started by .ci/numpy"]
fn numpy_reads_exported_files() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let (mut number, mut cases) = (0, Vec::new());
    macro_rules! scalars {
        ($($type:ty: $descr:expr),* $(,)?) => {$(
            for f in [false, true] {
                let array = patterned::<$type>(&manager, f);
                let views = [
                    array.into_any().unwrap(),
                    array.slice(s![..;-1, 1..;2, ..]).unwrap().into_any().unwrap(),
                    array.slice(s![0..2, 0, 0..0]).unwrap().into_any().unwrap(),
                    array.slice(s![1, 2, 3]).unwrap().into_any().unwrap(),
                    array.t().unwrap().into_any().unwrap(),
                ];
                for view in &views {
                    write(view, $descr, &mut number, scratch.path(), &mut cases);
                }
            }
        )*};
    }
    scalars! {
        ndshm::Bool: Some("'?'"),
        u8: Some("'u1'"),
        i8: Some("'i1'"),
        u16: Some("'<u2'"),
        i16: Some("'<i2'"),
        u32: Some("'<u4'"),
        i32: Some("'<i4'"),
        u64: Some("'<u8'"),
        i64: Some("'<i8'"),
        u128: Some("'V16'"),
        i128: Some("'V16'"),
        half::f16: Some("'<f2'"),
        half::bf16: Some("ml_dtypes.bfloat16"),
        f32: Some("'<f4'"),
        f64: Some("'<f8'"),
        num_complex::Complex32: Some("'<c8'"),
        num_complex::Complex64: Some("'<c16'"),
        [u8; 5]: Some("'V5'"), [f32; 3]: Some("'<f4'"), [[u16; 2]; 3]: Some("'<u2'"),
    }
    let inner = DType::structure(
        [("x", f64::DTYPE, 8), ("y", "(2,)<i2".parse().unwrap(), 0)],
        24,
    )
    .unwrap();
    let outer = DType::structure(
        [
            ("n", u8::DTYPE, 1),
            ("é'", inner, 8),
            ("日", "bfloat16".parse().unwrap(), 4),
        ],
        40,
    )
    .unwrap();
    let descr = "{'names': ['n', '日', 'é\\''], 'formats': ['u1', 'V2', {'names': ['y', 'x'], \
                 'formats': [('<i2', (2,)), '<f8'], 'offsets': [0, 8], 'itemsize': 24}], \
                 'offsets': [1, 4, 8], 'itemsize': 40}";
    for shape in [&[][..], &[4], &[2, 3], &[0]] {
        let array = manager.zeros_any(&outer, shape).unwrap();
        // NumPy does not specify the padding that it loads.
        let is_element = |i: usize| matches!(i % 40, 1 | 4..6 | 8..12 | 16..24);
        array
            .write_bytes(
                &(0..array.len() * 40)
                    .map(|i| if is_element(i) { i as u8 } else { 0 })
                    .collect::<Vec<_>>(),
            )
            .unwrap();
        write(&array, Some(descr), &mut number, scratch.path(), &mut cases);
    }
    fs::write(
        scratch.path().join("written.json"),
        serde_json::to_string(&cases).unwrap(),
    )
    .unwrap();
    assert!(cases.len() > 600, "{}", cases.len());
    python("check", scratch.path());
}

#[test]
#[ignore = "needs NumPy: started by .ci/numpy"]
fn files_of_numpy_are_imported() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    python("write", scratch.path());
    let cases: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(scratch.path().join("expected.json")).unwrap())
            .unwrap();
    let mut read = 0;
    for case in &cases {
        let file = case["file"].as_str().unwrap();
        let path = scratch.path().join(file);
        if case["refused"] == true {
            let error = Import::new().npy(&manager, &path).unwrap_err();
            println!("{error}");
            assert!(matches!(error, Error::Transfer { .. }));
            continue;
        }
        let array = match path.extension().unwrap().to_str().unwrap() {
            "npy" => Import::new().npy(&manager, &path).unwrap(),
            "npz" => only(Import::new().npz(&manager, &path).unwrap().arrays, case),
            _ => only(
                Import::new().safetensors(&manager, &path).unwrap().arrays,
                case,
            ),
        };
        assert_eq!(json!(array.shape()), case["shape"], "{case}");
        assert_eq!(json!(array.dtype().itemsize()), case["itemsize"], "{case}");
        assert_eq!(
            json!(hex(&array.read_bytes().unwrap())),
            case["bytes"],
            "{case}"
        );
        assert_eq!(
            array.order() == Some(Order::F),
            case["fortran"] == true,
            "{case}"
        );
        read += 1;
    }
    assert!(read > 400, "{read}");
    assert_eq!(manager.list().unwrap().len(), 0);
}

fn only(mut arrays: Vec<(String, AnyArray)>, case: &Value) -> AnyArray {
    assert_eq!((arrays.len(), json!(arrays[0].0)), (1, case["key"].clone()));
    arrays.remove(0).1
}

/// A reviewer tried 297 files: 36 were refused that NumPy reads (text, times, `longdouble`, arrays
/// of structs as fields, types without a byte order). The corpus has every type, order, shape and
/// version, and headers that other programs write.
#[test]
#[ignore = "needs NumPy: started by .ci/numpy"]
fn every_file_that_numpy_reads_without_pickle_is_imported_and_written_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    script("corpus.py", "write", scratch.path());
    let cases: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(scratch.path().join("corpus.json")).unwrap())
            .unwrap();
    let (mut exact, mut beyond, mut refused) = (0, 0, BTreeMap::<String, Vec<&str>>::new());
    let mut wrong = Vec::new();
    for case in &cases {
        let file = case["file"].as_str().unwrap();
        let kind = case["kind"].as_str().unwrap();
        match Import::new().npy(&manager, scratch.path().join(file)) {
            Ok(array) => {
                let back = scratch.path().join(format!("back-{file}"));
                Export::new().npy(&array, back).unwrap();
                match case["bytes"].as_str() {
                    None => beyond += 1,
                    Some("skipped") => exact += 1,
                    Some(bytes) if hex(&array.read_bytes().unwrap()) == bytes => exact += 1,
                    Some(_) => wrong.push(kind),
                }
            }
            Err(error) => {
                let reason = error.to_string();
                let reason = reason
                    .split_once(".npy: ")
                    .map_or(&*reason, |(_, reason)| reason);
                let by = if case["bytes"].is_null() {
                    "neither"
                } else {
                    "NumPy reads"
                };
                refused
                    .entry(format!("{by}: {reason}"))
                    .or_default()
                    .push(kind);
            }
        }
    }
    println!(
        "{} files: {exact} byte-exact, {beyond} that NumPy refuses",
        cases.len()
    );
    for (reason, kinds) in &mut refused {
        let count = kinds.len();
        kinds.dedup();
        println!("{count} refused: {reason} {kinds:?}");
    }
    assert_eq!(wrong, Vec::<&str>::new());
    let mut refused: Vec<_> = refused.into_values().flatten().collect();
    refused.sort_unstable();
    refused.dedup();
    // The 64 KiB of an array's header have no room for the 4000 fields of "more".
    assert_eq!(refused, ["field", "more", "object", "subarray"]);
    script("corpus.py", "check", scratch.path());
    assert_eq!(manager.list().unwrap().len(), 0);
}
