//! Arrays of structs: what the derive macro makes of them, and views of their fields.
#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use common::Root;
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
                    'formats': ['(3,)<f4', '<f4', '<u8', '|u1', '|b1', '|V6'], 'offsets': [0, 12, 16, 24, 25, 26], 'itemsize': 32}";
    assert_eq!(Particle::DTYPE.to_string(), expected);
    assert_eq!(Outer::DTYPE.to_string(), {
        let inner = "{'names': ['n', 'm'], 'formats': ['<i8', '(2,2)<f8'], 'offsets': [0, 8], 'itemsize': 40}";
        format!(
            "{{'names': ['inner', 'x'], 'formats': [{inner}, '<f8'], 'offsets': [0, 40], 'itemsize': 48}}"
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

/// As large as `Outer`, but no struct.
type Inner2 = [f64; 6];

#[test]
fn a_field_is_a_view_that_shares_memory_and_travels_like_any_other() {
    let root = Root::new();
    let manager = root.manager();
    let xs = array(&manager);
    let plain = Array::from_shape_fn((4, 5), |(i, j)| particle(10 * i + j));
    let charge = xs
        .slice(s![..;-1, 1..])
        .unwrap()
        .field::<f32>("charge")
        .unwrap();
    assert!(charge.is_view() && charge.is_writable());
    assert_eq!(
        charge.to_ndarray().unwrap(),
        plain.slice(s![..;-1, 1..]).map(|particle| particle.charge)
    );
    let hop = |view: &SharedArray<f32, Ix2>| -> SharedArray<f32, Ix2> {
        view.handle()
            .to_string()
            .parse::<Handle>()
            .unwrap()
            .open()
            .unwrap()
    };
    let sent = hop(&hop(&charge.t().unwrap()).slice(s![1.., ..;2]).unwrap());
    assert_eq!(
        sent.to_ndarray().unwrap(),
        plain
            .slice(s![..;-1, 1..])
            .t()
            .slice(s![1.., ..;2])
            .map(|particle| particle.charge)
    );
    sent.write().unwrap().fill(9.0);
    assert_eq!(
        xs.read()
            .unwrap()
            .iter()
            .filter(|particle| particle.charge == 9.0)
            .count(),
        3 * 2
    );
    assert_eq!(
        xs.read().unwrap()[[3, 4]],
        Particle {
            charge: 9.0,
            ..particle(34)
        },
        "the other fields stay"
    );

    let position = xs.field_array::<f32>("position").unwrap();
    assert_eq!(
        (position.shape(), position.strides()),
        (&[4, 5, 3][..], &[40, 8, 1][..])
    );
    let sent: SharedArray<f32, Ix3> =
        postcard::from_bytes(&postcard::to_allocvec(&position).unwrap()).unwrap();
    assert_eq!(sent.read().unwrap()[[2, 3, 0]], 23.0);
    let y = sent.index_axis(Axis(2), 1).unwrap();
    assert_eq!(
        y.handle().open::<f32, Ix2>().unwrap().read().unwrap().sum(),
        20.0
    );
    let backwards = sent
        .slice(s![0, .., ..;-1])
        .unwrap()
        .handle()
        .open::<f32, Ix2>()
        .unwrap();
    assert_eq!(
        backwards.read().unwrap().row(4),
        ndarray::array![2.0, 1.0, 4.0]
    );

    assert_eq!(
        xs.field_array::<u8>("tag")
            .unwrap()
            .handle()
            .open::<u8, Ix3>()
            .unwrap()
            .read()
            .unwrap()[[1, 0, 5]],
        10
    );
    assert_eq!(
        xs.field::<u8>("type")
            .unwrap()
            .handle()
            .open_any()
            .unwrap()
            .read_bytes()
            .unwrap()[..3],
        [0, 1, 2]
    );
}

#[test]
fn fields_of_nested_structs_are_reached_by_their_path() {
    let root = Root::new();
    let manager = root.manager();
    let outer = |i: usize| Outer {
        inner: Inner {
            n: i as i64,
            m: [[0.5, 1.5], [2.5, i as f64]],
        },
        x: -1.0,
    };
    let xs = manager.from_shape_fn(6, outer).unwrap();
    let n = xs
        .field::<i64>("inner.n")
        .unwrap()
        .handle()
        .open::<i64, Ix1>()
        .unwrap();
    assert_eq!(n.read().unwrap().to_vec(), [0, 1, 2, 3, 4, 5]);
    n.write().unwrap()[5] = 50;
    assert_eq!(xs.read().unwrap()[5].inner.n, 50);
    // 48 bytes are no multiple of the 40 of `Inner`: an ndarray of them cannot have that stride,
    // unless there is one element only.
    assert!(matches!(
        xs.field::<Inner>("inner"),
        Err(Error::Layout { .. })
    ));
    let inner = xs
        .slice(s![2..3])
        .unwrap()
        .field::<Inner>("inner")
        .unwrap()
        .handle()
        .open::<Inner, Ix1>()
        .unwrap();
    assert_eq!(inner.read().unwrap()[0], outer(2).inner);
    let rows = xs
        .field_array::<[f64; 2]>("inner.m")
        .unwrap()
        .handle()
        .open::<[f64; 2], Ix2>()
        .unwrap();
    assert_eq!(rows.read().unwrap()[[4, 1]], [2.5, 4.0]);
    let m = rows
        .unpack::<f64>()
        .unwrap()
        .handle()
        .open::<f64, Ix3>()
        .unwrap();
    assert_eq!(
        (m.shape(), m.read().unwrap()[[4, 1, 1]]),
        (&[6, 2, 2][..], 4.0)
    );
    assert!(matches!(
        xs.field::<f64>("inner.none"),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(xs.field::<f64>("x.n"), Err(Error::Layout { .. })));
}

#[test]
fn fields_that_ndarray_cannot_view_are_refused() {
    #[derive(Clone, Copy, Element)]
    #[repr(C)]
    struct Mixed {
        wide: [f64; 2],
        small: f64,
    }
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<Mixed, _>((2, 3)).unwrap();
    let error = xs.field::<[f64; 2]>("wide").unwrap_err();
    assert!(
        matches!(error, Error::Layout { .. }) && error.to_string().contains("stride"),
        "{error}"
    );
    assert_eq!(
        xs.field_array::<f64>("wide").unwrap().shape(),
        [2, 3, 2],
        "its parts can be viewed"
    );
    assert_eq!(
        xs.index_axis(Axis(0), 0)
            .unwrap()
            .index_axis(Axis(0), 1)
            .unwrap()
            .field::<[f64; 2]>("wide")
            .unwrap()
            .len(),
        1
    );
    assert!(matches!(xs.field::<f32>("small"), Err(Error::Dtype { .. })));
    assert!(matches!(
        xs.field_array::<f64>("small"),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        xs.field_array::<f32>("wide"),
        Err(Error::Dtype { .. })
    ));
    let error = xs.field::<f64>("large").unwrap_err().to_string();
    assert!(
        error.contains("no field is called \"large\": the fields are wide, small"),
        "{error}"
    );
    let error = manager
        .zeros::<f64, _>(1)
        .unwrap()
        .field::<f64>("x")
        .unwrap_err()
        .to_string();
    assert!(error.contains("<f8 and have no fields"), "{error}");
    assert!(matches!(
        manager.zeros::<f64, _>(1).unwrap().unpack::<f64>(),
        Err(Error::Dtype { .. })
    ));
}

#[test]
fn a_handle_to_bytes_that_are_no_field_is_refused() {
    let root = Root::new();
    let manager = root.manager();
    let xs = array(&manager);
    let charge = xs.field::<f32>("charge").unwrap().handle();
    let open = |offset, shape: &[usize], strides: &[isize]| {
        charge
            .with_layout(offset, shape, strides)
            .unwrap()
            .open::<f32, ndarray::IxDyn>()
    };
    assert_eq!(
        open(12 + 32, &[2], &[160]).unwrap().read().unwrap()[[1]],
        -11.0
    );
    assert_eq!(
        open(4, &[20, 2], &[32, 4]).unwrap().read().unwrap()[[1, 0]],
        1.0,
        "two parts of the position"
    );
    for (offset, shape, strides) in [
        (16, &[20][..], &[32][..]),
        (28, &[20], &[32]),
        (0, &[20, 4], &[32, 4]),
        (12, &[19], &[16]),
        (24, &[1], &[0]),
    ] {
        let error = open(offset, shape, strides).unwrap_err();
        assert!(
            matches!(error, Error::Layout { .. }),
            "{offset} {shape:?} {strides:?}: {error}"
        );
    }
    // The handle of a field names it, not the array.
    assert!(matches!(
        charge.open::<Particle, Ix2>(),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        charge.open::<u64, Ix2>(),
        Err(Error::Dtype { .. })
    ));
    let text = xs.handle().to_string();
    let fingerprint = |handle: &Handle| {
        handle
            .to_string()
            .split(':')
            .find(|field| field.starts_with("f="))
            .unwrap()
            .to_owned()
    };
    let whole_as_field = text
        .replace(&fingerprint(&xs.handle()), &fingerprint(&charge))
        .parse::<Handle>()
        .unwrap();
    assert!(whole_as_field.open::<f32, Ix2>().is_err() && whole_as_field.open_any().is_err());
}

#[test]
fn fields_are_written_side_by_side() {
    let root = Root::new();
    let manager = root.manager();
    let xs = array(&manager);
    let (charge, id) = (
        xs.field::<f32>("charge").unwrap(),
        xs.field::<u64>("id").unwrap(),
    );
    let (mut c, mut i) = (charge.write().unwrap(), id.write().unwrap());
    c.fill(1.0);
    i.fill(7);
    let elsewhere = |view: &SharedArray<f32, Ix2>| {
        std::thread::scope(|scope| scope.spawn(|| view.try_read().map(drop)).join().unwrap())
    };
    assert!(matches!(elsewhere(&charge), Err(Error::WouldBlock { .. })));
    assert!(
        matches!(xs.try_read(), Err(Error::WouldDeadlock { .. })),
        "the structs include both"
    );
    drop((c, i));
    assert!(
        xs.read()
            .unwrap()
            .iter()
            .all(|particle| (particle.charge, particle.id) == (1.0, 7))
    );
}

#[test]
fn a_field_of_nothing_and_of_one_element_are_views_too() {
    let root = Root::new();
    let manager = root.manager();
    let empty = manager.zeros::<Particle, _>((0, 3)).unwrap();
    let id = empty.field::<u64>("id").unwrap();
    assert_eq!(id.handle().open::<u64, Ix2>().unwrap().shape(), [0, 3]);
    assert_eq!(
        empty
            .field_array::<f32>("position")
            .unwrap()
            .handle()
            .open::<f32, Ix3>()
            .unwrap()
            .shape(),
        [0, 3, 3]
    );
    let part = array(&manager)
        .slice(s![4.., ..])
        .unwrap()
        .field::<u64>("id")
        .unwrap();
    assert_eq!(part.handle().open_any().unwrap().shape(), [0, 5]);
    let one = manager.from_elem((), particle(7)).unwrap();
    let first = one.field::<[f32; 3]>("position").unwrap();
    assert!(first.is_view());
    assert_eq!(
        first
            .handle()
            .open::<[f32; 3], ndarray::Ix0>()
            .unwrap()
            .read()
            .unwrap()[()],
        [7.0, 1.0, 2.0]
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
        "child_opens_structs",
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
