//! NumPy's slice syntax: `[0:10, ::2]`, `[-1]`, `[..., 0]`, `[None, :]`.

use crate::failure::Failure;
use ndarray::{SliceInfo, SliceInfoElem};
use ndshm::AnyArray;

/// One entry between the commas.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Index(isize),
    Range {
        start: Option<isize>,
        end: Option<isize>,
        step: isize,
    },
    Ellipsis,
    NewAxis,
}

/// A parsed slice, for arrays of any rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    text: String,
    parts: Vec<Part>,
}

impl Slice {
    /// Parses the text between the brackets.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let inner = text.trim();
        let inner = inner.strip_suffix(',').unwrap_or(inner);
        let parts = if inner.trim().is_empty() {
            Ok(Vec::new())
        } else {
            inner
                .split(',')
                .map(|part| Part::parse(part.trim(), text))
                .collect()
        };
        let parts: Vec<Part> = parts?;
        if parts.iter().filter(|part| **part == Part::Ellipsis).count() > 1 {
            return Err(Failure::usage(format!(
                "[{text}]: a slice has at most one ellipsis"
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The view of an array that NumPy would return.
    pub(crate) fn of(&self, array: &AnyArray) -> Result<AnyArray, Failure> {
        let elements = self.elements(array.shape())?;
        let info = SliceInfo::<_, ndarray::IxDyn, ndarray::IxDyn>::try_from(elements)
            .map_err(|error| Failure::usage(format!("[{}]: {error}", self.text)))?;
        Ok(array.slice(info)?)
    }

    /// The slice in ndarray's form: one element for each axis, with bounds clipped as in NumPy.
    fn elements(&self, shape: &[usize]) -> Result<Vec<SliceInfoElem>, Failure> {
        let named = self
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Index(_) | Part::Range { .. }))
            .count();
        if named > shape.len() {
            return Err(Failure::usage(format!(
                "[{}]: {named} indices, and the array has {} axes",
                self.text,
                shape.len()
            )));
        }
        let whole = SliceInfoElem::Slice {
            start: 0,
            end: None,
            step: 1,
        };
        let mut elements = Vec::new();
        let mut axis = 0;
        for part in &self.parts {
            match *part {
                Part::Ellipsis => {
                    elements.extend(std::iter::repeat_n(whole, shape.len() - named));
                    axis += shape.len() - named;
                }
                Part::NewAxis => elements.push(SliceInfoElem::NewAxis),
                Part::Index(index) => {
                    let length = shape[axis] as isize;
                    if index >= length || index < -length {
                        return Err(Failure::usage(format!(
                            "[{}]: index {index} is out of range for axis {axis} of length \
                             {length}",
                            self.text
                        )));
                    }
                    elements.push(SliceInfoElem::Index(index));
                    axis += 1;
                }
                Part::Range { start, end, step } => {
                    elements.push(clipped(start, end, step, shape[axis] as isize));
                    axis += 1;
                }
            }
        }
        elements.extend(std::iter::repeat_n(whole, shape.len() - axis));
        Ok(elements)
    }
}

/// NumPy's range in ndarray's form, where the bounds are those of the range before it is reversed.
fn clipped(start: Option<isize>, end: Option<isize>, step: isize, length: isize) -> SliceInfoElem {
    let resolve = |bound: isize, low: isize, high: isize| {
        (if bound < 0 {
            bound.saturating_add(length)
        } else {
            bound
        })
        .clamp(low, high)
    };
    let (start, end) = if step > 0 {
        let start = start.map_or(0, |start| resolve(start, 0, length));
        (
            start,
            end.map_or(length, |end| resolve(end, 0, length)).max(start),
        )
    } else {
        // From `first` down to `last`, which is left out.
        let first = start.map_or(length - 1, |start| resolve(start, -1, length - 1));
        let last = end.map_or(-1, |end| resolve(end, -1, length - 1));
        (last.min(first) + 1, first + 1)
    };
    SliceInfoElem::Slice {
        start,
        end: Some(end),
        step,
    }
}

impl Part {
    fn parse(part: &str, slice: &str) -> Result<Self, Failure> {
        let refuse = |reason: &str| {
            Failure::usage(format!(
                "[{slice}]: {part:?} {reason}: write slices as in NumPy, [0:10, ::2]"
            ))
        };
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| refuse("is no slice")),
        };
        match part {
            "..." => return Ok(Part::Ellipsis),
            "None" | "newaxis" => return Ok(Part::NewAxis),
            "" => return Err(refuse("is no slice")),
            _ => {}
        }
        let pieces: Vec<&str> = part.split(':').collect();
        match *pieces {
            [index] => number(index)?
                .map(Part::Index)
                .ok_or_else(|| refuse("is no slice")),
            [start, end] => Ok(Part::Range {
                start: number(start)?,
                end: number(end)?,
                step: 1,
            }),
            [start, end, step] => match number(step)?.unwrap_or(1) {
                0 | isize::MIN => Err(refuse("has a step of zero")),
                step => Ok(Part::Range {
                    start: number(start)?,
                    end: number(end)?,
                    step,
                }),
            },
            _ => Err(refuse("is no slice")),
        }
    }
}
