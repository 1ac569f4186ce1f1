//! Valid files and handles, changed at random and opened through the public interface: each is
//! refused with an error, or opens and can be read whole. Nothing panics, crashes or waits.
#![allow(clippy::unwrap_used, reason = "a test")]

mod changes;
mod edits;

use crate::common::Root;
use crate::forge::{self, Forge};
use changes::{Change, change};
use ciborium::Value;
use edits::{Axes, Edit, axes, count, edit, edited};
use ndarray::{IxDyn, s};
use ndshm::{Element, Error, Handle, Manager, SharedArray, SharedArrayD};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use std::{
    cell::Cell,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Longer than any input may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Elements that are read of each array: a broadcast can have 2^62.
const ELEMENTS: usize = 20_000;

/// A store with one place for a file, and the bytes of valid files of that store.
struct Fixture {
    manager: Manager,
    path: PathBuf,
    files: Vec<Vec<u8>>,
    /// To the array of the first file, and to a view of it.
    handles: [Handle; 2],
    opened: Cell<usize>,
    refused: Cell<usize>,
    _root: Root,
}

impl Fixture {
    fn new() -> Self {
        let root = Root::new();
        let manager = root.manager_that_forgets();
        let path = manager.path().join("x.ndshm");
        let mut files = Vec::new();
        let mut keep = |path: &std::path::Path| {
            files.push(fs::read(path).unwrap());
            fs::remove_file(path).unwrap();
        };
        let xs = manager
            .options()
            .name("x")
            .from_shape_fn::<f64, _>((2, 3), |(i, j)| (3 * i + j) as f64)
            .unwrap();
        let handles = [xs.handle(), xs.slice(s![.., ..;-2]).unwrap().handle()];
        drop(xs);
        keep(&path);
        let attrs = std::collections::BTreeMap::from([("unit", "mm"), ("colour", "blue")]);
        let labelled = manager
            .options()
            .name("x")
            .axis_names(["row", "column"])
            .attrs(&attrs)
            .unwrap();
        drop(
            labelled
                .from_ndarray(&ndarray::array![[1u8, 2], [3, 4], [5, 6]])
                .unwrap(),
        );
        keep(&path);
        drop(
            manager
                .options()
                .name("x")
                .zeros::<[f32; 3], _>(700)
                .unwrap(),
        );
        keep(&path);
        drop(
            manager
                .options()
                .name("x")
                .zeros::<i128, _>((2, 0, 5))
                .unwrap(),
        );
        keep(&path);
        Self {
            manager,
            path,
            files,
            handles,
            opened: Cell::new(0),
            refused: Cell::new(0),
            _root: root,
        }
    }

    /// Opens a file of these bytes in every way, and reads the arrays that open.
    fn try_file(&self, bytes: &[u8]) {
        let start = Instant::now();
        let _ = fs::remove_file(&self.path);
        fs::write(&self.path, bytes).unwrap();
        fs::set_permissions(&self.path, Permissions::from_mode(0o600)).unwrap();
        let _ = self.manager.list().map(|list| {
            list.iter()
                .for_each(|info| drop(format!("{info:?} {:?}", info.attrs::<Value>())))
        });
        self.visit(self.manager.array::<f64, IxDyn>("x"));
        self.visit(SharedArrayD::<u8>::open_path(&self.path));
        self.visit(self.manager.array::<[f32; 3], IxDyn>("x"));
        self.visit(self.manager.array::<i128, IxDyn>("x"));
        self.handles
            .iter()
            .for_each(|handle| self.try_handle(handle));
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }

    fn try_handle(&self, handle: &Handle) {
        let _ = handle.info();
        self.visit(handle.open::<f64, IxDyn>());
        assert_eq!(handle.to_string().parse::<Handle>().unwrap(), *handle);
    }

    fn visit<T: Element>(&self, opened: Result<SharedArray<T, IxDyn>, Error>) {
        let Ok(array) = opened.inspect_err(|error| drop(error.to_string())) else {
            self.refused.set(self.refused.get() + 1);
            return;
        };
        self.opened.set(self.opened.get() + 1);
        // The lock word and the slots may be anything.
        let Ok(guard) = array.try_read() else { return };
        assert_eq!(guard.shape(), array.shape());
        let byte = |element: &T| {
            bytemuck::bytes_of(element)
                .iter()
                .fold(0u8, |sum, &byte| sum ^ byte)
        };
        let sum = guard
            .iter()
            .take(ELEMENTS)
            .fold(0, |sum, element| sum ^ byte(element));
        let last = IxDyn(
            &array
                .shape()
                .iter()
                .map(|n| n.saturating_sub(1))
                .collect::<Vec<_>>(),
        );
        std::hint::black_box(sum ^ guard.get(last).map_or(0, byte));
    }

    /// Both happened: the input is neither all nonsense nor all harmless.
    fn finish(self, least_opened: usize) {
        let (opened, refused) = (self.opened.get(), self.refused.get());
        println!("opened {opened} times, refused {refused} times");
        assert!(
            opened >= least_opened && refused >= least_opened,
            "opened {opened} times, refused {refused} times"
        );
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

#[test]
fn a_file_that_was_changed_anywhere_is_refused_or_read() {
    let fixture = Fixture::new();
    let input = (
        any::<Index>(),
        prop::collection::vec(change(), 0..4),
        any::<bool>(),
        any::<bool>(),
    );
    let property = |(file, changes, fit, mend): (Index, Vec<Change>, bool, bool)| {
        let mut bytes = file.get(&fixture.files).clone();
        changes
            .iter()
            .for_each(|change| change.apply(&mut bytes, &fixture.files));
        if fit && bytes.len() >= 42 {
            // The length that the header says, where that is not huge.
            let len = forge::number(&bytes, 26, 8).wrapping_add(forge::number(&bytes, 34, 8));
            bytes.resize(if len < 1 << 20 { len } else { bytes.len() }, 0);
        }
        if mend {
            forge::mend(&mut bytes);
        }
        fixture.try_file(&bytes);
        Ok(())
    };
    runner(600).run(&input, property).unwrap();
    fixture.finish(50);
}

#[test]
fn a_header_map_with_any_value_in_any_place_is_refused_or_read() {
    let fixture = Fixture::new();
    let input = (
        any::<Index>(),
        prop::option::weighted(0.3, axes()),
        prop::collection::vec((any::<Index>(), edit()), 0..3),
    );
    let property = |(file, axes, edits): (Index, Option<Axes>, Vec<(Index, Edit)>)| {
        let mut forge = Forge::of(&fixture.files[file.index(fixture.files.len())]);
        if let Some(axes) = axes {
            let (shape, strides) = axes
                .into_iter()
                .map(|(n, stride)| (Value::from(n), Value::from(stride)))
                .unzip();
            forge = forge.with(&[
                ("shape", Some(Value::Array(shape))),
                ("strides", Some(Value::Array(strides))),
            ]);
        }
        let map = edits.iter().fold(forge.value(), |map, (place, edit)| {
            edited(&map, &mut Some(place.index(count(&map))), edit)
                .pop()
                .unwrap_or(Value::Map(vec![]))
        });
        fixture.try_file(&forge.with_value(&map).file());
        Ok(())
    };
    runner(600).run(&input, property).unwrap();
    fixture.finish(5);
}

/// A change of a text or of bytes: at a place, so many taken away, and these put there.
fn replacement(pieces: &'static [&'static str]) -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    let piece = prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec());
    let few = prop::collection::vec(any::<u8>(), 0..4);
    (
        any::<Index>(),
        0..6usize,
        prop_oneof![3 => piece, 1 => few, 2 => Just(Vec::new())],
    )
}

