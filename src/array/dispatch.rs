//! The macros that write generic tools once: the same code for every scalar type, or for every
//! number that Rust has.

/// Runs the same code for an [`AnyArray`](crate::AnyArray) of any scalar type: the code after `=>`
/// is compiled once for each type, with `xs` a [`SharedArrayD<T>`](crate::SharedArrayD) and `T` its
/// element type. An array of another type (structs, `[T; N]`, raw bytes) goes to `else`.
///
/// The scalar types are the integers to 128 bits, `f32`, `f64` and [`Bool`](crate::Bool), with the
/// features `half` and `complex` theirs too. Gives a `Result`: an error where the view's elements
/// do not lie as ndarray needs them.
///
/// Any crate of a build can turn these features on for all, so the code has to compile for all of
/// these types. [`dispatch_real!`](crate::dispatch_real) has the same types in every build.
///
/// # Examples
///
/// ```
/// use ndshm::{AnyArray, Element, dispatch};
///
/// /// The number of elements whose bytes are not all zero, and the name of their type.
/// fn count(any: &AnyArray) -> ndshm::Result<(usize, String)> {
///     dispatch!(any, xs: T => {
///         let zero = <T as bytemuck::Zeroable>::zeroed();
///         let is_zero = |x: &&T| bytemuck::bytes_of(*x) == bytemuck::bytes_of(&zero);
///         (xs.len() - xs.read()?.iter().filter(is_zero).count(), T::DTYPE.to_string())
///     }, else => (any.len(), "no scalar".to_owned()))
/// }
///
/// let manager = ndshm::Manager::new()?;
/// assert_eq!(count(&manager.ones::<f32, _>(5)?.into_any()?)?, (5, "<f4".to_owned()));
/// assert_eq!(count(&manager.zeros::<[u8; 3], _>(5)?.into_any()?)?.1, "no scalar");
/// # Ok::<(), ndshm::Error>(())
/// ```
#[macro_export]
macro_rules! dispatch {
    ($array:expr, $xs:ident : $T:ident => $body:expr, else => $otherwise:expr $(,)?) => {{
        let array: &$crate::AnyArray = &$array;
        $crate::__dispatch!(array, $xs, $T, $body, $otherwise)
    }};
}

/// Runs the same code for an [`AnyArray`](crate::AnyArray) of any number that Rust has: as
/// [`dispatch!`](crate::dispatch), for the integers to 128 bits, `f32` and `f64` only. An array of
/// another type, also one of [`Bool`](crate::Bool), `f16` or complex numbers, goes to `else`.
///
/// All of these types can be compared and converted with `as`. They do not depend on features, so
/// code that compiles in one build compiles in every one.
///
/// # Examples
///
/// ```
/// use ndshm::{AnyArray, dispatch_real};
///
/// fn mean(any: &AnyArray) -> ndshm::Result<Option<f64>> {
///     dispatch_real!(any, xs: T => {
///         let sum: f64 = xs.read()?.iter().map(|&x| x as f64).sum();
///         Some(sum / xs.len() as f64)
///     }, else => None)
/// }
///
/// let manager = ndshm::Manager::new()?;
/// assert_eq!(mean(&manager.from_elem::<u8, _>(5, 3)?.into_any()?)?, Some(3.0));
/// assert_eq!(mean(&manager.zeros::<ndshm::Bool, _>(5)?.into_any()?)?, None);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[macro_export]
macro_rules! dispatch_real {
    ($array:expr, $xs:ident : $T:ident => $body:expr, else => $otherwise:expr $(,)?) => {{
        let array: &$crate::AnyArray = &$array;
        $crate::__dispatch_real!(array, $xs, $T, $body, $otherwise)
    }};
}

/// The arms of both macros. Those of [`dispatch!`] are one macro for each set of features, because
/// the features are those of this crate, not those of the caller's.
macro_rules! arms {
    ($dollar:tt $name:ident: $($scalar:ident)*) => {
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $name {
            (
                $dollar array:ident,
                $dollar xs:ident,
                $dollar T:ident,
                $dollar body:expr,
                $dollar otherwise:expr
            ) => {
                match $dollar array.dtype() {
                    $(dtype if *dtype
                        == <$dollar crate::__private::scalar::$scalar
                            as $dollar crate::__private::Element>::DTYPE =>
                    {
                        type $dollar T = $dollar crate::__private::scalar::$scalar;
                        match $dollar array.downcast::<$dollar T, $dollar crate::__private::IxDyn>()
                        {
                            ::core::result::Result::Ok($dollar xs) => {
                                ::core::result::Result::Ok($dollar body)
                            }
                            ::core::result::Result::Err(error) => {
                                ::core::result::Result::Err(error)
                            }
                        }
                    })*
                    _ => ::core::result::Result::<_, $dollar crate::Error>::Ok($dollar otherwise),
                }
            };
        }
    };
}

arms!($ __dispatch_real: u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64);

#[cfg(not(any(feature = "half", feature = "complex")))]
arms!($ __dispatch: u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 Bool);
#[cfg(all(feature = "half", not(feature = "complex")))]
arms!($ __dispatch: u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 Bool f16 bf16);
#[cfg(all(feature = "complex", not(feature = "half")))]
arms!($ __dispatch: u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 Bool Complex32 Complex64);
#[cfg(all(feature = "complex", feature = "half"))]
arms!($ __dispatch:
    u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 Bool f16 bf16 Complex32 Complex64);
