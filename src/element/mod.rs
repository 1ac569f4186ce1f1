//! Element types: the trait [`Element`] for types known at compile time, and [`dtype`] for the same
//! types at run time.
//!
//! A `DType` always describes a valid element. An `unsafe impl Element` promises that any bytes are
//! a value of the type, and that its `DTYPE` describes exactly these bytes; all of them but those
//! of the derive macro are here. [`numpy`] has NumPy's types that are stored as others. Knows CBOR
//! values, but no files and no other part of a header.

pub(crate) mod dtype;
pub(crate) mod numpy;

use crate::element::dtype::{DType, Scalar};
use bytemuck::{Pod, Zeroable};

/// A type whose values can be elements of a shared array.
///
/// These types are elements:
///
/// - integers of fixed width up to 128 bits (not `usize`, whose size depends on the machine),
///   `f32`, `f64` and [`Bool`];
/// - `[T; N]` of elements, with N > 0;
/// - with feature `half`, `f16` and `bf16`; with feature `complex`, `Complex<f32>` and
///   `Complex<f64>`;
/// - with feature `nalgebra`, its `SMatrix` (a matrix of R rows and C columns is `[[T; R]; C]`, a
///   vector `[T; N]`), `Point` and `Quaternion`;
/// - structs with [`#[derive(Element)]`](derive@crate::Element).
///
/// # Safety
///
/// Any bytes must be a valid value without padding ([`bytemuck::Pod`] demands it), `DTYPE` must
/// describe exactly these bytes, and its itemsize must be the size of the type. The alignment is at
/// most 64: the use of a type with a larger alignment does not compile.
///
/// # Examples
///
/// ```
/// use ndshm::Element;
///
/// fn describe<T: Element>() -> String {
///     format!("{} in {} bytes", T::DTYPE, T::DTYPE.itemsize())
/// }
/// assert_eq!(describe::<[i16; 3]>(), "(3,)<i2 in 6 bytes");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an element of a shared array",
    note = "elements are integers of fixed width (not `usize`), floats, `ndshm::Bool` (not \
            `bool`), `[T; N]` of elements, and structs with \
            #[derive(Clone, Copy, ndshm::Element)] and #[repr(C)]",
    note = "`f16` and `bf16` need ndshm's feature `half`, complex numbers its feature `complex`"
)]
pub unsafe trait Element: Pod + Send + Sync {
    /// The run-time description of the type.
    const DTYPE: DType;
}

/// A truth value in one byte: zero is false, anything else is true.
///
/// Rust's `bool` cannot be an element: another process could write a byte that is no `bool`.
///
/// ```
/// use ndshm::Bool;
///
/// assert_eq!(Bool::from(true), Bool::TRUE);
/// assert!(bool::from(Bool::TRUE) && !bool::from(Bool::FALSE));
/// ```
#[derive(Clone, Copy, Default, Zeroable, Pod)]
#[repr(transparent)]
pub struct Bool(u8);

impl Bool {
    /// True, as the byte 1.
    pub const TRUE: Bool = Bool(1);
    /// False, as the byte 0.
    pub const FALSE: Bool = Bool(0);
}

impl From<bool> for Bool {
    fn from(value: bool) -> Self {
        Bool(value.into())
    }
}

impl From<Bool> for bool {
    fn from(value: Bool) -> Self {
        value.0 != 0
    }
}

impl PartialEq for Bool {
    fn eq(&self, other: &Self) -> bool {
        bool::from(*self) == bool::from(*other)
    }
}

impl Eq for Bool {}

impl std::hash::Hash for Bool {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        bool::from(*self).hash(state);
    }
}

impl std::fmt::Debug for Bool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        bool::from(*self).fmt(f)
    }
}

impl std::fmt::Display for Bool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        bool::from(*self).fmt(f)
    }
}

macro_rules! scalar {
    ($($type:ty => $scalar:ident),* $(,)?) => {$(
        // SAFETY: the type is Pod; the table in `dtype` has this scalar's size and meaning, and the
        // test below compares the sizes.
        unsafe impl Element for $type {
            const DTYPE: DType = DType::scalar(Scalar::$scalar);
        }
    )*};
}

scalar! {
    Bool => Bool, u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32,
    u64 => U64, i64 => I64, u128 => U128, i128 => I128, f32 => F32, f64 => F64,
}
#[cfg(feature = "half")]
scalar! { half::f16 => F16, half::bf16 => Bf16 }
#[cfg(feature = "complex")]
scalar! { num_complex::Complex<f32> => Complex32, num_complex::Complex<f64> => Complex64 }

