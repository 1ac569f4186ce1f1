//! The header of `.npy` files: NumPy's format specification, versions 1.0, 2.0 and 3.0
//! (`numpy.lib.format`), without the file.
//!
//! Written by hand, because elements go into a mapping without a copy, and their type is known only
//! at run time, structs included. Nothing is evaluated and nothing is unpickled.

use super::{described::Described, failure::Failure};
use crate::{
    element::numpy::{
        self,
        literal::{self, Literal},
    },
    layout::Order,
};
use std::io::Read;

const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// The elements start at a multiple of this.
const ALIGN: usize = 64;
/// The longest header that is read. NumPy itself reads at most 10,000 bytes, unless the caller
/// tells it to trust the file.
const MAX_HEADER_LEN: usize = 1 << 20;

/// All bytes before the elements of an array. `descr` is the literal of NumPy's type.
pub(super) fn header(descr: &str, shape: &[usize], order: Order) -> Vec<u8> {
    let is_fortran = if order == Order::F { "True" } else { "False" };
    let text = format!(
        "{{'descr': {descr}, 'fortran_order': {is_fortran}, 'shape': {}, }}",
        numpy::tuple(shape)
    );
    let latin: Option<Vec<u8>> = text
        .chars()
        .map(|character| u8::try_from(character as u32).ok())
        .collect();
    // Version 1 has two bytes for the length, the others four. Version 3 is version 2 with UTF-8
    // instead of Latin-1.
    let (version, body) = match latin {
        Some(latin) if padded(&latin, 2).len() <= usize::from(u16::MAX) => (1, padded(&latin, 2)),
        Some(latin) => (2, padded(&latin, 4)),
        None => (3, padded(text.as_bytes(), 4)),
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
    bytes.extend_from_slice(&body);
    bytes
}

/// The text of a header after a length of `width` bytes, padded so that the elements are aligned.
fn padded(body: &[u8], width: usize) -> Vec<u8> {
    let before = MAGIC.len() + 2 + width;
    let total = (before + body.len() + 1).next_multiple_of(ALIGN);
    let mut padded = body.to_vec();
    padded.resize(total - before - 1, b' ');
    padded.push(b'\n');
    padded
}

/// Reads a header up to the first element. Returns the number of its bytes too.
pub(super) fn read_header(input: &mut dyn Read) -> Result<(Described, usize), Failure> {
    let mut start = [0; 8];
    input.read_exact(&mut start)?;
    if start[..6] != MAGIC {
        let reason = match &start[..2] {
            b"PK" => "it is a zip archive, as .npz files are, not a .npy file",
            _ => "it is not a .npy file",
        };
        return Err(reason.into());
    }
    let mut len = [0; 4];
    let width = match start[6..] {
        [1, 0] => 2,
        [2 | 3, 0] => 4,
        [major, minor] => {
            return Err(format!(
                "it is a .npy file of version {major}.{minor}; 1.0, 2.0 and 3.0 are read"
            )
            .into());
        }
        _ => unreachable!("two of eight bytes"),
    };
    input.read_exact(&mut len[..width])?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_HEADER_LEN {
        return Err(
            format!("its header has {len} bytes, at most {MAX_HEADER_LEN} are read").into(),
        );
    }
    let mut body = vec![0; len];
    input.read_exact(&mut body)?;
    let text = match start[6] {
        3 => String::from_utf8(body).map_err(|_| "its header is not UTF-8")?,
        _ => body.into_iter().map(char::from).collect(),
    };
    Ok((described(&text)?, start.len() + width + len))
}

/// The description of an array, from the text of its header.
fn described(text: &str) -> Result<Described, Failure> {
    let Literal::Dictionary(entries) = literal::parse(text)? else {
        return Err("its header is not a dictionary".into());
    };
    let (Some(descr), Some(Literal::Bool(is_fortran)), Some(Literal::Tuple(lengths)), 3) = (
        value_of(&entries, "descr"),
        value_of(&entries, "fortran_order"),
        value_of(&entries, "shape"),
        entries.len(),
    ) else {
        return Err(
            "its header needs 'descr', 'fortran_order' and 'shape', each once and of the right \
             kind, and nothing else"
                .into(),
        );
    };
    let shape: Option<Vec<usize>> = lengths.iter().map(length).collect();
    let shape = shape.ok_or("its shape has something that is not a length")?;
    let (dtype, swaps) = numpy::read(descr)?;
    let order = if *is_fortran { Order::F } else { Order::C };
    Ok(Described::of_numpy(&dtype, swaps, shape, order)?)
}

fn value_of<'a>(entries: &'a [(Literal, Literal)], key: &str) -> Option<&'a Literal> {
    let entry = entries
        .iter()
        .find(|(found, _)| matches!(found, Literal::Text(text) if text == key));
    entry.map(|(_, value)| value)
}

