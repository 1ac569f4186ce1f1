//! Arrays of structs: the element types that the derive macro makes, and views of fields.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod fields;

use crate::common::{self, Root};
use ndarray::{Array, Axis, Ix1, Ix2, Ix3, s};
use ndshm::{AnyArray, Bool, DType, Element, Error, Handle, SharedArray};

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Particle {
    position: [f32; 3],
    charge: f32,
    id: u64,
    r#type: u8,
    visible: Bool,
    tag: [u8; 6],
}

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Inner {
    n: i64,
    m: [[f64; 2]; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Outer {
    inner: Inner,
    x: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Meters(f64);

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Pair<T: Element, const N: usize> {
    first: T,
    rest: [T; N],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Element)]
#[repr(C, align(16))]
#[element(pod)]
struct Aligned {
    x: f64,
    y: f64,
}

/// As large as `Outer`, but no struct.
type Inner2 = [f64; 6];

fn particle(i: usize) -> Particle {
    let i = i as u8;
    Particle {
        position: [f32::from(i), 1.0, 2.0],
        charge: -f32::from(i),
        id: u64::from(i),
        r#type: i,
        visible: Bool::from(i.is_multiple_of(2)),
        tag: [i; 6],
    }
}

fn array(manager: &ndshm::Manager) -> SharedArray<Particle, Ix2> {
    manager
        .from_shape_fn((4, 5), |(i, j)| particle(10 * i + j))
        .unwrap()
}

#[test]
fn the_description_has_the_fields_as_they_lie() {
    let expected = "{'names': ['position', 'charge', 'id', 'type', 'visible', 'tag'], \
                    'formats': ['(3,)<f4', '<f4', '<u8', '|u1', '|b1', '|V6'], \
                    'offsets': [0, 12, 16, 24, 25, 26], 'itemsize': 32}";
    assert_eq!(Particle::DTYPE.to_string(), expected);
    assert_eq!(Outer::DTYPE.to_string(), {
        let inner = "{'names': ['n', 'm'], 'formats': ['<i8', '(2,2)<f8'], \
                     'offsets': [0, 8], 'itemsize': 40}";
        format!(
            "{{'names': ['inner', 'x'], 'formats': [{inner}, '<f8'], \
             'offsets': [0, 40], 'itemsize': 48}}"
        )
    });
    assert_eq!(Meters::DTYPE.fields()[0].name(), "f0");
    assert_eq!(
        (
            Pair::<u16, 3>::DTYPE.itemsize(),
            Pair::<u16, 3>::DTYPE.fields().len()
        ),
        (8, 2)
    );
    assert_eq!(Aligned::DTYPE.itemsize(), 16);
    let at_run_time =
        DType::structure([("inner", Inner::DTYPE, 0), ("x", f64::DTYPE, 40)], 48).unwrap();
    assert_eq!(at_run_time, Outer::DTYPE);
    let swapped = DType::structure([("m", Inner::DTYPE, 0), ("x", f64::DTYPE, 40)], 48).unwrap();
    assert_ne!(swapped, Outer::DTYPE, "names count");
}

#[test]
fn structs_travel_and_another_struct_of_the_same_size_is_refused() {
    let root = Root::new();
    let manager = root.manager();
    let xs = array(&manager);
    let opened: SharedArray<Particle, Ix2> = xs
        .handle()
        .to_string()
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(opened.read().unwrap()[[3, 4]], particle(34));
    assert!(matches!(
        xs.handle().open::<[u8; 32], Ix2>(),
        Err(Error::Dtype { .. })
    ));
    let outer = manager.zeros::<Outer, _>(3).unwrap();
    let error = outer
        .handle()
        .open::<[Inner2; 1], Ix1>()
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, Error::Dtype { .. }), "{error}");
    let meters = manager.from_elem(3, Meters(2.5)).unwrap();
    assert!(
        matches!(meters.handle().open::<f64, Ix1>(), Err(Error::Dtype { .. })),
        "a struct of one field is not that field"
    );
    assert_eq!(
        meters.field::<f64>("f0").unwrap().read().unwrap().sum(),
        7.5
    );
    let pairs = manager
        .from_elem(
            2,
            Pair {
                first: 1u16,
                rest: [2, 3],
            },
        )
        .unwrap();
    assert_eq!(
        pairs
            .field_array::<u16>("rest")
            .unwrap()
            .to_ndarray()
            .unwrap(),
        ndarray::array![[2, 3], [2, 3]]
    );
    let aligned = manager.from_elem(3, Aligned { x: 1.0, y: 2.0 }).unwrap();
    assert_eq!(
        aligned.field::<f64>("y").unwrap().read().unwrap().sum(),
        6.0
    );
}

#[test]
fn structs_are_read_and_written_without_knowing_them() {
    let root = Root::new();
    let manager = root.manager();
    let xs = array(&manager);
    let any: AnyArray = xs.handle().open_any().unwrap();
    assert_eq!(
        (any.dtype(), any.shape(), any.byte_strides()),
        (&Particle::DTYPE, &[4, 5][..], vec![160, 32])
    );
    assert_eq!(
        any.slice(s![3, 4].as_ref()).unwrap().read_bytes().unwrap(),
        bytemuck::bytes_of(&particle(34))
    );
    let charge = any
        .slice(s![..;-1, 1..].as_ref())
        .unwrap()
        .field("charge")
        .unwrap();
    assert_eq!(
        charge.handle(),
        xs.slice(s![..;-1, 1..])
            .unwrap()
            .field::<f32>("charge")
            .unwrap()
            .handle()
    );
    charge
        .write_bytes(bytemuck::cast_slice(&[0.5f32; 16]))
        .unwrap();
    assert_eq!(xs.read().unwrap()[[0, 1]].charge, 0.5);
    assert!(
        charge
            .downcast::<f32, Ix2>()
            .unwrap()
            .read()
            .unwrap()
            .iter()
            .all(|&x| x == 0.5)
    );
    assert!(matches!(any.field("none"), Err(Error::Layout { .. })));
    let made = manager
        .zeros_any(&Particle::DTYPE, &[3])
        .unwrap()
        .downcast::<Particle, Ix1>()
        .unwrap();
    made.write().unwrap()[1] = particle(5);
    assert_eq!(
        made.into_any()
            .unwrap()
            .field("id")
            .unwrap()
            .read_bytes()
            .unwrap()[8],
        5
    );
}

#[test]
fn structs_and_their_fields_open_in_another_process() {
    let root = Root::new();
    let manager = root.manager();
    let xs = array(&manager);
    let handles = [
        xs.slice(s![1.., ..;-1]).unwrap().handle(),
        xs.field::<u64>("id")
            .unwrap()
            .slice(s![2, ..])
            .unwrap()
            .handle(),
    ];
    let printed = common::run(
        child_opens_structs,
        &handles.map(|handle| handle.to_string()),
    );
    assert!(printed.contains("first 14, ids 110"), "{printed}");
    assert_eq!(
        xs.read().unwrap()[[1, 4]].charge,
        0.5,
        "what the child wrote"
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_structs() {
    let arguments = common::arguments();
    let particles: SharedArray<Particle, Ix2> =
        arguments[0].parse::<Handle>().unwrap().open().unwrap();
    let ids: SharedArray<u64, Ix1> = arguments[1].parse::<Handle>().unwrap().open().unwrap();
    println!(
        "first {}, ids {}",
        particles.read().unwrap()[[0, 0]].id,
        ids.read().unwrap().sum()
    );
    particles.field::<f32>("charge").unwrap().write().unwrap()[[0, 0]] = 0.5;
    common::done();
}
