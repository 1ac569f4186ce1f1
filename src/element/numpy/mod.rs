//! NumPy's types: those that this format lacks are stored as others, and the attribute
//! `numpy.dtype` keeps their name.
//!
//! Text (`U`) is stored as its code points, text of bytes (`S`) and `longdouble` as raw bytes,
//! times as integers, and a struct as a struct of the stored types of its fields. Where the format
//! has no such struct (arrays of structs, deep nesting, fields without a name) its bytes are stored
//! raw.
//!
//! The attribute is written by others: it is parsed here, and [`NumpyDType::believed`] decides
//! whether it describes the elements that are there. No type here has objects, and no accepted text
//! is one of NumPy's types with objects.

pub(crate) mod literal;
mod parse;
mod typestr;

use crate::{
    element::dtype::{DType, MAX_ITEMSIZE},
    error::Error,
};
use ciborium::Value;
use literal::quoted;
pub(crate) use parse::read;
use std::{fmt, str::FromStr};

/// The attribute with NumPy's type of elements that are stored as another type.
pub(crate) const ATTRIBUTE: &str = "numpy.dtype";

/// A type of NumPy's, as the attribute `numpy.dtype` of an array says it.
///
/// The format has no text, no times and no `longdouble`: such elements are stored as another type,
/// and the attribute says NumPy's. It displays and parses as `numpy.dtype` takes it: a typestr
/// (`<M8[ns]`, `<U10`), or the dictionary of a struct.
///
/// # Examples
///
/// ```
/// use ndshm::{DType, NumpyDType};
///
/// let text: NumpyDType = "<U10".parse()?;
/// assert_eq!(text.stored(), Some("(10,)<u4".parse::<DType>()?));
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NumpyDType(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// A type that the format has.
    Plain(DType),
    /// A type that is stored as another one, by its typestr.
    Foreign {
        typestr: String,
        stored: DType,
    },
    /// Bytes that are no element here, because there are none or too many: `|S0`.
    Unstored {
        typestr: String,
        itemsize: usize,
    },
    /// An array in a field.
    Array {
        shape: Vec<usize>,
        base: Box<NumpyDType>,
    },
    Struct {
        fields: Vec<Part>,
        itemsize: usize,
    },
}

/// A field.
#[derive(Clone, PartialEq, Eq)]
struct Part {
    name: String,
    dtype: NumpyDType,
    offset: usize,
}

impl Part {
    /// The offset behind its last byte.
    fn end(&self) -> usize {
        self.offset.saturating_add(self.dtype.itemsize())
    }
}

/// `count` consecutive numbers of `width` bytes in each element that have the other byte order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Swap {
    pub(crate) offset: usize,
    pub(crate) width: usize,
    pub(crate) count: usize,
}

impl NumpyDType {
    /// NumPy's type for one of the format's. Types that NumPy lacks keep the format's name.
    pub(crate) fn of(dtype: &DType) -> Self {
        if !dtype.fields().is_empty() {
            let fields = dtype.fields().iter().map(|field| Part {
                name: field.name().into(),
                dtype: Self::of(field.dtype()),
                offset: field.offset(),
            });
            return Self(Kind::Struct {
                fields: fields.collect(),
                itemsize: dtype.itemsize(),
            });
        }
        let (mut shape, mut base) = (Vec::new(), dtype.clone());
        while base.to_string().starts_with('(')
            && let Some((len, part)) = base.subarray()
        {
            shape.push(len);
            base = part;
        }
        match shape.is_empty() {
            true => Self(Kind::Plain(base)),
            false => Self(Kind::Array {
                shape,
                base: Self(Kind::Plain(base)).into(),
            }),
        }
    }

