//! `diff`: compares two arrays, of stores or of files.

mod close;
mod compare;
mod file;
mod report;
mod side;

use crate::{Outcome, context::Context, failure::Failure};
use ciborium::Value as Cbor;
use close::Tolerance;
use compare::Differences;
use side::Side;
use std::process::ExitCode;

/// The exit codes of diff, which this command has instead of those of the tool.
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;

/// Compare two arrays: shape, type, attributes, names of axes, and elements by value
///
/// Two numbers are equal if |A - B| <= ATOL + RTOL * |B|, as in numpy.isclose; both are 0 by
/// default, so they have the same value. Arrays of different types are compared by value, without
/// loss, and differ in type. The exit codes are those of diff and not those of the other commands:
/// 0 for equal arrays, 1 for different ones, 2 for trouble.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  ndshm diff 'frames[0]' 'other/frames[0]' --rtol 1e-6
  ndshm diff frames results.npz:frames && echo equal")]
pub(crate) struct Args {
    /// An array, or a .npy, .npz or .safetensors file, as FILE:KEY for one of several arrays; each
    /// with an optional slice
    #[arg(value_name = "A")]
    first: String,
    /// The other one
    #[arg(value_name = "B")]
    second: String,
    /// The difference that is allowed, as a part of the second number
    #[arg(long, value_name = "RTOL", default_value_t = 0.0, value_parser = tolerance)]
    rtol: f64,
    /// The difference that is allowed
    #[arg(long, value_name = "ATOL", default_value_t = 0.0, value_parser = tolerance)]
    atol: f64,
    /// Whether NaN equals NaN
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    equal_nan: bool,
    /// Compare shapes and values alone: other types, attributes or names of axes are no difference
    #[arg(long)]
    values: bool,
    /// Print nothing, and end at the first difference
    #[arg(short, long)]
    quiet: bool,
    /// Take no lock: read a snapshot of elements that other processes may change meanwhile
    #[arg(long)]
    unlocked: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 => Ok(number),
        _ => Err("a number that is not negative is needed".into()),
    }
}

/// The result of a comparison.
struct Found {
    /// Whether each part is the same.
    has_same_shape: bool,
    has_same_type: bool,
    has_same_axis_names: bool,
    /// Attributes that differ: the key, and the value of each array.
    attributes: Vec<(Cbor, Option<Cbor>, Option<Cbor>)>,
    /// `None` for arrays of different shapes, the reason for types without common parts.
    elements: Option<Result<Differences, String>>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    match compared(context, args) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(DIFFERENT)),
        Err(failure) => Ok(failure.report_as(TROUBLE)),
    }
}

/// Whether the arrays are equal, after the report.
fn compared(context: &Context, args: &Args) -> Result<bool, Failure> {
    let mut a = Side::open(context, &args.first, args.unlocked)?;
    let mut b = Side::open(context, &args.second, args.unlocked)?;
    let mut found = Found {
        has_same_shape: a.shape() == b.shape(),
        has_same_type: a.dtype() == b.dtype(),
        // A file of another format has none.
        has_same_axis_names: a.attrs.is_none()
            || b.attrs.is_none()
            || a.axis_names() == b.axis_names(),
        attributes: different_attributes(&a, &b),
        elements: None,
    };
    let has_same_labels = args.values
        || (found.has_same_type && found.has_same_axis_names && found.attributes.is_empty());
    if args.quiet && (!has_same_labels || !found.has_same_shape) {
        return Ok(false);
    }
    if found.has_same_shape {
        let tolerance = Tolerance {
            relative: args.rtol,
            absolute: args.atol,
            has_equal_nan: args.equal_nan,
        };
        found.elements = Some(compare::compare(&mut a, &mut b, &tolerance, args.quiet)?);
    }
    let has_equal_elements =
        matches!(&found.elements, Some(Ok(differences)) if differences.different == 0);
    let is_equal = has_equal_elements && has_same_labels;
    if !args.quiet {
        match context.is_json {
            true => context.print_json(&report::json(&a, &b, &found, is_equal))?,
            false => report::print(context, &a, &b, &found, args.values)?,
        }
    }
    Ok(is_equal)
}

fn different_attributes(a: &Side, b: &Side) -> Vec<(Cbor, Option<Cbor>, Option<Cbor>)> {
    let (Some(one), Some(other)) = (&a.attrs, &b.attrs) else {
        return Vec::new();
    };
    let of = |attrs: &[(Cbor, Cbor)], key: &Cbor| {
        attrs
            .iter()
            .find(|(other, _)| other == key)
            .map(|(_, value)| value.clone())
    };
    let only_other = other.iter().filter(|(key, _)| of(one, key).is_none());
    one.iter()
        .chain(only_other)
        .map(|(key, _)| (key.clone(), of(one, key), of(other, key)))
        .filter(|(_, a, b)| a != b)
        .collect()
}
