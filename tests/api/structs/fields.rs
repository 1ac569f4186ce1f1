//! Views of the fields of structs.

use super::*;

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
