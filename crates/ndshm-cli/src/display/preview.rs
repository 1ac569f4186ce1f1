//! The corners of an array of any rank, as NumPy prints them.

use crate::{
    elements::{reading::Reading, scalar::real},
    failure::Failure,
};
use ndarray::{Axis, SliceInfo, SliceInfoElem};
use ndshm::{AnyArray, DType, Error};

/// Most elements that are shown of an array that is not shown whole.
const MOST: usize = 150;
/// Most elements, and longest row, of an array that is shown whole.
const WHOLE: usize = 200;
const ROW: usize = 20;
/// Most elements at each end of an axis.
const EDGE: usize = 3;
/// Most elements of an array in one line.
const FIRST: usize = 8;
/// Most characters of one element.
const WIDEST: usize = 60;

/// The elements that are shown; `None` stands for omitted ones.
enum Node {
    Element(String),
    List(Vec<Option<Node>>),
}

/// The preview of an array, without a line break at its end.
pub(crate) fn of(array: &AnyArray, reading: Reading) -> Result<String, Failure> {
    let node = node(array, reading, &plan(array.shape()))?;
    let mut text = String::new();
    let width = width(&node);
    write(&mut text, &node, 0, array.ndim(), width);
    Ok(text)
}

/// The first elements of an array whose bytes lie in C order, in one line.
pub(crate) fn first(dtype: &DType, bytes: &[u8]) -> String {
    let all = bytes.chunks_exact(dtype.itemsize().max(1));
    let more = if all.len() > FIRST { " ..." } else { "" };
    let shown: Vec<_> = all
        .take(FIRST)
        .map(|bytes| shortened(element(dtype, bytes)))
        .collect();
    format!("[{}{more}]", shown.join(" "))
}

/// Whether an array of this shape is shown with all its elements.
pub(crate) fn is_whole(shape: &[usize]) -> bool {
    shape.iter().product::<usize>() <= WHOLE && shape.last().is_none_or(|&length| length <= ROW)
}

/// The numbers of elements that are shown at the start and at the end of each axis.
fn plan(shape: &[usize]) -> Vec<(usize, usize)> {
    let ends = |length: usize, edge: usize| {
        if length > 2 * edge {
            (edge, edge)
        } else {
            (length, 0)
        }
    };
    if is_whole(shape) {
        return shape.iter().map(|&length| (length, 0)).collect();
    }
    let mut plan: Vec<_> = shape.iter().map(|&length| ends(length, EDGE)).collect();
    let shown = |plan: &[(usize, usize)]| {
        plan.iter()
            .map(|(head, tail)| head + tail)
            .fold(1, usize::saturating_mul)
    };
    // The outer axes are shortened first.
    for edge in (0..EDGE).rev() {
        for axis in 0..shape.len() {
            if shown(&plan) > MOST {
                plan[axis] = if edge == 0 {
                    (shape[axis].min(1), 0)
                } else {
                    ends(shape[axis], edge)
                };
            }
        }
    }
    plan
}

fn node(array: &AnyArray, reading: Reading, plan: &[(usize, usize)]) -> Result<Node, Failure> {
    let Some((&(head, tail), inner)) = plan.split_first() else {
        return Ok(elements(array, reading)?
            .pop()
            .map_or(Node::List(Vec::new()), Node::Element));
    };
    let length = array.shape()[0];
    let mut nodes = Vec::new();
    if inner.is_empty() {
        nodes.extend(
            elements(&range(array, 0, head)?, reading)?
                .into_iter()
                .map(|text| Some(Node::Element(text))),
        );
    } else {
        for index in 0..head {
            nodes.push(Some(node(
                &array.index_axis(Axis(0), index)?,
                reading,
                inner,
            )?));
        }
    }
    if head + tail < length {
        nodes.push(None);
    }
    if inner.is_empty() {
        nodes.extend(
            elements(&range(array, length - tail, length)?, reading)?
                .into_iter()
                .map(|text| Some(Node::Element(text))),
        );
    } else {
        for index in length - tail..length {
            nodes.push(Some(node(
                &array.index_axis(Axis(0), index)?,
                reading,
                inner,
            )?));
        }
    }
    Ok(Node::List(nodes))
}

