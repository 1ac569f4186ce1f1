//! The contents of the golden files: one array for each type, order and rank that matters.
//!
//! Shared by the test in the crate that compares bytes and the one outside that opens the files.

use super::{Bool, Element, Order};
use ciborium::Value;
use ndarray::{Array, Dimension, Ix1, ShapeBuilder};
use std::{array::from_fn, collections::BTreeMap};

/// The contents of a golden file.
pub(crate) struct Case<T, D> {
    /// Name of the array, and of its file.
    pub(crate) name: &'static str,
    /// The element type as the file names it.
    pub(crate) dtype: &'static str,
    pub(crate) order: Order,
    pub(crate) axis_names: Vec<Option<String>>,
    pub(crate) attrs: BTreeMap<String, Value>,
    pub(crate) array: Array<T, D>,
}

impl<T, D> Case<T, D> {
    /// The id of the array: its name.
    pub(crate) fn id(&self) -> [u8; 16] {
        let name = self.name.as_bytes();
        assert!(name.len() <= 16, "{}: at most 16 bytes", self.name);
        from_fn(|at| name.get(at).copied().unwrap_or(0))
    }
}

/// Something to be done with every golden file.
pub(crate) trait Visitor {
    fn visit<T: Element, D: Dimension>(&mut self, case: Case<T, D>);
}

/// Shows the cases to a visitor, those of optional types where their features are on.
pub(crate) fn visit_all(visitor: &mut impl Visitor) {
    let v = visitor;
    show::<Bool, _>(v, "bool-c-7", "|b1", 7);
    show::<Bool, _>(v, "bool-f-2x3", "|b1", (2, 3).f());
    show::<u8, _>(v, "u8-c-2x3x4", "|u1", (2, 3, 4));
    show::<u8, _>(v, "u8-c-0", "|u1", 0);
    show::<u8, _>(v, "u8-c-300", "|u1", 300);
    show::<i8, _>(v, "i8-f-2x3", "|i1", (2, 3).f());
    show::<u16, _>(v, "u16-c-5", "<u2", 5);
    show::<i16, _>(v, "i16-f-3x2x2", "<i2", (3, 2, 2).f());
    show::<u32, _>(v, "u32-c", "<u4", ());
    show::<i32, _>(v, "i32-c-2x2x2x2", "<i4", (2, 2, 2, 2));
    show::<i32, _>(v, "i32-f-2x3x2x2", "<i4", (2, 3, 2, 2).f());
    show::<u64, _>(v, "u64-f-3x4", "<u8", (3, 4).f());
    show::<i64, _>(v, "i64-c-3x2", "<i8", (3, 2));
    show::<u128, _>(v, "u128-f-2x2", "uint128", (2, 2).f());
    show::<i128, _>(v, "i128-c-5", "int128", 5);
    show::<i128, _>(v, "i128-c", "int128", ());
    show::<f32, _>(v, "f32-c-3x4", "<f4", (3, 4));
    show::<f32, _>(v, "f32-f-3x4x2", "<f4", (3, 4, 2).f());
    show::<f32, _>(v, "f32-c-5x1", "<f4", (5, 1));
    show::<f32, _>(v, "f32-c-1x1x1", "<f4", (1, 1, 1));
    show::<f32, _>(v, "f32-c-2x0x3", "<f4", (2, 0, 3));
    show_as::<f32, _>(v, "f32-f-2x0x3", "<f4", Order::F, (2, 0, 3).f());
    show::<f64, _>(v, "f64-c", "<f8", ());
    show::<f64, _>(v, "f64-c-9", "<f8", 9);
    show::<f64, _>(v, "f64-f-2x3x2x3", "<f8", (2, 3, 2, 3).f());
    show::<[u8; 5], _>(v, "u8x5-c-4", "|V5", 4);
    show::<[u8; 5], _>(v, "u8x5-f-2x3", "|V5", (2, 3).f());
    show::<[f32; 3], _>(v, "f32x3-f-3x2", "(3,)<f4", (3, 2).f());
    show::<[[f32; 2]; 3], _>(v, "f32x2x3-c-2x2", "(3,2)<f4", (2, 2));
    let array = filled::<f64, _>((4, 3).f());
    let axis_names = vec![Some("row".into()), Some("größe".into())];
    v.visit(Case {
        name: "f64-f-labels",
        dtype: "<f8",
        order: Order::F,
        axis_names,
        attrs: attrs(),
        array,
    });
    let array = filled::<i64, _>((2, 2));
    v.visit(Case {
        name: "i64-c-labels",
        dtype: "<i8",
        order: Order::C,
        axis_names: vec![None, Some("x".into())],
        attrs: attrs(),
        array,
    });
    #[cfg(feature = "derive")]
    {
        let dtype = "{'names': ['position', 'charge', 'kind', 'visible', 'tag', 'inner'], \
                     'formats': ['(3,)<f4', '<f4', '<u2', '|b1', '|V5', {'names': ['n', 'm'], \
                     'formats': ['<i8', '(2,2)<f4'], 'offsets': [0, 8], 'itemsize': 24}], \
                     'offsets': [0, 12, 16, 18, 19, 24], 'itemsize': 48}";
        show::<structure::Particle, _>(v, "struct-c-2x3", dtype, (2, 3));
        show::<structure::Particle, _>(v, "struct-f-2x2", dtype, (2, 2).f());
    }
    #[cfg(feature = "half")]
    {
        show::<half::f16, _>(v, "f16-c-9", "<f2", 9);
        show::<half::f16, _>(v, "f16-f-2x4", "<f2", (2, 4).f());
        show::<half::bf16, _>(v, "bf16-c-9", "bfloat16", 9);
        show::<half::bf16, _>(v, "bf16-f-2x2x2", "bfloat16", (2, 2, 2).f());
    }
    #[cfg(feature = "complex")]
    {
        show::<num_complex::Complex32, _>(v, "c32-c-2x3", "<c8", (2, 3));
        show::<num_complex::Complex32, _>(v, "c32-f-3x2", "<c8", (3, 2).f());
        show::<num_complex::Complex64, _>(v, "c64-c", "<c16", ());
        show::<num_complex::Complex64, _>(v, "c64-f-2x2x2", "<c16", (2, 2, 2).f());
    }
}

