//! The run-time description of elements, in NumPy's words: typestrs, subarrays, structs.
//!
//! A `DType` is always a valid one: constants are checked by the compiler, what is read from text
//! or CBOR in [`parse`].

mod parse;
mod subtypes;

use crate::{
    cbor,
    error::{Error, Result},
};
use ciborium::Value;
use std::{borrow::Cow, fmt, ops::Deref, sync::Arc};

/// Largest element, in bytes.
pub(crate) const MAX_ITEMSIZE: usize = 1_048_576;
/// Deepest nesting of structs.
const MAX_NESTING: usize = 8;

/// The type of an array's elements, known at run time.
///
/// Displays as NumPy writes it (`<f8`, `(3,2)<f4`, `|V16`, a dictionary for structs); all but
/// structs parse from that. Two are equal if they are equal in structure, the names of fields
/// included.
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
    /// `[T; N]`; nesting makes several dimensions. The parts are no structs.
    Array {
        len: usize,
        itemsize: usize,
        element: Shared<DType>,
    },
    Struct {
        fields: Shared<[Field]>,
        itemsize: usize,
        /// How many structs lie in each other, this one included.
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
/// assert_eq!((charge.name(), charge.dtype().to_string().as_str(), charge.offset()), ("charge", "<f8", 24));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    name: Cow<'static, str>,
    dtype: DType,
    offset: usize,
}

impl Field {
    /// A field that a derived implementation of `Element` describes.
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

/// A value that a constant refers to, or that was made at run time.
enum Shared<T: ?Sized + 'static> {
    Constant(&'static T),
    Counted(Arc<T>),
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        match self {
            Shared::Constant(value) => Shared::Constant(value),
            Shared::Counted(value) => Shared::Counted(value.clone()),
        }
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Shared::Constant(value) => value,
            Shared::Counted(value) => value,
        }
    }
}

impl<T: ?Sized + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for Shared<T> {}

/// The elements that have no parts.
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

/// Every scalar: its name, its bytes, its RFC 8746 typed-array tag.
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
                    "an array of structs cannot be an element or a field of one: use a struct of arrays, or another axis of the shared array"
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

    /// The type of a struct that is made at run time, of fields given as (name, type, offset in
    /// bytes).
    ///
    /// # Errors
    ///
    /// `Layout` where there are no fields, names are empty or the same, fields overlap or reach
    /// past `itemsize`, or structs are nested deeper than 8.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, Element};
    ///
    /// let dtype = DType::structure([("x", f64::DTYPE, 0), ("n", u32::DTYPE, 8)], 16)?;
    /// assert_eq!(dtype.to_string(), "{'names': ['x', 'n'], 'formats': ['<f8', '<u4'], 'offsets': [0, 8], 'itemsize': 16}");
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

    /// The fields of a struct type in their order; none for other types.
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

    /// The type and the offset of the field with this name, of `a.b` for field `b` of field `a`; an
    /// error that names the fields that there are.
    pub(crate) fn field(&self, name: &str) -> Result<(&DType, usize)> {
        let find = |name: &str| self.fields().iter().find(|field| field.name == name);
        if let Some(field) = find(name) {
            return Ok((&field.dtype, field.offset));
        }
        if let Some((outer, rest)) = name.split_once('.')
            && let Some(outer) = find(outer)
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
                "no field is called {name:?}: there are {}",
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

    /// FNV-1a (64 bit) over the deterministic CBOR of the type.
    pub(crate) fn fingerprint(&self) -> u64 {
        let hash = |hash: u64, bytes: &[u8]| {
            bytes.iter().fold(hash, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        };
        let start = 0xcbf2_9ce4_8422_2325;
        match &self.0 {
            // Of a short text, without making it: every handle is compared with it.
            Kind::Scalar(scalar) => hash(
                hash(start, &[0x60 | scalar.row().1.len() as u8]),
                scalar.row().1.as_bytes(),
            ),
            _ => hash(start, &cbor::encode(&self.to_value())),
        }
    }

    /// The type as it stands in a header.
    pub(crate) fn to_value(&self) -> Value {
        let Kind::Struct {
            fields, itemsize, ..
        } = &self.0
        else {
            return Value::Text(self.to_string());
        };
        let list = |of: &dyn Fn(&Field) -> Value| Value::Array(fields.iter().map(of).collect());
        Value::Map(vec![
            ("names".into(), list(&|field| field.name.as_ref().into())),
            ("formats".into(), list(&|field| field.dtype.to_value())),
            ("offsets".into(), list(&|field| cbor::size(field.offset))),
            ("itemsize".into(), cbor::size(*itemsize)),
        ])
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Scalar(scalar) => f.write_str(scalar.row().1),
            Kind::Bytes(len) => write!(f, "|V{len}"),
            Kind::Array { len, element, .. } => {
                write!(f, "({len},")?;
                let mut inner: &DType = element;
                let mut dims = 1;
                while let Kind::Array { len, element, .. } = &inner.0 {
                    write!(f, "{}{len}", if dims == 1 { "" } else { "," })?;
                    (inner, dims) = (element, dims + 1);
                }
                write!(f, "){inner}")
            }
            Kind::Struct {
                fields, itemsize, ..
            } => {
                let list = |of: &dyn Fn(&Field) -> String| {
                    fields.iter().map(of).collect::<Vec<_>>().join(", ")
                };
                let quoted =
                    |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
                let names = list(&|field| quoted(&field.name));
                let formats = list(&|field| {
                    if field.dtype.fields().is_empty() {
                        quoted(&field.dtype.to_string())
                    } else {
                        field.dtype.to_string()
                    }
                });
                let offsets = list(&|field| field.offset.to_string());
                write!(
                    f,
                    "{{'names': [{names}], 'formats': [{formats}], 'offsets': [{offsets}], 'itemsize': {itemsize}}}"
                )
            }
        }
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DType({self})")
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({} at {}: {})", self.name, self.offset, self.dtype)
    }
}
