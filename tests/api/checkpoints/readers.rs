//! Checkpoints for other readers of Zarr, which `.ci/readers` runs over them.

use super::small;
use crate::common::Root;
use ndshm::{Checkpoint, DType, Order, Structs};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};

/// The variable that names the directory of the checkpoints.
const DIRECTORY: &str = "NDSHM_READERS";
/// Types here, the types that readers see, and the axes that these add.
const TYPES: [(&str, &str, &[usize]); 20] = [
    ("|b1", "|b1", &[]),
    ("|u1", "|u1", &[]),
    ("|i1", "|i1", &[]),
    ("<u2", "<u2", &[]),
    ("<i2", "<i2", &[]),
    ("<u4", "<u4", &[]),
    ("<i4", "<i4", &[]),
    ("<u8", "<u8", &[]),
    ("<i8", "<i8", &[]),
    ("<f2", "<f2", &[]),
    ("<f4", "<f4", &[]),
    ("<f8", "<f8", &[]),
    ("<c8", "<c8", &[]),
    ("<c16", "<c16", &[]),
    ("bfloat16", "<u2", &[]),
    ("uint128", "<u8", &[2]),
    ("int128", "<u8", &[2]),
    ("|V7", "|u1", &[7]),
    ("(2,3)<i2", "<i2", &[2, 3]),
    ("times", "<i8", &[]),
];

fn bytes_of(count: usize, is_bool: bool) -> Vec<u8> {
    let byte = |at: usize| (at as u8).wrapping_mul(29).wrapping_add(17);
    let mask = if is_bool { 1 } else { 0x3d };
    (0..count).map(|at| byte(at) & mask).collect()
}

fn structure() -> DType {
    let dtype = |text: &str| text.parse::<DType>().unwrap();
    let inner = DType::structure([("a", dtype("|u1"), 0), ("b", dtype("<i8"), 8)], 16).unwrap();
    let fields = [
        ("x", dtype("<f4"), 0),
        ("n", inner, 8),
        ("is", dtype("|b1"), 24),
    ];
    DType::structure(fields, 32).unwrap()
}

#[test]
#[ignore = "writes for other programs: .ci/readers"]
fn checkpoints_for_other_readers() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect(DIRECTORY));
    let root = Root::new();
    let manager = root.manager();
    // What a reader has to find: by the path of the array its kind, type, shape and bytes.
    let mut expected: BTreeMap<String, Value> = BTreeMap::new();
    fs::create_dir_all(directory.join("raw")).unwrap();
    let mut expect = |node: &str, kind: &str, dtype: &str, shape: &[usize], bytes: &[u8]| {
        let raw = format!("raw/{}", node.replace('/', "-"));
        fs::write(directory.join(&raw), bytes).unwrap();
        let entry = json!({"kind": kind, "dtype": dtype, "shape": shape, "raw": raw});
        expected.insert(node.into(), entry);
    };
    for (number, (text, seen, inner)) in TYPES.into_iter().enumerate() {
        let is_time = text == "times";
        let dtype: DType = if is_time { "<i8" } else { text }.parse().unwrap();
        for (kind, order, shape) in [
            ("", Order::C, &[7, 5, 3][..]),
            (" in F order", Order::F, &[7, 5, 3]),
            (" with 0 axes", Order::C, &[]),
            (" without elements", Order::C, &[0, 4]),
        ] {
            let name = format!("t{number}-{order:?}{}", shape.len());
            let mut options = manager.options().name(&name);
            if is_time {
                let attrs = BTreeMap::from([("numpy.dtype", "<M8[s]")]);
                options = options.attrs(&attrs).unwrap();
            }
            let array = options.empty_any(&dtype, shape, order).unwrap();
            let mut guard = array.write().unwrap();
            let values = bytes_of(guard.len(), text == "|b1");
            guard
                .iter_mut()
                .zip(values)
                .for_each(|(byte, value)| *byte = value);
            if is_time {
                // Years that calendars have.
                guard.rows_mut().into_iter().for_each(|mut row| {
                    row.slice_mut(ndarray::s![4..]).fill(0);
                });
            }
            let bytes: Vec<u8> = guard.iter().copied().collect();
            let shape = [shape, inner].concat();
            expect(&name, &format!("{text}{kind}"), seen, &shape, &bytes);
        }
    }
    let points = manager.options().name("points");
    let points = points.empty_any(&structure(), &[9], Order::C).unwrap();
    {
        let mut guard = points.write().unwrap();
        let values = bytes_of(guard.len(), false);
        guard
            .iter_mut()
            .zip(values)
            .for_each(|(byte, value)| *byte = value);
        let is = guard.slice_mut(ndarray::s![.., 24]);
        is.into_iter().for_each(|byte| *byte &= 1);
        for (path, seen, at, len) in [
            ("x", "<f4", 0, 4),
            ("n.a", "|u1", 8, 1),
            ("n.b", "<i8", 16, 8),
            ("is", "|b1", 24, 1),
        ] {
            let field = guard.slice(ndarray::s![.., at..at + len]);
            let bytes: Vec<u8> = field.iter().copied().collect();
            expect(
                &format!("points/{path}"),
                "structs by fields",
                seen,
                &[9],
                &bytes,
            );
        }
    }
    let log = manager.options().name("log");
    let log = log.growing::<i64, _>(1000, 2).unwrap();
    for row in 0..7 {
        log.append(&ndarray::array![[row, -row]]).unwrap();
    }
    let rows: Vec<u8> = (0..7_i64)
        .flat_map(|row| [row.to_le_bytes(), (-row).to_le_bytes()].concat())
        .collect();
    expect("log", "growing", "<i8", &[7, 2], &rows);
    let mut groups = Vec::new();
    for (name, settings) in [
        ("plain", small()),
        ("one chunk", Checkpoint::new()),
        ("sharded", small().sharded(300)),
        #[cfg(feature = "zstd")]
        ("zstd", small().zstd(1)),
        #[cfg(feature = "zstd")]
        ("zstd, sharded", small().zstd(3).sharded(300)),
    ] {
        let place = directory.join(name);
        let written = settings.to_directory(&manager, &place).unwrap();
        groups.push(json!({"name": name, "path": place.join(written.id)}));
    }
    let place = directory.join("struct");
    let settings = small().only(["points"]).structs(Structs::Struct);
    let written = settings.to_directory(&manager, &place).unwrap();
    let described = json!({
        "groups": groups,
        "arrays": expected,
        "struct": place.join(written.id),
    });
    fs::write(directory.join("expected.json"), described.to_string()).unwrap();
}
