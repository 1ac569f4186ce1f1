//! The arrays that an import makes.

use super::{described::Described, elements, failure::Failure, meter::Meter};
use crate::{
    array::{self, Labels, any::AnyArray},
    element::dtype::DType,
    error::Result,
    format::name::ArrayName,
    layout,
    segment::{draft::Draft, pages::Payload},
    store::member::Member,
};
use std::{io::Read, sync::Arc};

/// The store of the new arrays, and the settings that they get.
pub(super) struct Target<'a> {
    pub(super) member: &'a Arc<Member>,
    /// The name of the only array, or the beginning of all names, which the keys complete.
    pub(super) name: Option<&'a str>,
    /// All labels but the name.
    pub(super) labels: &'a Labels,
    /// The type that the elements must have.
    pub(super) dtype: Option<&'a DType>,
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
        input: &mut dyn Read,
    ) -> Result<Draft, Failure> {
        let dtype = self.dtype_for(described.dtype)?;
        let itemsize = dtype.itemsize();
        let Some(len) = layout::byte_len(&described.shape, itemsize) else {
            return Err(format!("shape {:?} of {dtype} is too large", described.shape).into());
        };
        check_len(left, len as u64)?;
        let mut draft = array::draft_any(
            self.member,
            self.labels_for(key)?,
            dtype,
            &described.shape,
            described.order,
            Payload::ToBeFilled,
        )?;
        elements::read(&mut draft, len, itemsize, &described.swaps, meter, input)?;
        Ok(draft)
    }

    /// The labels of the array with this key, with its name parsed.
    fn labels_for(&self, key: Option<&str>) -> Result<Labels> {
        let name = self
            .name
            .map(|name| ArrayName::parse(format!("{name}{}", key.unwrap_or_default())));
        Ok(Labels {
            name: name.transpose()?,
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
