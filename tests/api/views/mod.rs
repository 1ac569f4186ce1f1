//! Views: whatever chain of operations made one, and however many hops it travelled, it names the
//! elements that ndarray would.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod cases;

use crate::common::{self, Root};
use ndarray::{
    Array, ArrayD, ArrayViewD, Axis, Dimension, Ix2, IxDyn, Order, ShapeBuilder, Slice, SliceInfo,
    SliceInfoElem, s,
};
use ndshm::{Error, Handle, Order as NdshmOrder, SharedArrayD};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{cell::Cell, collections::HashMap};

/// One operation on a view, in numbers that are fitted to the view it meets.
#[derive(Clone, Debug)]
enum Operation {
    /// For each axis: start, length, step; every fourth axis is indexed instead, and some get a new
    /// axis before them; four axes become eight at most.
    Slice(Vec<(usize, usize, isize)>),
    SliceAxis(usize, usize, usize, isize),
    IndexAxis(usize, usize),
    InsertAxis(usize),
    /// The first or the second part.
    SplitAt(usize, usize, bool),
    Chunk(usize, usize, usize),
    Reverse,
    Rotate(usize),
    Diag,
    Broadcast(usize),
    Reshape(bool),
    Subview(usize),
    ReadOnly,
    View,
}

fn operation() -> impl Strategy<Value = Operation> {
    let step =
        prop_oneof![2 => -3isize..0, 2 => 1isize..4, 1 => Just(isize::MAX), 1 => Just(-isize::MAX)];
    prop_oneof![
        4 => prop::collection::vec((0..8usize, 0..8usize, step.clone()), 8)
            .prop_map(Operation::Slice),
        2 => (0..7usize, 0..8usize, 0..8usize, step)
            .prop_map(|(axis, start, len, step)| Operation::SliceAxis(axis, start, len, step)),
        1 => (0..7usize, 0..8usize).prop_map(|(axis, index)| Operation::IndexAxis(axis, index)),
        1 => (0..7usize).prop_map(Operation::InsertAxis),
        1 => (0..7usize, 0..8usize, any::<bool>())
            .prop_map(|(axis, index, first)| Operation::SplitAt(axis, index, first)),
        1 => (0..7usize, 1..4usize, 0..4usize)
            .prop_map(|(axis, size, which)| Operation::Chunk(axis, size, which)),
        1 => Just(Operation::Reverse),
        1 => (1..7usize).prop_map(Operation::Rotate),
        1 => Just(Operation::Diag),
        1 => (1..4usize).prop_map(Operation::Broadcast),
        1 => any::<bool>().prop_map(Operation::Reshape),
        1 => (0..8usize).prop_map(Operation::Subview),
        1 => Just(Operation::ReadOnly),
        1 => Just(Operation::View),
    ]
}

/// A range of an axis of this length.
fn range(length: usize, start: usize, len: usize, step: isize) -> Slice {
    let start = start % (length + 1);
    Slice::new(
        start as isize,
        Some((start + len % (length - start + 1)) as isize),
        step,
    )
}

/// The elements of a slice of these axes.
fn elements(shape: &[usize], numbers: &[(usize, usize, isize)]) -> Vec<SliceInfoElem> {
    let mut elements = Vec::new();
    for (&length, &(start, len, step)) in shape.iter().zip(numbers) {
        if start == 7 && shape.len() < 5 {
            elements.push(SliceInfoElem::NewAxis);
        }
        elements.push(match len == 7 && length > 0 {
            true => SliceInfoElem::Index(
                (start % length) as isize - if step < 0 { length as isize } else { 0 },
            ),
            false => range(length, start, len, step).into(),
        });
    }
    elements
}

fn slice_info(elements: Vec<SliceInfoElem>) -> SliceInfo<Vec<SliceInfoElem>, IxDyn, IxDyn> {
    SliceInfo::try_from(elements).unwrap()
}

