//! Frozen arrays as DLPack tensors, which other libraries read without copying. Export only:
//! tensors of other libraries are not in shared memory.
//!
//! One of the modules with unsafe code: here is the proof of the promises that a tensor makes about
//! its memory. Only the versioned form is made, because only it has a flag for read-only memory.

use crate::{
    array::frozen::FrozenArray,
    element::{Element, dtype::DType},
    error::{Error, Result},
};
use dlpark::{
    DlpackFlags,
    allocation::dynamic::Initialized,
    ffi::{DLDataType, DLDevice, DLManagedTensorVersioned},
    metadata::Dynamic,
    versioned::Dlpack,
};
use ndarray::Dimension;
use std::{fmt::Display, ptr};

/// DLPack's name for a type; `None` if it has none that other libraries know.
fn data_type(dtype: &DType) -> Option<DLDataType> {
    Some(match dtype.to_string().as_str() {
        "|b1" => DLDataType::BOOL,
        "|u1" => DLDataType::U8,
        "<u2" => DLDataType::U16,
        "<u4" => DLDataType::U32,
        "<u8" => DLDataType::U64,
        "|i1" => DLDataType::I8,
        "<i2" => DLDataType::I16,
        "<i4" => DLDataType::I32,
        "<i8" => DLDataType::I64,
        "<f2" => DLDataType::F16,
        "<f4" => DLDataType::F32,
        "<f8" => DLDataType::F64,
        "bfloat16" => DLDataType::BF16,
        "<c8" => DLDataType::C64,
        "<c16" => DLDataType::C128,
        _ => return None,
    })
}

fn impossible(error: impl Display) -> Error {
    Error::layout("make a DLPack tensor", error.to_string())
}

impl<T: Element, D: Dimension> FrozenArray<T, D> {
    /// A DLPack tensor of this array or view: the same memory, on the CPU, with the flag for
    /// read-only memory.
    ///
    /// The tensor keeps the array mapped, and a [`Local`](crate::Scope::Local) one from being
    /// deleted, until its deleter is called, in any thread. Strides are those of the view; not
    /// every library takes negative ones. `into_raw` gives the C structure,
    /// `DLManagedTensorVersioned`, for a capsule of Python or for another library. A library that
    /// takes only the older structure, which has no flag, cannot use the tensor. A library that
    /// ignores the flag and writes faults, because the pages are mapped read-only.
    ///
    /// # Errors
    ///
    /// `Transfer` for element types that DLPack does not have: structs, `[T; N]`, integers of 128
    /// bits. Export their [fields](crate::SharedArray::field) or
    /// [parts](crate::SharedArray::unpack) as views. `Released`, `Io` as for a
    /// [view](crate::SharedArray::view).
    ///
    /// # Examples
    ///
    /// ```
    /// use dlpark::DlpackFlags;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<f32, _>((2, 3), |(i, j)| (3 * i + j) as f32)?;
    /// let frozen = xs.freeze()?;
    /// let tensor = frozen.to_dlpack()?;
    /// assert_eq!(tensor.flags(), DlpackFlags::READ_ONLY);
    /// drop((frozen, xs, manager)); // the memory remains
    /// let tensor = tensor.validate().unwrap();
    /// assert_eq!((tensor.shape(), tensor.strides()), (&[2, 3][..], Some(&[3, 1][..])));
    /// // SAFETY: the tensor describes a frozen array, which it keeps.
    /// assert_eq!(unsafe { tensor.cpu_slice::<f32>() }.unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn to_dlpack(&self) -> Result<Dlpack> {
        let array = self.shared();
        let Some(dtype) = data_type(&T::DTYPE) else {
            let text = T::DTYPE.to_string();
            let reason = format!(
                "DLPack has no type for elements of {text}: export a view of a field or part"
            );
            return Err(Error::transfer(array.path(), reason));
        };
        // The tensor owns an array of its own, whose memory is the same.
        let kept = array.freeze()?;
        // "If the tensor is of size zero, then the data pointer should be set to NULL" (dlpack.h).
        let data = if kept.is_empty() {
            ptr::null_mut()
        } else {
            kept.as_ptr().cast_mut().cast()
        };
        let metadata = Dynamic::new(kept.shape().to_vec(), kept.strides().to_vec());
        let made: Result<Initialized<DLManagedTensorVersioned>, _> =
            metadata.initialize(Box::new(kept));
        let mut tensor = made.map_err(impossible)?;
        tensor
            .set_data(data)
            .set_dtype(dtype)
            .set_device(DLDevice::CPU)
            .set_byte_offset(0);
        tensor
            .set_flags(DlpackFlags::READ_ONLY)
            .map_err(impossible)?;
        // SAFETY: data, shape and strides are those of the view in `kept`, whose elements have this
        // type; the tensor's context owns `kept`, which keeps them mapped until the deleter drops
        // it, in any thread, because it is Send. The flags are true: no process writes a frozen
        // array, and its memory is shared. The strides are explicit.
        Ok(unsafe { tensor.finish() })
    }
}
