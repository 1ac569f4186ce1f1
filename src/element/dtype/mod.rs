//! The run-time description of elements, in NumPy's terms: typestrs, subarrays, structs.
//!
//! A `DType` is always valid: the compiler checks constants, and [`parse`] checks types from text
//! or CBOR.

mod parse;
mod shared;
mod subtypes;
mod text;

use crate::error::{Error, Result};
use shared::Shared;
use std::borrow::Cow;

/// Largest element, in bytes.
pub(crate) const MAX_ITEMSIZE: usize = 1_048_576;
/// Deepest nesting of structs.
const MAX_NESTING: usize = 8;

/// The type of an array's elements, known at run time.
///
/// Displays as NumPy writes it (`<f8`, `(3,2)<f4`, `|V16`, a dictionary for structs); all but
/// structs parse from that text. Two types are equal if their structures are equal, including the
/// names of fields.
///
/// ```
/// use ndshm::{DType, Element};
///
/// assert_eq!(<[f32; 3]>::DTYPE.to_string(), "(3,)<f4");
/// assert_eq!("<f8".parse::<DType>()?, f64::DTYPE);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DType(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Scalar(Scalar),
    /// Raw bytes: `|VN`.
    Bytes(usize),
    /// `[T; N]`; nesting makes several dimensions. The parts are never structs.
    Array {
        len: usize,
        itemsize: usize,
        element: Shared<DType>,
    },
    Struct {
        fields: Shared<[Field]>,
        itemsize: usize,
        /// The depth of nested structs, this one included.
        depth: usize,
    },
}

/// A named part of a struct type.
///
/// ```
/// use ndshm::Element;
///
/// #[derive(Clone, Copy, Element)]
/// #[repr(C)]
/// struct Particle {
///     position: [f64; 3],
///     charge: f64,
/// }
/// let dtype = Particle::DTYPE;
/// let charge = &dtype.fields()[1];
/// assert_eq!(charge.name(), "charge");
/// assert_eq!((charge.dtype(), charge.offset()), (&f64::DTYPE, 24));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    name: Cow<'static, str>,
    dtype: DType,
    offset: usize,
}

impl Field {
    /// A field in a derived implementation of `Element`.
    #[doc(hidden)]
    pub const fn constant(name: &'static str, dtype: DType, offset: usize) -> Self {
        Self {
            name: Cow::Borrowed(name),
            dtype,
            offset,
        }
    }

    /// The name: that of the Rust field, `f0`, `f1`, ... in tuple structs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type.
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// Bytes from the start of the struct.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

/// The elements without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    U128,
    I128,
    F16,
    Bf16,
    F32,
    F64,
    Complex32,
    Complex64,
}

/// Every scalar: its name, its size in bytes, its RFC 8746 typed-array tag.
const SCALARS: [(Scalar, &str, usize, Option<u64>); 17] = [
    (Scalar::Bool, "|b1", 1, Some(64)),
    (Scalar::U8, "|u1", 1, Some(64)),
    (Scalar::I8, "|i1", 1, Some(72)),
    (Scalar::U16, "<u2", 2, Some(69)),
    (Scalar::I16, "<i2", 2, Some(77)),
    (Scalar::U32, "<u4", 4, Some(70)),
    (Scalar::I32, "<i4", 4, Some(78)),
    (Scalar::U64, "<u8", 8, Some(71)),
    (Scalar::I64, "<i8", 8, Some(79)),
    (Scalar::U128, "uint128", 16, None),
    (Scalar::I128, "int128", 16, None),
    (Scalar::F16, "<f2", 2, Some(84)),
    (Scalar::Bf16, "bfloat16", 2, None),
    (Scalar::F32, "<f4", 4, Some(85)),
    (Scalar::F64, "<f8", 8, Some(86)),
    (Scalar::Complex32, "<c8", 8, None),
    (Scalar::Complex64, "<c16", 16, None),
];

impl Scalar {
    fn row(self) -> &'static (Scalar, &'static str, usize, Option<u64>) {
        &SCALARS[self as usize]
    }
}

impl DType {
    pub(crate) const fn scalar(scalar: Scalar) -> Self {
        DType(Kind::Scalar(scalar))
    }

    /// The type of `[T; len]`: raw bytes where `T` is `u8`.
    pub(crate) const fn array(element: &'static DType, len: usize) -> Self {
        assert!(
            len > 0,
            "an array of length 0 cannot be an element or a field of one: give it a length"
        );
        let itemsize = element.itemsize() * len;
        assert!(
            itemsize <= MAX_ITEMSIZE,
            "an element has at most 1,048,576 bytes"
        );
        match element.0 {
            Kind::Scalar(Scalar::U8) => DType(Kind::Bytes(len)),
            Kind::Struct { .. } => {
                panic!(
                    "an array of structs cannot be an element or a field of one: use a struct of \
                     arrays, or another axis of the shared array"
                )
            }
            _ => DType(Kind::Array {
                len,
                itemsize,
                element: Shared::Constant(element),
            }),
        }
    }