fn replaced(bytes: &[u8], changes: &[(Index, usize, Vec<u8>)]) -> Vec<u8> {
    changes
        .iter()
        .fold(bytes.to_vec(), |mut bytes, (at, len, new)| {
            let at = at.index(bytes.len() + 1);
            let end = (at + len).min(bytes.len());
            drop(bytes.splice(at..end, new.iter().copied()));
            bytes
        })
}

const PIECES: &[&str] = &[
    "0",
    "1",
    "8",
    "-",
    "-8",
    "16",
    "48",
    ",",
    ":",
    "/",
    "%",
    "%00",
    "%2F",
    "..",
    "/../",
    "w",
    "r",
    "m=r",
    "s=local",
    "s=remote",
    "o=0:n=6:t=8:",
    "o=",
    "n=",
    "t=",
    "n=0,",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "4611686018427387904,",
    "p=/",
    "\n",
    "\u{fc}",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "null",
    "1e999",
    "\\u0000",
    "true",
];

#[test]
fn a_handle_that_was_changed_anywhere_is_refused_or_opens_what_it_names() {
    let fixture = Fixture::new();
    fs::write(&fixture.path, &fixture.files[0]).unwrap();
    fs::set_permissions(&fixture.path, Permissions::from_mode(0o600)).unwrap();
    let start = Instant::now();
    let input = (
        0..2usize,
        0..3usize,
        prop::collection::vec(replacement(PIECES), 0..3),
    );
    let property = |(which, form, changes): (usize, usize, Vec<_>)| {
        let handle = &fixture.handles[which];
        // Read-only in half of the cases: then views may share elements, and be huge.
        let text = handle.to_string().replacen(
            ":m=w:",
            if changes.len() % 2 == 0 {
                ":m=r:"
            } else {
                ":m=w:"
            },
            1,
        );
        let handle: Handle = text.parse().unwrap();
        let changed = match form {
            0 => String::from_utf8(replaced(text.as_bytes(), &changes))
                .ok()
                .and_then(|text| text.parse().ok()),
            1 => serde_json::from_slice::<Handle>(&replaced(
                &serde_json::to_vec(&handle).unwrap(),
                &changes,
            ))
            .ok(),
            _ => postcard::from_bytes(&replaced(
                &postcard::to_allocvec(&handle).unwrap(),
                &changes,
            ))
            .ok(),
        };
        match changed {
            Some(handle) => fixture.try_handle(&handle),
            None => fixture.refused.set(fixture.refused.get() + 1),
        }
        assert_eq!(
            fs::read(&fixture.path).unwrap()[2176..],
            fixture.files[0][2176..]
        );
        Ok(())
    };
    runner(4000).run(&input, property).unwrap();
    assert!(start.elapsed() < 6 * PATIENCE, "{:?}", start.elapsed());
    fixture.finish(200);
}

