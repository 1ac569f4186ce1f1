//! Arrays of files whose elements lie in the file as they do in memory, in C order: they are read
//! where they are, piece by piece. For other files, [`Stored::find`] has nothing.

use crate::elements::{chunks::Piece, number::Number};
use ndshm::DType;
use serde_json::Value;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};
use zip::CompressionMethod;

/// The longest head of a .npy or safetensors file that is parsed here.
const LONGEST_HEAD: u64 = 64 << 20;

/// An array in a file.
pub(super) struct Stored {
    file: File,
    /// Bytes before the first element.
    start: u64,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The formats of files that are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Npy,
    Npz,
    Safetensors,
}

impl Format {
    /// The format that the first bytes of a file show; `None` also if there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let mut start = Vec::new();
        File::open(path)
            .ok()?
            .take(9)
            .read_to_end(&mut start)
            .ok()?;
        match &start[..] {
            start if start.starts_with(b"\x93NUMPY") => Some(Self::Npy),
            start if start.starts_with(b"PK") => Some(Self::Npz),
            [_, _, _, _, _, _, _, _, b'{'] => Some(Self::Safetensors),
            _ => None,
        }
    }
}

impl Stored {
    /// The array of a file, if it is one of numbers in C order that lies there uncompressed. `None`
    /// for all others, and for damaged files: their import says what is wrong.
    pub(super) fn find(path: &Path, format: Format, key: Option<&str>) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        match (format, key) {
            (Format::Npy, None) => Self::npy(file, 0),
            (Format::Npy, Some(_)) => None,
            (Format::Npz, key) => {
                let start = entry_start(&mut file, key)?;
                Self::npy(file, start)
            }
            (Format::Safetensors, key) => Self::tensor(file, key),
        }
    }

    /// The .npy file that begins at this byte.
    fn npy(mut file: File, start: u64) -> Option<Self> {
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut magic = [0; 8];
        file.read_exact(&mut magic).ok()?;
        let (size, len) = match (&magic[..6], magic[6]) {
            (b"\x93NUMPY", 1) => (2, u64::from(u16::from_le_bytes(bytes(&mut file)?))),
            (b"\x93NUMPY", 2 | 3) => (4, u64::from(u32::from_le_bytes(bytes(&mut file)?))),
            _ => return None,
        };
        let head = String::from_utf8(head(&mut file, len)?).ok()?;
        if value_of(&head, "fortran_order")?
            .split([',', '}'])
            .next()?
            .trim()
            != "False"
        {
            return None;
        }
        let dtype = value_of(&head, "descr")?
            .strip_prefix('\'')?
            .split('\'')
            .next()?;
        let shape = value_of(&head, "shape")?
            .strip_prefix('(')?
            .split(')')
            .next()?;
        let lengths = shape
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let shape = lengths
            .map(|text| text.parse().ok())
            .collect::<Option<_>>()?;
        Self::checked(file, start + 8 + size + len, dtype, shape)
    }

    fn tensor(mut file: File, key: Option<&str>) -> Option<Self> {
        let len = u64::from_le_bytes(bytes(&mut file)?);
        let head: Value = serde_json::from_slice(&head(&mut file, len)?).ok()?;
        let mut tensors = head
            .as_object()?
            .iter()
            .filter(|(key, _)| *key != "__metadata__");
        let tensor = match (key, tensors.next(), tensors.next()) {
            (Some(key), ..) => head.get(key)?,
            (None, Some((_, tensor)), None) => tensor,
            _ => return None,
        };
        let dtype = match tensor["dtype"].as_str()? {
            "BOOL" => "|b1",
            "U8" => "|u1",
            "I8" => "|i1",
            "U16" => "<u2",
            "I16" => "<i2",
            "U32" => "<u4",
            "I32" => "<i4",
            "U64" => "<u8",
            "I64" => "<i8",
            "F16" => "<f2",
            "BF16" => "bfloat16",
            "F32" => "<f4",
            "F64" => "<f8",
            _ => return None,
        };
        let length = |length: &Value| usize::try_from(length.as_u64()?).ok();
        let shape = tensor["shape"]
            .as_array()?
            .iter()
            .map(length)
            .collect::<Option<_>>()?;
        let offset = tensor["data_offsets"][0].as_u64()?;
        Self::checked(file, (8 + len).checked_add(offset)?, dtype, shape)
    }

    /// The array, if the file has all of its elements.
    fn checked(file: File, start: u64, dtype: &str, shape: Vec<usize>) -> Option<Self> {
        let dtype: DType = dtype.parse().ok()?;
        Number::of(&dtype)?;
        let size = shape
            .iter()
            .try_fold(dtype.itemsize(), |size, &len| size.checked_mul(len))?;
        let end = start.checked_add(u64::try_from(size).ok()?)?;
        (file.metadata().ok()?.len() >= end).then_some(Self {
            file,
            start,
            dtype,
            shape,
            bytes: Vec::new(),
        })
    }

    /// The bytes of a piece that follows itself in C order.
    pub(super) fn copied(&mut self, piece: &Piece) -> io::Result<&[u8]> {
        let axes = piece.iter().zip(&self.shape);
        let first = axes.fold(0, |at, (range, len)| at * len + range.start);
        let count: usize = piece.iter().map(|range| range.len()).product();
        let itemsize = self.dtype.itemsize();
        self.bytes.resize(count * itemsize, 0);
        let start = self.start + (first * itemsize) as u64;
        self.file.read_exact_at(&mut self.bytes, start)?;
        Ok(&self.bytes)
    }
}

/// The next bytes of a file.
fn bytes<const N: usize>(file: &mut File) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn head(file: &mut File, len: u64) -> Option<Vec<u8>> {
    if len > LONGEST_HEAD {
        return None;
    }
    let mut head = Vec::new();
    file.take(len).read_to_end(&mut head).ok()?;
    (head.len() as u64 == len).then_some(head)
}

/// The text behind a key of the head of a .npy file, a dictionary of Python.
fn value_of<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = head.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// Where the .npy file of a key, or the only one, begins in a .npz file, if it lies there as it is.
fn entry_start(file: &mut File, key: Option<&str>) -> Option<u64> {
    let mut archive = zip::ZipArchive::new(&*file).ok()?;
    let entry = match key {
        Some(key) => archive.by_name(&format!("{key}.npy")).ok()?,
        None if archive.len() == 1 => archive.by_index(0).ok()?,
        None => return None,
    };
    let is_plain = entry.compression() == CompressionMethod::Stored && !entry.encrypted();
    entry.data_start().filter(|_| is_plain)
}