fn length(literal: &Literal) -> Option<usize> {
    match literal {
        Literal::Integer(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::described::without_subarray, *};
    use crate::element::{
        dtype::DType,
        numpy::{NumpyDType, Swap},
    };

    /// The header of an array of one of the format's types.
    fn header(dtype: &DType, shape: &[usize], order: Order) -> Vec<u8> {
        let (dtype, shape) = without_subarray(dtype, shape);
        super::header(&NumpyDType::of(&dtype).descr().unwrap(), &shape, order)
    }

    fn read(bytes: &[u8]) -> Result<Described, String> {
        match read_header(&mut &bytes[..]) {
            Ok((described, len)) => {
                assert_eq!(len, bytes.len());
                Ok(described)
            }
            Err(Failure::Format(reason)) => Err(reason),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    fn file(version: u8, body: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        bytes.extend_from_slice(
            &(body.len() as u32).to_le_bytes()[..if version == 1 { 2 } else { 4 }],
        );
        bytes.extend(body.bytes());
        bytes
    }

    #[test]
    fn headers_are_read_back_and_end_at_a_multiple_of_64() {
        let structure = DType::structure(
            [
                ("b", "<u2".parse().unwrap(), 9),
                ("a", "(2,3)<f4".parse().unwrap(), 16),
                ("c", "|V3".parse().unwrap(), 0),
            ],
            48,
        );
        let nested = DType::structure(
            [
                ("é", structure.as_ref().unwrap().clone(), 1),
                ("日", DType::scalar(crate::element::dtype::Scalar::Bool), 0),
            ],
            50,
        );
        let texts =
            ["|b1", "|u1", "<i8", "<f2", "<c16", "|V7"].map(|text| text.parse::<DType>().unwrap());
        for dtype in texts
            .into_iter()
            .chain([structure.unwrap(), nested.unwrap()])
        {
            for shape in [vec![], vec![3], vec![0], vec![2, 0, 5], vec![3; 32]] {
                let bytes = header(&dtype, &shape, Order::F);
                assert!(bytes.len().is_multiple_of(ALIGN) && bytes.ends_with(b"\n"));
                let described = read(&bytes).unwrap();
                assert_eq!(
                    (
                        &described.shape,
                        described.order,
                        described.dtype.itemsize()
                    ),
                    (&shape, Order::F, dtype.itemsize())
                );
                assert!(described.swaps.is_empty());
                let names = |dtype: &DType| {
                    let mut fields: Vec<_> = dtype.fields().to_vec();
                    fields.sort_by_key(|field| field.offset());
                    format!("{fields:?}").replace(|c: char| !c.is_alphanumeric(), "")
                };
                if dtype.fields().is_empty() {
                    assert_eq!(described.dtype, dtype);
                } else if dtype.fields().len() == 3 {
                    assert_eq!(names(&described.dtype), names(&dtype));
                }
            }
        }
    }

    #[test]
    fn arrays_as_elements_become_axes_and_types_unknown_to_numpy_raw_bytes() {
        let described = read(&header(&"(3,2)<f4".parse().unwrap(), &[5], Order::C)).unwrap();
        assert_eq!(
            (described.dtype.to_string().as_str(), described.shape),
            ("<f4", vec![5, 3, 2])
        );
        let described = read(&header(&"bfloat16".parse().unwrap(), &[5], Order::C)).unwrap();
        assert_eq!(described.dtype.to_string(), "|V2");
        let described = read(&header(&"(2,)int128".parse().unwrap(), &[5], Order::C)).unwrap();
        assert_eq!(
            (described.dtype.to_string().as_str(), described.shape),
            ("|V16", vec![5, 2])
        );
    }

    #[test]
    fn a_long_header_has_version_2_and_one_beyond_latin_1_has_version_3() {
        let many: Vec<_> = (0..4000)
            .map(|i| (format!("field{i}"), "|u1".parse().unwrap(), i))
            .collect();
        let long = header(&DType::structure(many, 4000).unwrap(), &[1], Order::C);
        assert_eq!(long[6], 2);
        assert_eq!(read(&long).unwrap().dtype.fields().len(), 4000);
        let japanese = header(
            &DType::structure([("日本", "|u1".parse().unwrap(), 0)], 1).unwrap(),
            &[1],
            Order::C,
        );
        assert_eq!(japanese[6], 3);
        assert_eq!(read(&japanese).unwrap().dtype.fields()[0].name(), "日本");
        let latin = header(
            &DType::structure([("é", "|u1".parse().unwrap(), 0)], 1).unwrap(),
            &[1],
            Order::C,
        );
        assert_eq!(latin[6], 1);
        assert_eq!(read(&latin).unwrap().dtype.fields()[0].name(), "é");
    }

    #[test]
    fn the_other_byte_order_is_described_with_the_place_of_every_number() {
        let descr =
            "[('', '|V1'), ('a', '>f8', (2,)), ('b', '<i4'), ('c', [('d', '>c8'), ('e', '|u1')])]";
        let described = read(&file(
            1,
            &format!("{{'descr': {descr}, 'fortran_order': True, 'shape': (7,)}}"),
        ))
        .unwrap();
        assert_eq!(
            described.swaps,
            [
                Swap {
                    offset: 1,
                    width: 8,
                    count: 2
                },
                Swap {
                    offset: 21,
                    width: 4,
                    count: 2
                }
            ]
        );
        assert_eq!(described.dtype.itemsize(), 30);
    }

    #[test]
    fn hostile_headers_are_refused_with_the_reason() {
        let dictionary = |descr: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")
        };
        let deep = format!("{}'<f8'{}", "[('x', ".repeat(60), ")]".repeat(60));
        let cases = [
            (dictionary("'|O'", "(3,)"), "Python objects"),
            (dictionary("[('x', '|O')]", "(3,)"), "Python objects"),
            (dictionary("'object'", "(3,)"), "Python objects"),
            (dictionary("'|T16'", "(3,)"), "any length"),
            (dictionary("'<f10'", "(3,)"), "supported"),
            (dictionary("'|V99999999999'", "(3,)"), "supported"),
            (
                dictionary("'<U999999999'", "(9223372036854775807,)"),
                "too large",
            ),
            (dictionary("'<M8[x]'", "(3,)"), "supported"),
            (dictionary("'<M8[0s]'", "(3,)"), "supported"),
            (dictionary("'<M4'", "(3,)"), "supported"),
            (dictionary("'<é8'", "(3,)"), "supported"),
            (dictionary("'<f08'", "(3,)"), "supported"),
            (dictionary("'<f8,<f8'", "(3,)"), "supported"),
            (dictionary("''", "(3,)"), "supported"),
            (dictionary("5", "(3,)"), "supported"),
            (
                dictionary("[('x', '<f8'), ('x', '<f8')]", "(3,)"),
                "same name",
            ),
            (
                dictionary("[('x', '<f8', (99999999, 99999999))]", "(3,)"),
                "too large",
            ),
            (dictionary("[('x', '<f8', (-1,))]", "(3,)"), "unexpected"),
            (
                dictionary("[('x', [('y', '>f8'), ('z', '>f8')], (99999,))]", "(3,)"),
                "other byte order",
            ),
            (dictionary(&deep, "(3,)"), "deeper"),
            (dictionary("'<f8'", "(-3,)"), "unexpected"),
            (dictionary("'<f8'", "3"), "right kind"),
            (dictionary("'<f8'", "('3',)"), "not a length"),
            (dictionary("'<f8'", "(9223372036854775807, 2)"), "too large"),
            (
                dictionary("'<f8'", "(0, 9223372036854775807, 9223372036854775807)"),
                "too large",
            ),
            (
                dictionary("'<f8'", &format!("({})", "1,".repeat(33))),
                "33 axes",
            ),
            (
                "{'descr': '<f8', 'fortran_order': False}".into(),
                "each once",
            ),
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'x': 1}".into(),
                "nothing else",
            ),
            (
                "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (3,)}".into(),
                "each once",
            ),
            (
                "{'descr': '<f8', 'fortran_order': 0, 'shape': (3,)}".into(),
                "right kind",
            ),
            ("['descr']".into(), "not a dictionary"),
        ];
        for (body, expected) in cases {
            let reason = read(&file(1, &body)).unwrap_err();
            assert!(reason.contains(expected), "{body}: {reason}");
        }
        assert!(read(b"PK\x03\x04....").unwrap_err().contains(".npz"));
        assert!(
            read(b"\x93NUMPY\x04\x00\x00\x00")
                .unwrap_err()
                .contains("4.0")
        );
        assert!(
            read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff")
                .unwrap_err()
                .contains("at most")
        );
        assert!(
            read(b"\x93NUMPY\x01\x00\xff\xff{")
                .unwrap_err()
                .contains("UnexpectedEof")
        );
        assert!(
            read(&[&file(3, "")[..8], &[1, 0, 0, 0, 0xff]].concat())
                .unwrap_err()
                .contains("UTF-8")
        );
    }
}