    /// The bytes of one element.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!("<U10".parse::<ndshm::NumpyDType>()?.itemsize(), 40);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn itemsize(&self) -> usize {
        match &self.0 {
            Kind::Plain(dtype) | Kind::Foreign { stored: dtype, .. } => dtype.itemsize(),
            Kind::Unstored { itemsize, .. } | Kind::Struct { itemsize, .. } => *itemsize,
            // The parser has checked the product.
            Kind::Array { shape, base } => shape.iter().product::<usize>() * base.itemsize(),
        }
    }

    /// The element type that stores elements of this type; `None` for elements of no bytes, or of
    /// more than 1 MiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{DType, NumpyDType};
    ///
    /// let stored = |text: &str| Ok(text.parse::<NumpyDType>()?.stored());
    /// assert_eq!(stored("<M8[ns]")?, Some("<i8".parse::<DType>()?));
    /// assert_eq!(stored("|S4")?, Some("|V4".parse()?));
    /// assert_eq!(stored("|S0")?, None);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn stored(&self) -> Option<DType> {
        if !(1..=MAX_ITEMSIZE).contains(&self.itemsize()) {
            return None;
        }
        let stored = match &self.0 {
            Kind::Plain(dtype) | Kind::Foreign { stored: dtype, .. } => Some(dtype.clone()),
            Kind::Unstored { .. } => None,
            Kind::Array { shape, base } => array_of(shape, &base.stored()?),
            Kind::Struct { fields, itemsize } => {
                let fields = fields.iter().filter_map(|field| {
                    Some((field.name.clone(), field.dtype.stored()?, field.offset))
                });
                DType::structure(fields, *itemsize).ok()
            }
        };
        stored.or_else(|| format!("|V{}", self.itemsize()).parse().ok())
    }

    /// The attribute that an array of this type needs beside its stored type, if it needs one.
    pub(crate) fn attribute(&self) -> Option<String> {
        let says_it = |stored: DType| Self::of(&stored) == *self;
        (!self.stored().is_some_and(says_it)).then(|| self.to_string())
    }

    /// The type that the attributes of an array of `whole` claim, if it is credible: its elements
    /// are stored as `whole`, or `whole` is raw bytes of the same size.
    pub(crate) fn believed(attrs: Option<&Value>, whole: &DType) -> Option<Self> {
        Self::claimed(attrs).filter(|claimed| claimed.is_stored_as(whole))
    }

    /// The type that the attributes of an array claim, whatever its elements are.
    pub(crate) fn claimed(attrs: Option<&Value>) -> Option<Self> {
        let mut entries = attrs?.as_map()?.iter();
        let (_, value) = entries.find(|(key, _)| key.as_text() == Some(ATTRIBUTE))?;
        value.as_text()?.parse().ok()
    }

    /// Whether elements of type `whole` can be taken for elements of this type: they have the same
    /// size, and the same stored type unless they are raw bytes. An array is no such element.
    ///
    /// # Examples
    ///
    /// ```
    /// let time: ndshm::NumpyDType = "<M8[ns]".parse()?;
    /// assert!(time.is_stored_as(&"<i8".parse()?) && time.is_stored_as(&"|V8".parse()?));
    /// assert!(!time.is_stored_as(&"<f8".parse()?));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_stored_as(&self, whole: &DType) -> bool {
        !matches!(self.0, Kind::Array { .. })
            && self.itemsize() == whole.itemsize()
            && (whole.to_string().starts_with("|V") || self.stored().as_ref() == Some(whole))
    }

    /// The type of the parts that begin `offset` bytes after the start of an element, and are
    /// stored as `part`.
    pub(crate) fn part_at(&self, part: &DType, offset: usize) -> Option<&Self> {
        match &self.0 {
            _ if offset == 0 && self.is_stored_as(part) => Some(self),
            Kind::Array { base, .. } => base.part_at(part, offset.checked_rem(base.itemsize())?),
            Kind::Struct { fields, .. } => fields.iter().find_map(|field| {
                let inside = offset.checked_sub(field.offset)?;
                (inside < field.dtype.itemsize())
                    .then(|| field.dtype.part_at(part, inside))
                    .flatten()
            }),
            _ => None,
        }
    }

    /// The type in the header of a `.npy` file: a typestr, or a list of fields in the order of
    /// their offsets, with raw bytes as the padding between them. `None` where fields overlap,
    /// which a list cannot say.
    ///
    /// A type that NumPy lacks becomes raw bytes, as NumPy itself writes the types of `ml_dtypes`.
    pub(crate) fn descr(&self) -> Option<String> {
        let Kind::Struct { fields, itemsize } = &self.0 else {
            return Some(match &self.0 {
                Kind::Plain(dtype) => quoted(&in_numpy(dtype)),
                Kind::Array { shape, base } => format!("({}, {})", base.descr()?, tuple(shape)),
                _ => self.literal(),
            });
        };
        let mut fields: Vec<_> = fields.iter().collect();
        fields.sort_by_key(|field| (field.offset, field.dtype.itemsize()));
        let (mut items, mut end) = (Vec::new(), 0);
        for field in fields {
            items.extend(padding(end, field.offset)?);
            let name = quoted(&field.name);
            items.push(match &field.dtype.0 {
                Kind::Array { shape, base } => {
                    format!("({name}, {}, {})", base.descr()?, tuple(shape))
                }
                _ => format!("({name}, {})", field.dtype.descr()?),
            });
            end = field.offset + field.dtype.itemsize();
        }
        items.extend(padding(end, *itemsize)?);
        Some(format!("[{}]", items.join(", ")))
    }

    /// The type as a literal of Python that `numpy.dtype` takes.
    fn literal(&self) -> String {
        match &self.0 {
            Kind::Plain(dtype) => quoted(&dtype.to_string()),
            Kind::Foreign { typestr, .. } | Kind::Unstored { typestr, .. } => quoted(typestr),
            Kind::Array { shape, base } => format!("({}, {})", base.literal(), tuple(shape)),
            Kind::Struct { fields, itemsize } => {
                let list = |of: &dyn Fn(&Part) -> String| {
                    fields.iter().map(of).collect::<Vec<_>>().join(", ")
                };
                let names = list(&|field| quoted(&field.name));
                let formats = list(&|field| field.dtype.literal());
                let offsets = list(&|field| field.offset.to_string());
                format!(
                    "{{'names': [{names}], 'formats': [{formats}], 'offsets': [{offsets}], \
                     'itemsize': {itemsize}}}"
                )
            }
        }
    }
}

