//! The differences in words, and as JSON.

use super::{
    Found,
    close::{self, Distance},
    compare::{Difference, Differences},
    side::Side,
};
use crate::{
    commands::show,
    context::Context,
    display::text,
    failure::{Failure, printable},
};
use ciborium::Value as Cbor;
use serde_json::{Value, json};
use std::io::Write;

/// Prints a line for each difference, and nothing for equal arrays.
pub(super) fn print(
    context: &Context,
    a: &Side,
    b: &Side,
    found: &Found,
    only_values: bool,
) -> Result<(), Failure> {
    let mut out = context.out();
    if !found.has_same_shape {
        let (a, b) = (text::shape(a.shape()), text::shape(b.shape()));
        writeln!(out, "shape: {a} and {b}; elements are not compared")?;
    }
    if !found.has_same_type && !only_values {
        writeln!(out, "type: {} and {}", a.dtype(), b.dtype())?;
    }
    if !found.has_same_axis_names && !only_values {
        let line = format!("axes: {} and {}", axes(a), axes(b));
        writeln!(out, "{}", printable(&line))?;
    }
    for (key, a, b) in found.attributes.iter().filter(|_| !only_values) {
        let value = |value: &Option<Cbor>| match value {
            Some(value) => show::to_json(value).to_string(),
            None => "none".to_owned(),
        };
        let line = format!("attribute {}: {} and {}", key_text(key), value(a), value(b));
        writeln!(out, "{}", printable(&line))?;
    }
    match &found.elements {
        Some(Ok(differences)) => print_elements(&mut out, differences)?,
        Some(Err(reason)) => {
            writeln!(out, "elements: not compared, {}", printable(reason))?;
        }
        None => {}
    }
    let warning = a.reading().warning().or(b.reading().warning());
    if let Some(warning) = warning {
        writeln!(out, "read {warning}")?;
    }
    Ok(out.flush()?)
}

fn print_elements(out: &mut impl Write, found: &Differences) -> Result<(), Failure> {
    if found.different == 0 {
        return Ok(());
    }
    let share = found.different as f64 / found.elements as f64 * 100.0;
    writeln!(
        out,
        "elements: {} of {} differ ({share:.3} %)",
        found.different, found.elements
    )?;
    if found.fields.len() > 1 {
        for (name, count) in found.fields.iter().filter(|(_, count)| *count > 0) {
            writeln!(out, "  {}: {count}", printable(name))?;
        }
    }
    let worst = [
        ("first", &found.first),
        ("largest absolute", &found.worst_absolute),
        ("largest relative", &found.worst_relative),
    ];
    for (word, difference) in worst {
        let Some(Difference {
            index,
            field,
            texts: (a, b),
            absolute,
            relative,
        }) = difference
        else {
            continue;
        };
        let index = index.iter().map(usize::to_string).collect::<Vec<_>>();
        let field = match field.is_empty() || field.starts_with('[') {
            true => field.clone(),
            false => format!(".{field}"),
        };
        writeln!(
            out,
            "  {:18}[{}]{}: {a} and {b}, absolute {absolute}, relative {}",
            format!("{word}:"),
            index.join(", "),
            printable(&field),
            close::real(*relative)
        )?;
    }
    Ok(())
}

fn axes(side: &Side) -> String {
    let names = side.axis_names().iter();
    let names = names.map(|name| name.clone().unwrap_or_else(|| "_".into()));
    format!("({})", names.collect::<Vec<_>>().join(", "))
}

fn key_text(key: &Cbor) -> String {
    match key.as_text() {
        Some(text) => text.to_owned(),
        None => show::to_json(key).to_string(),
    }
}

/// All of it as JSON, with every part whether it differs or not.
pub(super) fn json(a: &Side, b: &Side, found: &Found, is_equal: bool) -> Value {
    let attributes = found.attributes.iter().map(|(key, a, b)| {
        let value = |value: &Option<Cbor>| value.as_ref().map(show::to_json);
        json!({ "key": key_text(key), "a": value(a), "b": value(b) })
    });
    let elements = match &found.elements {
        Some(Ok(differences)) => elements_json(differences),
        _ => Value::Null,
    };
    let side = |side: &Side| {
        json!({
            "dtype": side.dtype().to_string(),
            "shape": side.shape(),
            "axis_names": side.axis_names(),
            "read": side.reading().name(),
        })
    };
    json!({
        "equal": is_equal,
        "a": side(a),
        "b": side(b),
        "attributes": attributes.collect::<Vec<_>>(),
        "elements": elements,
        "not_compared": match &found.elements {
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(reason.as_str()),
            None => Some("the shapes differ"),
        },
    })
}

fn elements_json(found: &Differences) -> Value {
    let difference = |difference: &Option<Difference>| {
        let found = difference.as_ref()?;
        let absolute = match found.absolute {
            Distance::Exact(distance) => match u64::try_from(distance) {
                Ok(distance) => distance.into(),
                Err(_) => distance.to_string().into(),
            },
            Distance::Real(distance) => json!(distance),
        };
        Some(json!({
            "index": found.index, "field": found.field,
            "a": found.texts.0, "b": found.texts.1,
            "absolute": absolute, "relative": found.relative,
        }))
    };
    let fields = found.fields.iter().filter(|(_, count)| *count > 0);
    json!({
        "count": found.elements,
        "different": found.different,
        "fields": fields.map(|(name, count)| json!({ "name": name, "different": count }))
            .collect::<Vec<_>>(),
        "first": difference(&found.first),
        "largest_absolute": difference(&found.worst_absolute),
        "largest_relative": difference(&found.worst_relative),
    })
}
