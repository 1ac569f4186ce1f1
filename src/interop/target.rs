//! The arrays that an import makes.

#[cfg(any(feature = "zip", feature = "safetensors"))]
use super::selection::Left;
use super::{described::Described, elements, failure::Failure, input::Source, meter::Meter};
use crate::{
    array::{self, Labels, any::AnyArray},
    cbor,
    element::{dtype::DType, numpy},
    error::Result,
    format::{
        attributes,
        name::{self, ArrayName},
    },
    layout,
    segment::{draft::Draft, pages::Payload},
    store::member::Member,
};
use ciborium::Value;
use std::sync::Arc;

/// The most bytes of an element type and of its name in NumPy, in the 64 KiB of a header.
const MAX_TYPE_LEN: usize = 56 << 10;

/// The drafts of a file, each with its key, and the arrays that were left.
#[cfg(any(feature = "zip", feature = "safetensors"))]
pub(super) type Taken = (Vec<(String, Draft)>, Vec<Left>);

/// Attributes that an import sets.
pub(super) type Extras = Vec<(&'static str, Value)>;

/// The store of the new arrays, and the settings that they get.
pub(super) struct Target<'a> {
    pub(super) member: &'a Arc<Member>,
    /// The name of the only array, or the beginning of all names, which the keys complete.
    pub(super) name: Option<&'a str>,
    /// All labels but the name.
    pub(super) labels: &'a Labels,
    /// The type that the elements must have.
    pub(super) dtype: Option<&'a DType>,
    /// Further attributes of each array.
    pub(super) extras: Extras,
}

impl Target<'_> {
    /// A draft of an array that a file describes, with the elements that come next in `input`.
    ///
    /// `left` is the number of bytes before the end of the file or entry. It must be the number of
    /// bytes of the elements; it is compared before anything is allocated.
    pub(super) fn receive(
        &self,
        key: Option<&str>,
        described: Described,
        left: u64,
        meter: &mut Meter<'_>,
        input: &mut dyn Source,
    ) -> Result<Draft, Failure> {
        let described = self.accepted(described)?;
        let Described { dtype, shape, .. } = &described;
        let Some(len) = layout::byte_len(shape, dtype.itemsize()) else {
            return Err(format!("shape {shape:?} of {dtype} is too large").into());
        };
        check_len(left, len as u64)?;
        let mut draft = array::draft_any(
            self.member,
            self.labels_for(key, described.numpy)?,
            described.dtype,
            &described.shape,
            described.order,
            Payload::ToBeFilled,
        )?;
        elements::read(
            &mut draft,
            len,
            described.itemsize,
            &described.swaps,
            meter,
            input,
        )?;
        Ok(draft)
    }

    /// The array that is made of one in a file; a failure where its type is not the one asked for.
    pub(super) fn accepted(&self, described: Described) -> Result<Described, Failure> {
        let found = described.dtype.clone();
        let dtype = self.dtype_for(found.clone())?;
        let numpy = described.numpy.filter(|_| dtype == found);
        let type_len =
            cbor::encode(&dtype.to_value()).len() + numpy.as_ref().map_or(0, String::len);
        if type_len > MAX_TYPE_LEN {
            return Err(format!(
                "its element type has {type_len} bytes of names and formats, more than the header \
                 of an array can have"
            )
            .into());
        }
        Ok(Described {
            dtype,
            numpy,
            ..described
        })
    }

    /// The labels of the array with this key, with its name parsed.
    fn labels_for(&self, key: Option<&str>, numpy: Option<String>) -> Result<Labels> {
        let numpy = numpy.map(|text| (numpy::ATTRIBUTE, Value::Text(text)));
        let mut extras: Extras = self.extras.iter().cloned().chain(numpy).collect();
        let name = match (self.name, key) {
            (Some(prefix), Some(key)) => {
                let whole = format!("{prefix}{key}");
                let name = name::of_key(&whole);
                if name::key_of(&name, None) != whole {
                    extras.push((name::KEY_ATTRIBUTE, Value::Text(whole)));
                }
                Some(ArrayName::parse(name)?)
            }
            (name, _) => name.map(ArrayName::parse).transpose()?,
        };
        Ok(Labels {
            name,
            attrs: attributes::with_entries(self.labels.attrs.as_ref(), extras)?,
            ..self.labels.clone()
        })
    }

    /// The type of the new array, for a file with elements of type `found`.
    fn dtype_for(&self, found: DType) -> Result<DType, Failure> {
        let is_raw = found.to_string().starts_with("|V");
        match self.dtype {
            Some(wanted) if is_raw && wanted.itemsize() == found.itemsize() => Ok(wanted.clone()),
            Some(wanted) if *wanted != found => {
                Err(format!("its element type is {found}, expected {wanted}").into())
            }
            _ => Ok(found),
        }
    }
}

/// Fails unless the elements end where the file or entry ends.
fn check_len(left: u64, len: u64) -> Result<(), Failure> {
    if left < len {
        return Err(
            format!("it is cut off: {left} bytes of elements, its header says {len}").into(),
        );
    }
    if left > len {
        let more = left - len;
        return Err(format!("{more} more bytes follow its {len} bytes of elements").into());
    }
    Ok(())
}

/// Publishes all drafts, or none of them.
#[cfg(any(feature = "zip", feature = "safetensors"))]
pub(super) fn publish_all(drafts: Vec<(String, Draft)>) -> Result<Vec<(String, AnyArray)>> {
    let mut arrays: Vec<(String, AnyArray)> = Vec::with_capacity(drafts.len());
    for (key, draft) in drafts {
        match publish(draft) {
            Ok(array) => arrays.push((key, array)),
            Err(error) => {
                arrays.iter().for_each(|(_, array)| drop(array.release()));
                return Err(error);
            }
        }
    }
    Ok(arrays)
}

pub(super) fn publish(draft: Draft) -> Result<AnyArray> {
    draft.publish().map(AnyArray::of_published)
}