/// Applies the operation, where it fits, to a shared view and to a plain one.
fn apply<'a>(
    operation: &Operation,
    shared: SharedArrayD<i32>,
    plain: &'a ArrayViewD<'_, i32>,
) -> (SharedArrayD<i32>, ArrayViewD<'a, i32>) {
    let (ndim, shape) = (plain.ndim(), plain.shape());
    let axis = |number: usize| Axis(number % ndim);
    let length = |number: usize| shape[number % ndim];
    let view = plain.view();
    match *operation {
        Operation::Slice(ref numbers) => {
            let elements = elements(shape, numbers);
            (
                shared.slice(slice_info(elements.clone())).unwrap(),
                view.slice_move(slice_info(elements)),
            )
        }
        Operation::SliceAxis(number, start, len, step) if ndim > 0 => {
            let slice = range(length(number), start, len, step);
            (
                shared.slice_axis(axis(number), slice).unwrap(),
                plain.slice_axis(axis(number), slice),
            )
        }
        Operation::IndexAxis(number, index) if ndim > 0 && length(number) > 0 => {
            let index = index % length(number);
            (
                shared.index_axis(axis(number), index).unwrap(),
                plain.index_axis(axis(number), index),
            )
        }
        Operation::InsertAxis(number) if ndim < 6 => {
            let axis = Axis(number % (ndim + 1));
            (shared.insert_axis(axis).unwrap(), view.insert_axis(axis))
        }
        Operation::SplitAt(number, index, first) if ndim > 0 => {
            let index = index % (length(number) + 1);
            let (shared, plain) = (
                shared.split_at(axis(number), index).unwrap(),
                view.split_at(axis(number), index),
            );
            if first {
                (shared.0, plain.0)
            } else {
                (shared.1, plain.1)
            }
        }
        Operation::Chunk(number, size, which) if ndim > 0 && length(number) > 0 => {
            let which = which % length(number).div_ceil(size);
            let chunk = shared
                .axis_chunks(axis(number), size)
                .unwrap()
                .nth(which)
                .unwrap();
            (
                chunk,
                plain.slice_axis(
                    axis(number),
                    Slice::from(which * size..length(number).min((which + 1) * size)),
                ),
            )
        }
        Operation::Reverse => (shared.t().unwrap(), view.reversed_axes()),
        Operation::Rotate(by) if ndim > 0 => {
            let axes: Vec<_> = (0..ndim).map(|axis| (axis + by) % ndim).collect();
            (
                shared.permuted_axes(axes.as_slice()).unwrap(),
                view.permuted_axes(axes),
            )
        }
        Operation::Diag if ndim > 0 => (
            shared.diag().unwrap().into_dyn().unwrap(),
            view.into_diag().into_dyn(),
        ),
        Operation::Broadcast(n) if ndim < 5 && !shape.contains(&0) => {
            let wide: Vec<_> = [n]
                .into_iter()
                .chain(
                    shape
                        .iter()
                        .map(|&length| if length == 1 { n } else { length }),
                )
                .collect();
            (
                shared.broadcast(wide.as_slice()).unwrap(),
                plain.broadcast(wide).unwrap(),
            )
        }
        Operation::Reshape(f_order) => {
            let len = [plain.len()];
            let flat = (
                len.as_slice(),
                if f_order {
                    Order::ColumnMajor
                } else {
                    Order::RowMajor
                },
            );
            match (
                shared.into_shape_with_order(flat),
                view.clone().into_shape_with_order(flat),
            ) {
                (Ok(shared), Ok(flat)) => (shared, flat),
                (Err(Error::Layout { .. }), Err(_)) => (shared, view),
                (ours, theirs) => {
                    panic!("one reshapes and the other does not: {ours:?} {theirs:?}")
                }
            }
        }
        Operation::Subview(start) if ndim > 0 => {
            let slice = range(length(0), start, 7, 1);
            let part = shared
                .subview(&shared.read().unwrap().slice_axis(Axis(0), slice))
                .unwrap();
            (part, plain.slice_axis(Axis(0), slice))
        }
        Operation::ReadOnly => (shared.read_only().unwrap(), view),
        _ => (shared.view().unwrap(), view),
    }
}

/// The ways that a handle travels.
fn hop(shared: SharedArrayD<i32>, way: usize) -> SharedArrayD<i32> {
    let handle = shared.handle();
    match way {
        0 => return shared,
        1 => handle.to_string().parse().unwrap(),
        2 => serde_json::from_str(&serde_json::to_string(&handle).unwrap()).unwrap(),
        3 => postcard::from_bytes::<Handle>(&postcard::to_allocvec(&handle).unwrap()).unwrap(),
        _ => {
            let mut bytes = Vec::new();
            ciborium::into_writer(&handle, &mut bytes).unwrap();
            ciborium::from_reader(&bytes[..]).unwrap()
        }
    }
    .open()
    .unwrap()
}

/// Applies the operations one after the other, compares at every step, and gives the result to
/// `end`.
fn follow(
    shared: SharedArrayD<i32>,
    plain: &ArrayViewD<'_, i32>,
    chain: &[(Operation, usize)],
    end: &dyn Fn(SharedArrayD<i32>, &ArrayViewD<'_, i32>),
) {
    assert_eq!(*shared.read().unwrap(), *plain);
    let Some(((operation, way), rest)) = chain.split_first() else {
        return end(shared, plain);
    };
    let (shared, plain) = apply(operation, shared, plain);
    let is_writable = shared.is_writable();
    let shared = hop(shared, *way);
    assert_eq!(
        (shared.shape(), shared.is_writable()),
        (plain.shape(), is_writable),
        "{operation:?}"
    );
    for (axis, (ours, theirs)) in shared.strides().iter().zip(plain.strides()).enumerate() {
        assert!(
            ours == theirs || plain.shape()[axis] <= 1 || plain.is_empty(),
            "{operation:?}: {:?} {:?}",
            shared.strides(),
            plain.strides()
        );
    }
    follow(shared, &plain, rest, end);
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(
        prop_oneof![1 => Just(0usize), 2 => Just(1), 9 => 2..6usize],
        0..5,
    )
}

/// A runner of so many cases, or of as many as `PROPTEST_CASES` says.
fn runner(cases: u32) -> TestRunner {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        default.cases
    } else {
        cases
    };
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..default
    })
}