/// The type of an array with this shape of elements of `base`; `None` where it cannot be an
/// element. Single bytes make raw bytes.
fn array_of(shape: &[usize], base: &DType) -> Option<DType> {
    let (mut dims, mut inner) = (shape.to_vec(), base.clone());
    if inner.to_string() == "|u1" {
        match dims.pop() {
            Some(last) => inner = format!("|V{last}").parse().ok()?,
            None => return Some(inner),
        }
    }
    while inner.to_string().starts_with('(')
        && let Some((len, part)) = inner.subarray()
    {
        dims.push(len);
        inner = part;
    }
    match dims.is_empty() {
        true => Some(inner),
        false => format!("{}{inner}", tuple(&dims).replace(' ', ""))
            .parse()
            .ok(),
    }
}

/// NumPy's name of a type without parts.
fn in_numpy(dtype: &DType) -> String {
    match dtype.to_string().as_str() {
        "bfloat16" => "<V2".into(),
        "int128" | "uint128" => "|V16".into(),
        text => text.into(),
    }
}

/// The lengths as a tuple of Python.
pub(crate) fn tuple(lengths: &[usize]) -> String {
    match lengths {
        [one] => format!("({one},)"),
        many => {
            let many: Vec<_> = many.iter().map(usize::to_string).collect();
            format!("({})", many.join(", "))
        }
    }
}

/// The field of raw bytes that fills a gap between fields, if there is one; `None` where they
/// overlap.
#[allow(clippy::option_option, reason = "no gap is not an overlap")]
fn padding(from: usize, upto: usize) -> Option<Option<String>> {
    let gap = upto.checked_sub(from)?;
    Some((gap > 0).then(|| format!("('', '|V{gap}')")))
}

impl fmt::Display for NumpyDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Plain(dtype) => write!(f, "{dtype}"),
            Kind::Foreign { typestr, .. } | Kind::Unstored { typestr, .. } => f.write_str(typestr),
            _ => f.write_str(&self.literal()),
        }
    }
}

impl fmt::Debug for NumpyDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumpyDType({self})")
    }
}

impl FromStr for NumpyDType {
    type Err = Error;

    /// # Errors
    ///
    /// `Layout` where the text is no type of NumPy's, has the other byte order, or has objects.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse::attribute(text).map_err(|reason| Error::Layout {
            operation: "parse a type of NumPy's",
            reason,
        })
    }
}

#[cfg(test)]
mod tests;