fn range(array: &AnyArray, start: usize, end: usize) -> Result<AnyArray, Failure> {
    let element = SliceInfoElem::Slice {
        start: start as isize,
        end: Some(end as isize),
        step: 1,
    };
    let info = SliceInfo::<_, ndarray::IxDyn, ndarray::IxDyn>::try_from(vec![element])
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(array.slice(info)?)
}

/// The elements of a small view; a question mark for each poisoned one.
fn elements(array: &AnyArray, reading: Reading) -> Result<Vec<String>, Failure> {
    if array.is_empty() {
        return Ok(Vec::new());
    }
    match reading.bytes(array) {
        Ok(bytes) => Ok(bytes
            .chunks(array.dtype().itemsize())
            .map(|bytes| shortened(element(array.dtype(), bytes)))
            .collect()),
        Err(Error::Poisoned { .. }) if array.len() == 1 => Ok(vec!["?".into()]),
        // One by one: the others can be read.
        Err(Error::Poisoned { .. }) => (0..array.len())
            .map(|index| elements(&array.index_axis(Axis(0), index)?, reading))
            .try_fold(Vec::new(), |mut all, one| {
                all.extend(one?);
                Ok(all)
            }),
        Err(error) => Err(error.into()),
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(WIDEST) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text,
    }
}

/// The text of one element of any type.
fn element(dtype: &DType, bytes: &[u8]) -> String {
    if !dtype.fields().is_empty() {
        let part = |field: &ndshm::Field| {
            element(
                field.dtype(),
                &bytes[field.offset()..][..field.dtype().itemsize()],
            )
        };
        return format!(
            "({})",
            dtype
                .fields()
                .iter()
                .map(part)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    macro_rules! number {
        ($type:ty) => {
            <$type>::from_ne_bytes(bytes.try_into().unwrap_or_default())
        };
    }
    match dtype.to_string().as_str() {
        "|b1" => if bytes == [0] { "False" } else { "True" }.into(),
        "|u1" => number!(u8).to_string(),
        "|i1" => number!(i8).to_string(),
        "<u2" => number!(u16).to_string(),
        "<i2" => number!(i16).to_string(),
        "<u4" => number!(u32).to_string(),
        "<i4" => number!(i32).to_string(),
        "<u8" => number!(u64).to_string(),
        "<i8" => number!(i64).to_string(),
        "uint128" => number!(u128).to_string(),
        "int128" => number!(i128).to_string(),
        "<f4" => real(f64::from(number!(f32))),
        "<f8" => real(number!(f64)),
        "<f2" => real(f64::from(half::f16::from_bits(number!(u16)))),
        "bfloat16" => real(f64::from(half::bf16::from_bits(number!(u16)))),
        "<c8" => complex(&"<f4".parse(), bytes),
        "<c16" => complex(&"<f8".parse(), bytes),
        _ => match dtype.subarray() {
            Some((_, part)) => {
                let parts: Vec<_> = bytes
                    .chunks(part.itemsize())
                    .map(|bytes| element(&part, bytes))
                    .collect();
                format!("[{}]", parts.join(" "))
            }
            None => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    }
}

fn complex(part: &ndshm::Result<DType>, bytes: &[u8]) -> String {
    let (Ok(part), (re, im)) = (part, bytes.split_at(bytes.len() / 2)) else {
        return String::new();
    };
    let (re, im) = (element(part, re), element(part, im));
    format!("{re}{}{im}j", if im.starts_with('-') { "" } else { "+" })
}

fn width(node: &Node) -> usize {
    match node {
        Node::Element(text) => text.chars().count(),
        Node::List(nodes) => nodes.iter().flatten().map(width).max().unwrap_or(0),
    }
}

fn write(text: &mut String, node: &Node, depth: usize, ndim: usize, width: usize) {
    match node {
        Node::Element(element) => *text += &format!("{element:>width$}"),
        Node::List(nodes) => {
            *text += "[";
            let between = match ndim - depth {
                ..=1 => " ".to_owned(),
                left => "\n".repeat(left - 1) + &" ".repeat(depth + 1),
            };
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    *text += &between;
                }
                match node {
                    Some(node) => write(text, node, depth + 1, ndim, width),
                    None => *text += "...",
                }
            }
            *text += "]";
        }
    }
}