#[test]
fn any_chain_of_views_over_any_number_of_hops_is_what_ndarray_makes_of_it() {
    let root = Root::new();
    let manager = root.manager();
    let chain = prop::collection::vec((operation(), 0..5usize), 0..12);
    let property = |(shape, f_order, chain): (Vec<usize>, bool, Vec<(Operation, usize)>)| {
        // Every element is a number of its own, so a view of the plain array shows which places it
        // names.
        let mut numbers = 0..;
        let plain = ArrayD::from_shape_simple_fn(shape.set_f(f_order), || numbers.next().unwrap());
        let whole = manager.from_ndarray(&plain).unwrap();
        assert!(
            plain.is_empty()
                || whole.order()
                    == Some(if plain.is_standard_layout() {
                        NdshmOrder::C
                    } else {
                        NdshmOrder::F
                    })
        );
        follow(
            whole.view().unwrap(),
            &plain.view(),
            &chain,
            &|shared, places| {
                if !shared.is_writable() {
                    return;
                }
                (1..)
                    .zip(shared.write().unwrap().iter_mut())
                    .for_each(|(n, element)| *element = -n);
                let written: HashMap<i32, i32> =
                    places.iter().copied().zip((1..).map(|n: i32| -n)).collect();
                let expected = plain.map(|place| written.get(place).copied().unwrap_or(*place));
                assert_eq!(
                    whole.to_ndarray().unwrap(),
                    expected,
                    "written through the view"
                );
            },
        );
        Ok(())
    };
    runner(3000)
        .run(&(shape(), any::<bool>(), chain), property)
        .unwrap();
}

#[test]
fn bad_bounds_are_errors_and_what_is_accepted_is_what_ndarray_makes_of_it() {
    let root = Root::new();
    let manager = root.manager();
    let wild = || prop_oneof![3 => -7..7isize, 1 => any::<isize>()];
    let element = prop_oneof![
        1 => Just(SliceInfoElem::NewAxis),
        3 => wild().prop_map(SliceInfoElem::Index),
        6 => (wild(), prop::option::of(wild()), wild())
            .prop_map(|(start, end, step)| SliceInfoElem::Slice { start, end, step }),
    ];
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let property =
        |(shape, elements, axis, index): (Vec<usize>, Vec<SliceInfoElem>, usize, usize)| {
            let plain = ArrayD::from_shape_fn(shape, |index| {
                index
                    .as_array_view()
                    .fold(0, |number, &i| 10 * number + i as i32)
            });
            let shared = manager.from_ndarray(&plain).unwrap();
            let count = |result: &ndshm::Result<SharedArrayD<i32>>| match result {
                Ok(_) => accepted.set(accepted.get() + 1),
                Err(error) => {
                    assert!(matches!(error, Error::Layout { .. }), "{error}");
                    refused.set(refused.get() + 1);
                }
            };
            let sliced = shared.slice(elements.as_slice());
            count(&sliced);
            if let Ok(sliced) = sliced {
                prop_assert_eq!(&*sliced.read().unwrap(), plain.slice(elements.as_slice()));
            }
            if let Some(&SliceInfoElem::Slice { start, end, step }) = elements.first() {
                let sliced = shared.slice_axis(Axis(axis), Slice { start, end, step });
                count(&sliced);
                if let Ok(sliced) = sliced {
                    prop_assert_eq!(
                        &*sliced.read().unwrap(),
                        plain.slice_axis(Axis(axis), Slice { start, end, step })
                    );
                }
            }
            let indexed = shared.index_axis(Axis(axis), index);
            count(&indexed);
            if let Ok(indexed) = indexed {
                prop_assert_eq!(
                    &*indexed.read().unwrap(),
                    plain.index_axis(Axis(axis), index)
                );
            }
            let inserted = shared.insert_axis(Axis(axis));
            count(&inserted);
            prop_assert_eq!(inserted.is_ok(), axis <= plain.ndim());
            prop_assert_eq!(
                shared.split_at(Axis(axis), index).is_ok(),
                axis < plain.ndim() && index <= plain.shape()[axis]
            );
            prop_assert_eq!(
                shared.axis_chunks(Axis(axis), index).is_ok(),
                axis < plain.ndim() && index > 0
            );
            Ok(())
        };
    let number = prop_oneof![5 => 0..6usize, 1 => any::<usize>()];
    let mut runner = runner(3000);
    runner
        .run(
            &(
                shape(),
                prop::collection::vec(element, 0..6),
                number.clone(),
                number,
            ),
            property,
        )
        .unwrap();
    let (accepted, refused, least) = (accepted.get(), refused.get(), runner.config().cases / 3);
    assert!(
        accepted > least && refused > least,
        "{accepted} were accepted and {refused} refused: one side was hardly tried"
    );
}