/// Holds the description of `T`, so that constants can refer to it.
struct Of<T>(std::marker::PhantomData<T>);

impl<T: Element> Of<T> {
    const DTYPE: &'static DType = &T::DTYPE;
}

// SAFETY: an array of Pod is Pod and has no padding between its elements; `DType::array` multiplies
// the itemsize by N, as the language does. It does not compile for N = 0, sizes beyond the format's
// limit, and structs.
unsafe impl<T: Element, const N: usize> Element for [T; N] {
    const DTYPE: DType = DType::array(Of::<T>::DTYPE, N);
}

// SAFETY: the type is Pod if its elements are, and `repr(transparent)` around `[[T; R]; C]`: its
// columns lie one after the other, so it has the bytes and the description of that array of arrays;
// with one column it has those of `[T; R]`, which has the same bytes.
#[cfg(feature = "nalgebra")]
unsafe impl<T: Element + nalgebra::Scalar, const R: usize, const C: usize> Element
    for nalgebra::SMatrix<T, R, C>
{
    const DTYPE: DType = if C == 1 {
        <[T; R]>::DTYPE
    } else {
        <[[T; R]; C]>::DTYPE
    };
}

// SAFETY: the type is Pod if its elements are, and `repr(transparent)` around a vector of N of
// them.
#[cfg(feature = "nalgebra")]
unsafe impl<T: Element + nalgebra::Scalar, const N: usize> Element for nalgebra::Point<T, N> {
    const DTYPE: DType = <[T; N]>::DTYPE;
}

// SAFETY: the type is Pod if its elements are, and `repr(C)` with one field, a vector of four of
// them.
#[cfg(feature = "nalgebra")]
unsafe impl<T: Element + nalgebra::Scalar> Element for nalgebra::Quaternion<T> {
    const DTYPE: DType = <[T; 4]>::DTYPE;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_agrees<T: Element>() {
        assert_eq!(T::DTYPE.itemsize(), size_of::<T>(), "{}", T::DTYPE);
    }

    #[cfg(feature = "nalgebra")]
    #[test]
    fn matrices_lie_column_by_column_and_vectors_are_arrays() {
        use nalgebra::{Matrix2x3, Point2, Quaternion, Vector3};
        size_agrees::<Matrix2x3<f32>>();
        size_agrees::<Vector3<f64>>();
        size_agrees::<Point2<i64>>();
        size_agrees::<Quaternion<f32>>();
        let texts = [
            Matrix2x3::<f32>::DTYPE,
            Vector3::<f64>::DTYPE,
            Point2::<i64>::DTYPE,
            Quaternion::<f32>::DTYPE,
        ]
        .map(|dtype| dtype.to_string());
        assert_eq!(texts, ["(3,2)<f4", "(3,)<f8", "(2,)<i8", "(4,)<f4"]);
        let matrix = Matrix2x3::new(1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0);
        assert_eq!(
            bytemuck::cast::<_, [[f32; 2]; 3]>(matrix),
            [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
        );
    }

    #[test]
    fn every_type_has_the_size_that_its_description_says() {
        size_agrees::<Bool>();
        size_agrees::<u8>();
        size_agrees::<i8>();
        size_agrees::<u16>();
        size_agrees::<i16>();
        size_agrees::<u32>();
        size_agrees::<i32>();
        size_agrees::<u64>();
        size_agrees::<i64>();
        size_agrees::<u128>();
        size_agrees::<i128>();
        size_agrees::<f32>();
        size_agrees::<f64>();
        size_agrees::<[u8; 7]>();
        size_agrees::<[[i16; 3]; 5]>();
        #[cfg(feature = "half")]
        {
            size_agrees::<half::f16>();
            size_agrees::<half::bf16>();
        }
        #[cfg(feature = "complex")]
        {
            size_agrees::<num_complex::Complex<f32>>();
            size_agrees::<num_complex::Complex<f64>>();
        }
    }

    #[test]
    fn any_byte_but_zero_is_true() {
        let two: Bool = bytemuck::cast(2u8);
        assert_eq!(two, Bool::TRUE);
        assert_ne!(two, Bool::FALSE);
        assert_eq!(
            (two.to_string(), Bool::from(false)),
            ("true".to_owned(), Bool::FALSE)
        );
    }
}
