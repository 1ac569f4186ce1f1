//! The header map: the content of a header as CBOR.

use super::{Created, Header};
use crate::{
    cbor,
    element::dtype::DType,
    error::HeaderError,
    format::{
        array_spec::{ArraySpec, Impossible},
        id::ArrayId,
        kind::{KIND_KEY, Kind},
    },
    layout::Order,
};
use ciborium::Value;
use uuid::Uuid;

/// CBOR tag of a UUID.
const TAG_UUID: u64 = 37;

impl Header {
    pub(crate) fn to_value(&self) -> Value {
        let strides = self.spec.strides_in(self.spec.order());
        let created = vec![
            ("ns".into(), self.created.ns.into()),
            ("sw".into(), (*self.created.software).into()),
            ("pid".into(), self.created.pid.into()),
            ("boot".into(), uuid_value(self.created.boot.as_bytes())),
            ("store".into(), uuid_value(self.created.store.as_bytes())),
        ];
        let mut entries = vec![
            ("id".into(), uuid_value(self.id.as_bytes())),
            ("dtype".into(), self.spec.dtype().to_value()),
            (
                "shape".into(),
                Value::Array(self.spec.shape().iter().map(|&n| cbor::size(n)).collect()),
            ),
            (
                "strides".into(),
                Value::Array(strides.iter().map(|&n| (n as i64).into()).collect()),
            ),
            ("created".into(), Value::Map(created)),
        ];
        if !self.axis_names.is_empty() {
            entries.push((
                "dims".into(),
                Value::Array(self.axis_names.iter().map(name_value).collect()),
            ));
        }
        if let Some(attrs) = &self.attrs {
            entries.push(("attrs".into(), attrs.clone()));
        }
        if let Some(kind) = self.kind.to_value() {
            entries.push(("crit".into(), Value::Array(vec![KIND_KEY.into()])));
            entries.push((KIND_KEY.into(), kind));
        }
        Value::Map(entries)
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, HeaderError> {
        let entries = text_map(value).ok_or(HeaderError::Cbor {
            reason: "not a map with texts as keys".into(),
        })?;
        let kind = kind_of(entries)?;
        let id = ArrayId::from_bytes(get(entries, "id", uuid_of)?);
        let dtype = find(entries, "dtype").ok_or(HeaderError::Key { key: "dtype" })?;
        let dtype = DType::from_value(dtype).map_err(|reason| HeaderError::Dtype { reason })?;
        let spec = spec_of(
            dtype,
            get(entries, "shape", sizes)?,
            get(entries, "strides", sizes)?,
        )?;
        kind.check(&spec).map_err(shape_error)?;
        let axis_names = match find(entries, "dims") {
            None => Vec::new(),
            Some(value) => names_of(value)
                .filter(|names| names.len() == spec.shape().len())
                .ok_or(HeaderError::Key { key: "dims" })?,
        };
        let attrs = find(entries, "attrs").cloned();
        if attrs
            .as_ref()
            .is_some_and(|attrs| text_map(attrs).is_none())
        {
            return Err(HeaderError::Key { key: "attrs" });
        }
        let created = get(entries, "created", created_of)?;
        Ok(Header {
            id,
            spec,
            kind,
            axis_names,
            attrs,
            created,
        })
    }
}

/// The kind of the file. Its key is the only critical one that this version knows.
fn kind_of(entries: &[(Value, Value)]) -> Result<Kind, HeaderError> {
    let wrong = HeaderError::Key { key: "crit" };
    let (critical, kind) = (find(entries, "crit"), find(entries, KIND_KEY));
    let Some(critical) = critical else {
        return kind.map_or(Ok(Kind::Array), |_| Err(wrong));
    };
    let keys = critical.as_array().filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| wrong.clone())?;
    for key in keys {
        match key.as_text() {
            None => return Err(wrong),
            Some(KIND_KEY) => {}
            Some(unknown) => {
                return Err(HeaderError::Critical {
                    key: unknown.to_owned(),
                });
            }
        }
    }
    match kind {
        Some(kind) if keys.len() == 1 => Kind::from_value(kind),
        Some(_) => Err(wrong),
        None => Err(HeaderError::Key { key: KIND_KEY }),
    }
}

/// The entries of a map whose keys are all texts.
fn text_map(value: &Value) -> Option<&[(Value, Value)]> {
    value
        .as_map()
        .filter(|entries| entries.iter().all(|(key, _)| key.is_text()))
        .map(Vec::as_slice)
}

fn find<'a>(entries: &'a [(Value, Value)], key: &str) -> Option<&'a Value> {
    entries
        .iter()
        .find(|(k, _)| k.as_text() == Some(key))
        .map(|(_, value)| value)
}

fn get<T>(
    entries: &[(Value, Value)],
    key: &'static str,
    convert: impl Fn(&Value) -> Option<T>,
) -> Result<T, HeaderError> {
    find(entries, key)
        .and_then(convert)
        .ok_or(HeaderError::Key { key })
}

fn uuid_value(bytes: &[u8; 16]) -> Value {
    Value::Tag(TAG_UUID, Box::new(Value::Bytes(bytes.to_vec())))
}

fn uuid_of(value: &Value) -> Option<[u8; 16]> {
    match value {
        Value::Tag(TAG_UUID, inner) => inner.as_bytes()?.as_slice().try_into().ok(),
        _ => None,
    }
}

fn sizes(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(size_from).collect()
}

fn size_from(value: &Value) -> Option<usize> {
    value
        .as_integer()
        .and_then(|n| usize::try_from(n).ok())
        .filter(|&n| isize::try_from(n).is_ok())
}

/// The specification of an array with these strides.
fn spec_of(dtype: DType, shape: Vec<usize>, strides: Vec<usize>) -> Result<ArraySpec, HeaderError> {
    let ndim = shape.len();
    let spec = ArraySpec::new(dtype, shape, Order::C)?;
    if ndim != strides.len() {
        return Err(shape_error("shape and strides differ in length"));
    }
    let strides: Vec<isize> = strides.into_iter().map(|stride| stride as isize).collect();
    let order = [Order::C, Order::F]
        .into_iter()
        .find(|order| spec.strides_in(*order) == strides)
        .ok_or(shape_error("strides of neither C nor F order"))?;
    Ok(spec.with_order(order))
}

pub(super) fn shape_error(reason: &'static str) -> HeaderError {
    HeaderError::Shape { reason }
}

impl From<Impossible> for HeaderError {
    fn from(impossible: Impossible) -> Self {
        HeaderError::Shape {
            reason: match impossible {
                Impossible::Rank { .. } => "more than 32 dimensions",
                Impossible::Size { .. } => "its size overflows",
            },
        }
    }
}

fn names_of(value: &Value) -> Option<Vec<Option<String>>> {
    value.as_array()?.iter().map(name_of).collect()
}

fn name_of(value: &Value) -> Option<Option<String>> {
    if value.is_null() {
        Some(None)
    } else {
        value.as_text().map(|text| Some(text.to_owned()))
    }
}

fn name_value(name: &Option<String>) -> Value {
    name.as_deref().map_or(Value::Null, Value::from)
}

fn created_of(value: &Value) -> Option<Created> {
    let entries = text_map(value)?;
    let number = |key| find(entries, key)?.as_integer();
    Some(Created {
        ns: number("ns")?.try_into().ok()?,
        software: find(entries, "sw")?.as_text()?.into(),
        pid: number("pid")?.try_into().ok()?,
        boot: Uuid::from_bytes(uuid_of(find(entries, "boot")?)?),
        store: Uuid::from_bytes(uuid_of(find(entries, "store")?)?),
    })
}