/// The numbers of guards that a process held on the array of a golden store when it died: none, as
/// many as the first page has lanes for, and one more. The store with `n` is `stores/n`.
pub(crate) const GUARDS: [usize; 3] = [0, 62, 63];

/// The array of the golden stores. Guard `i` of the dead process is on byte `i`: to read, for
/// atomic access and to write in turns. So the guard in the lane beyond the first page writes.
pub(crate) fn guarded() -> Case<u8, Ix1> {
    Case {
        name: "guarded-u8-c-300",
        dtype: "|u1",
        order: Order::C,
        axis_names: Vec::new(),
        attrs: BTreeMap::new(),
        array: filled(300),
    }
}

/// Attributes of every kind. Their keys are not in the order that the file has.
fn attrs() -> BTreeMap<String, Value> {
    let nested = Value::Map(vec![
        ("".into(), Value::Null),
        (
            "deep".into(),
            Value::Array(vec![Value::Array(vec![]), true.into()]),
        ),
    ]);
    let entries: [(&str, Value); 7] = [
        ("Einheit", "µm".into()),
        ("bytes", Value::Bytes((0..=255).collect())),
        ("z", u64::MAX.into()),
        ("low", i64::MIN.into()),
        ("tenth", 0.1.into()),
        ("half", 0.5.into()),
        ("nested", nested),
    ];
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// An array in the order that its name gives it.
fn show<T: Sample, Sh: ShapeBuilder>(
    visitor: &mut impl Visitor,
    name: &'static str,
    dtype: &'static str,
    shape: Sh,
) {
    let order = if name.contains("-f-") {
        Order::F
    } else {
        Order::C
    };
    show_as::<T, Sh>(visitor, name, dtype, order, shape);
}

fn show_as<T: Sample, Sh: ShapeBuilder>(
    visitor: &mut impl Visitor,
    name: &'static str,
    dtype: &'static str,
    order: Order,
    shape: Sh,
) {
    visitor.visit(Case {
        name,
        dtype,
        order,
        axis_names: Vec::new(),
        attrs: BTreeMap::new(),
        array: filled::<T, Sh>(shape),
    });
}

/// Samples, counted in the order of the indices (the last one varies fastest) whatever the order in
/// memory.
fn filled<T: Sample, Sh: ShapeBuilder>(shape: Sh) -> Array<T, Sh::Dim> {
    let mut array = Array::from_elem(shape, T::sample(0));
    array
        .iter_mut()
        .enumerate()
        .for_each(|(k, element)| *element = T::sample(k));
    array
}

/// Values that show their bytes.
trait Sample: Element {
    fn sample(k: usize) -> Self;
}

macro_rules! unsigned {
    ($($type:ty)*) => {$(
        impl Sample for $type {
            fn sample(k: usize) -> Self {
                match k {
                    1 => Self::MAX,
                    2 => Self::from_be_bytes(from_fn(|at| 1 + at as u8)),
                    _ => k as Self,
                }
            }
        }
    )*};
}

macro_rules! signed {
    ($($type:ty)*) => {$(
        impl Sample for $type {
            fn sample(k: usize) -> Self {
                match k {
                    1 => Self::MIN,
                    2 => Self::MAX,
                    3 => Self::from_be_bytes(from_fn(|at| 1 + at as u8)),
                    _ => -(k as Self),
                }
            }
        }
    )*};
}

macro_rules! float {
    ($($type:ty: $from:expr),*) => {$(
        impl Sample for $type {
            fn sample(k: usize) -> Self {
                let from = $from;
                let special = [
                    from(0.0),
                    from(-0.0),
                    from(1.5),
                    from(-0.1),
                    Self::MAX,
                    Self::MIN_POSITIVE,
                    Self::INFINITY,
                    Self::NAN,
                ];
                special.get(k).copied().unwrap_or(from(k as f64 + 0.5))
            }
        }
    )*};
}

unsigned! { u8 u16 u32 u64 u128 }
signed! { i8 i16 i32 i64 i128 }
float! { f32: |x: f64| x as f32, f64: |x: f64| x }
#[cfg(feature = "half")]
float! { half::f16: half::f16::from_f64, half::bf16: half::bf16::from_f64 }

#[cfg(feature = "complex")]
impl<T: Sample> Sample for num_complex::Complex<T>
where
    Self: Element,
{
    fn sample(k: usize) -> Self {
        Self::new(T::sample(k), T::sample(k + 1))
    }
}

impl Sample for Bool {
    fn sample(k: usize) -> Self {
        k.is_multiple_of(3).into()
    }
}

impl Sample for [u8; 5] {
    fn sample(k: usize) -> Self {
        from_fn(|at| (16 * k + at) as u8)
    }
}

impl Sample for [f32; 3] {
    fn sample(k: usize) -> Self {
        from_fn(|at| k as f32 + at as f32 / 4.0)
    }
}

impl Sample for [[f32; 2]; 3] {
    fn sample(k: usize) -> Self {
        from_fn(|i| from_fn(|j| k as f32 + i as f32 / 4.0 + j as f32 / 16.0))
    }
}

#[cfg(feature = "derive")]
mod structure {
    use super::{Bool, Sample, from_fn};
    use ndshm::Element;

    #[derive(Clone, Copy, Element)]
    #[repr(C)]
    pub(crate) struct Particle {
        position: [f32; 3],
        charge: f32,
        kind: u16,
        visible: Bool,
        tag: [u8; 5],
        inner: Inner,
    }

    #[derive(Clone, Copy, Element)]
    #[repr(C)]
    pub(crate) struct Inner {
        n: i64,
        m: [[f32; 2]; 2],
    }

    impl Sample for Particle {
        fn sample(k: usize) -> Self {
            Self {
                position: from_fn(|at| k as f32 + at as f32 / 4.0),
                charge: -(k as f32),
                kind: 1000 + k as u16,
                visible: k.is_multiple_of(2).into(),
                tag: *b"tag-\x00",
                inner: Inner {
                    n: -(k as i64),
                    m: [[0.5, 1.5], [2.5, k as f32]],
                },
            }
        }
    }
}