    /// The type of a struct whose fields the compiler knows: named, not overlapping, inside
    /// `itemsize`.
    #[doc(hidden)]
    pub const fn constant_struct(fields: &'static [Field], itemsize: usize) -> Self {
        assert!(
            !fields.is_empty(),
            "a struct without fields cannot be an element"
        );
        assert!(
            itemsize <= MAX_ITEMSIZE,
            "an element has at most 1,048,576 bytes"
        );
        let mut depth = 1;
        let mut end = 0;
        let mut i = 0;
        while i < fields.len() {
            // Views of fields rely on this: two fields that share bytes could be written at once.
            assert!(
                fields[i].offset >= end,
                "fields overlap, or are not in the order of their offsets"
            );
            end = fields[i].offset + fields[i].dtype.itemsize();
            assert!(end <= itemsize, "a field reaches past the struct");
            let inner = fields[i].dtype.depth() + 1;
            if inner > depth {
                depth = inner;
            }
            i += 1;
        }
        assert!(depth <= MAX_NESTING, "structs are nested at most 8 deep");
        DType(Kind::Struct {
            fields: Shared::Constant(fields),
            itemsize,
            depth,
        })
    }

    /// The type of a struct made at run time, from fields given as (name, type, offset in bytes).
    ///
    /// # Errors
    ///
    /// `Layout` if there are no fields, names are empty or equal, fields overlap or reach past
    /// `itemsize`, or structs are nested deeper than 8.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// let dtype = DType::structure([("x", f64::DTYPE, 0), ("n", u32::DTYPE, 8)], 16)?;
    /// assert_eq!(
    ///     dtype.to_string(),
    ///     "{'names': ['x', 'n'], 'formats': ['<f8', '<u4'], 'offsets': [0, 8], 'itemsize': 16}"
    /// );
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn structure<N: Into<String>>(
        fields: impl IntoIterator<Item = (N, DType, usize)>,
        itemsize: usize,
    ) -> Result<Self> {
        let fields = fields
            .into_iter()
            .map(|(name, dtype, offset)| Field {
                name: Cow::Owned(name.into()),
                dtype,
                offset,
            })
            .collect();
        Self::checked_struct(fields, itemsize).map_err(|reason| Error::Layout {
            operation: "make a struct type",
            reason,
        })
    }

    /// The bytes of one element.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// assert_eq!(<[[f32; 2]; 3]>::DTYPE.itemsize(), 24);
    /// ```
    pub const fn itemsize(&self) -> usize {
        match &self.0 {
            Kind::Scalar(scalar) => SCALARS[*scalar as usize].2,
            Kind::Bytes(len) => *len,
            Kind::Array { itemsize, .. } | Kind::Struct { itemsize, .. } => *itemsize,
        }
    }

    /// The fields of a struct type, in order; empty for other types.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// assert!(f64::DTYPE.fields().is_empty());
    /// ```
    pub fn fields(&self) -> &[Field] {
        match &self.0 {
            Kind::Struct { fields, .. } => fields,
            _ => &[],
        }
    }

    fn own_field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The type and the offset of the field with this name; `a.b` names field `b` of field `a`. The
    /// error lists the existing fields.
    pub(crate) fn field(&self, name: &str) -> Result<(&DType, usize)> {
        if let Some(field) = self.own_field(name) {
            return Ok((&field.dtype, field.offset));
        }
        if let Some((outer, rest)) = name.split_once('.')
            && let Some(outer) = self.own_field(outer)
        {
            return outer
                .dtype
                .field(rest)
                .map(|(dtype, offset)| (dtype, outer.offset + offset));
        }
        let names: Vec<_> = self.fields().iter().map(Field::name).collect();
        let reason = match names.is_empty() {
            true => format!("the elements are {self} and have no fields"),
            false => format!(
                "no field is called {name:?}: the fields are {}",
                names.join(", ")
            ),
        };
        Err(Error::Layout {
            operation: "take a field",
            reason,
        })
    }

    /// The length and the element type of `[T; N]`; `None` for other types. The parts of raw bytes
    /// are `u8`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// assert_eq!(<[[f32; 2]; 3]>::DTYPE.subarray(), Some((3, <[f32; 2]>::DTYPE)));
    /// assert_eq!(f32::DTYPE.subarray(), None);
    /// ```
    pub fn subarray(&self) -> Option<(usize, DType)> {
        match &self.0 {
            Kind::Bytes(len) => Some((*len, DType::scalar(Scalar::U8))),
            Kind::Array { len, element, .. } => Some((*len, DType::clone(element))),
            _ => None,
        }
    }

    const fn depth(&self) -> usize {
        match &self.0 {
            Kind::Struct { depth, .. } => *depth,
            _ => 0,
        }
    }

    /// The RFC 8746 tag of a typed array of these elements.
    pub(crate) fn typed_array_tag(&self) -> Option<u64> {
        match &self.0 {
            Kind::Scalar(scalar) => scalar.row().3,
            _ => None,
        }
    }
}