/// Views of any numbers over a small array: only those inside open, and all of their elements are
/// the array's.
#[test]
fn a_view_of_any_numbers_is_refused_or_lies_inside() {
    let fixture = Fixture::new();
    fs::write(&fixture.path, &fixture.files[0]).unwrap();
    fs::set_permissions(&fixture.path, Permissions::from_mode(0o600)).unwrap();
    let reading: Handle = fixture.handles[0]
        .to_string()
        .replacen(":m=w:", ":m=r:", 1)
        .parse()
        .unwrap();
    let offset =
        prop_oneof![8 => (0..8usize).prop_map(|n| 8 * n), 1 => any::<usize>(), 1 => 0..60usize];
    let length = prop_oneof![
        8 => 0..4usize,
        1 => any::<usize>(),
        1 => (0..63u32).prop_map(|bits| 1 << bits),
    ];
    let stride = prop_oneof![
        8 => (-4..5isize).prop_map(|n| 8 * n),
        1 => any::<isize>(),
        1 => (0..64u32).prop_map(|bits| isize::MIN >> bits),
    ];
    let input = (
        any::<bool>(),
        offset,
        prop::collection::vec((length, stride), 0..4),
    );
    let property = |(writing, offset, axes): (bool, usize, Vec<(usize, isize)>)| {
        let handle = if writing {
            &fixture.handles[0]
        } else {
            &reading
        };
        let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let view = handle.with_layout(offset, &shape, &strides).unwrap();
        if let Ok(array) = view.open::<f64, IxDyn>() {
            let guard = array.read().unwrap();
            for (index, &element) in guard.indexed_iter().take(1000) {
                // By the definition of a view, in numbers that cannot overflow.
                let place = offset as i128
                    + (0..shape.len())
                        .map(|axis| index[axis] as i128 * strides[axis] as i128)
                        .sum::<i128>();
                prop_assert!((0..48).contains(&place) && place % 8 == 0);
                prop_assert_eq!(element, (place / 8) as f64);
            }
        }
        fixture.try_handle(&view);
        Ok(())
    };
    runner(4000).run(&input, property).unwrap();
    fixture.finish(200);
}
