//! Elements as nested lists of JSON.

use super::Text;
use crate::{
    elements::number::{Number, Style},
    failure::Failure,
};
use ndshm::{AnyArray, DType};

/// An element, or a part of it.
enum Node {
    Number(usize, Number),
    List(Vec<Node>),
    /// Each with its name as JSON.
    Object(Vec<(String, Node)>),
}

impl Node {
    fn of(dtype: &DType, offset: usize) -> Result<Self, Failure> {
        if !dtype.fields().is_empty() {
            let node = |field: &ndshm::Field| {
                let name = serde_json::to_string(field.name())?;
                Ok((name, Self::of(field.dtype(), offset + field.offset())?))
            };
            return Ok(Self::Object(
                dtype
                    .fields()
                    .iter()
                    .map(node)
                    .collect::<Result<_, Failure>>()?,
            ));
        }
        if let Some((len, part)) = dtype.subarray() {
            let node = |at| Self::of(&part, offset + at * part.itemsize());
            return Ok(Self::List((0..len).map(node).collect::<Result<_, _>>()?));
        }
        Number::of(dtype)
            .map(|number| Self::Number(offset, number))
            .ok_or_else(|| Failure::usage(format!("elements of type {dtype} are no numbers")))
    }

    fn write(&self, element: &[u8], text: &mut Vec<u8>) {
        match self {
            Self::Number(offset, number) => {
                number.write(&element[*offset..][..number.size()], text, Style::Json);
            }
            Self::List(nodes) => {
                text.push(b'[');
                for (at, node) in nodes.iter().enumerate() {
                    text.extend_from_slice(if at > 0 { b"," } else { b"" });
                    node.write(element, text);
                }
                text.push(b']');
            }
            Self::Object(nodes) => {
                text.push(b'{');
                for (at, (name, node)) in nodes.iter().enumerate() {
                    text.extend_from_slice(if at > 0 { b"," } else { b"" });
                    text.extend_from_slice(name.as_bytes());
                    text.push(b':');
                    node.write(element, text);
                }
                text.push(b'}');
            }
        }
    }
}

/// Writes the elements of an array as nested lists, a line for each row.
pub(super) struct Json {
    node: Node,
    itemsize: usize,
    shape: Vec<usize>,
    /// The index of the next element.
    index: Vec<usize>,
    is_started: bool,
}

impl Json {
    pub(super) fn new(array: &AnyArray) -> Result<Self, Failure> {
        Ok(Self {
            node: Node::of(array.dtype(), 0)?,
            itemsize: array.dtype().itemsize(),
            shape: array.shape().to_vec(),
            index: vec![0; array.ndim()],
            is_started: false,
        })
    }

    /// Goes on to the next element. Returns the number of lists that end before it.
    fn step(&mut self) -> usize {
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            if self.index[axis] < self.shape[axis] {
                return self.shape.len() - 1 - axis;
            }
            self.index[axis] = 0;
        }
        self.shape.len()
    }
}

impl Text for Json {
    fn add(&mut self, elements: &[u8], text: &mut Vec<u8>) {
        for element in elements.chunks_exact(self.itemsize) {
            let begun = self.index.iter().rev().take_while(|&&at| at == 0).count();
            if self.is_started {
                text.extend_from_slice(if begun > 0 { b",\n" } else { b"," });
            }
            self.is_started = true;
            text.extend(std::iter::repeat_n(b'[', begun));
            self.node.write(element, text);
            text.extend(std::iter::repeat_n(b']', self.step()));
        }
    }

    fn end(&mut self, text: &mut Vec<u8>) {
        if !self.is_started {
            write_empty(&self.shape, text);
        }
        text.push(b'\n');
    }
}

/// The lists of an array without elements.
fn write_empty(shape: &[usize], text: &mut Vec<u8>) {
    let Some((&len, inner)) = shape.split_first() else {
        return;
    };
    text.push(b'[');
    for at in 0..len {
        text.extend_from_slice(if at > 0 { b"," } else { b"" });
        write_empty(inner, text);
    }
    text.push(b']');
}
