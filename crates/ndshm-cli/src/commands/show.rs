//! `show`: one array: header, corners, statistics, a histogram and a heat map.

use crate::{
    Outcome,
    commands::{follow, watch},
    context::Context,
    display::draw,
    display::preview,
    display::screen::Screen,
    display::text,
    elements::reading::Reading,
    elements::scalar::{Whole, real},
    elements::tally::{self, Grid, Tally},
    failure::{Failure, printable},
    survey,
    target::Target,
};
use ciborium::Value as Cbor;
use ndshm::{AnyArray, ArrayInfo, ArrayKind, ArrayState, Order};
use serde_json::{Value, json};
use std::{io::Write, process::ExitCode, time::Instant};

const EXAMPLES: &str = "\
Examples:
  ndshm show 'run/frames[::4, :8]'
  ndshm show --watch run/frames";

/// Show an array: header, attributes, corners, minimum, maximum, mean, NaN, a histogram, and for
/// two axes a heat map
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The array, with an optional slice
    array: String,
    /// Take no lock: read a snapshot of elements that other processes may change meanwhile
    #[arg(long)]
    unlocked: bool,
    /// Only the header, the attributes and the corners: reads only a few elements
    #[arg(short, long)]
    quick: bool,
    /// The number of bins of the histogram
    #[arg(
        long,
        default_value_t = 10,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    bins: u16,
    /// Follow a ring: show each new frame until the stream ends; where standard output is no
    /// terminal, a line for each
    #[arg(short, long, conflicts_with = "unlocked")]
    follow: bool,
    /// Show the newest state again when the array changes, at most 20 times in a second, until it
    /// is frozen or released; where standard output is no terminal, a block for each
    #[arg(short, long, conflicts_with = "follow")]
    watch: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let target = Target::find(context, &args.array)?;
    if args.follow {
        return follow::run(context, &target);
    }
    if args.watch {
        let mut screen = Screen::new();
        return watch::run(&target, args.unlocked, |array, reading| {
            let shown = Shown::new(args, &target)?;
            if context.is_json {
                return context.print_json_line(&shown.to_json(array, reading)?);
            }
            let picture = |out: &mut _| shown.print(context, array, reading, out);
            Ok(screen.show(&context.painted(picture)?)?)
        });
    }
    // Before the array is opened here, which counts as a mapping.
    let shown = Shown::new(args, &target)?;
    let (array, reading) = target.look(args.unlocked)?;
    match context.is_json {
        true => context.print_json(&shown.to_json(&array, reading)?)?,
        false => shown.print(context, &array, reading, &mut context.out())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An array as it was before its elements are read.
struct Shown<'a> {
    args: &'a Args,
    target: &'a Target,
    info: ArrayInfo,
    state: ArrayState,
}

impl<'a> Shown<'a> {
    fn new(args: &'a Args, target: &'a Target) -> Result<Self, Failure> {
        let info = target.info()?;
        let state = target.observer()?.state(&info)?;
        Ok(Self {
            args,
            target,
            info,
            state,
        })
    }

    /// The description. The rows of an array that grows are those that were read: more may have
    /// come before.
    fn info(&self, array: &AnyArray) -> ArrayInfo {
        let mut info = self.info.clone();
        if info.kind == ArrayKind::Growing && !self.target.is_sliced() {
            info.shape = array.shape().to_vec();
            info.byte_len = array.len() * array.dtype().itemsize();
        }
        info
    }

    fn to_json(&self, array: &AnyArray, reading: Reading) -> Result<Value, Failure> {
        let found = Statistics::of(array, reading, self.args).map_err(Failure::or_look_unlocked)?;
        let mut value = json_of(&self.info(array), &self.state, array, &found)?;
        value["read"] = reading.name().into();
        Ok(value)
    }

    fn print(
        &self,
        context: &Context,
        array: &AnyArray,
        reading: Reading,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        header(out, &self.info(array), &self.state, array)?;
        if self.info.kind == ArrayKind::Ring {
            follow::describe(out, &self.target.observer()?.ring(&self.info)?)?;
        }
        if let Some(warning) = reading.warning() {
            writeln!(out, "read        {warning}")?;
        }
        // The elements may have to be waited for, and the statistics may take their time.
        out.flush()?;
        let preview = preview::of(array, reading).map_err(Failure::or_look_unlocked)?;
        writeln!(out, "\n{preview}")?;
        out.flush()?;
        let start = Instant::now();
        let found = Statistics::of(array, reading, self.args).map_err(Failure::or_look_unlocked)?;
        print_statistics(context, out, &found, reading, start)?;
        Ok(out.flush()?)
    }
}

/// The statistics of an array: of its numbers, or of each part of its elements.
#[derive(Default)]
struct Statistics {
    /// The array's numbers, if its elements are numbers or items of one type.
    whole: Option<(AnyArray, Tally)>,
    histogram: Vec<u64>,
    /// The parts of other elements, each with its numbers or the reason why it has none.
    parts: Vec<(String, Result<Tally, String>)>,
}

impl Statistics {
    fn of(array: &AnyArray, reading: Reading, args: &Args) -> Result<Self, Failure> {
        let mut found = Self::default();
        if args.quick {
            return Ok(found);
        }
        for (name, view) in tally::parts(array.view()?, "") {
            match view {
                Ok(view) if name.is_empty() => {
                    found.whole = Tally::of(&view, reading)?.map(|tally| (view, tally));
                }
                Ok(view) => {
                    let tally = Tally::of(&view, reading)?.ok_or_else(String::new);
                    found.parts.push((name, tally));
                }
                Err(reason) => found.parts.push((name, Err(reason))),
            }
        }
        if let Some((view, tally)) = &found.whole
            && tally.finite > 0
            && tally.max > tally.min
        {
            let range = tally.min..tally.max;
            found.histogram = tally::histogram(view, reading, range, usize::from(args.bins))?;
        }
        Ok(found)
    }
}

fn json_of(
    info: &ArrayInfo,
    state: &ArrayState,
    array: &AnyArray,
    found: &Statistics,
) -> Result<Value, Failure> {
    let mut value = survey::info_json(info);
    value["attributes"] = to_json(&info.attrs::<Cbor>()?);
    value["view"] = json!({
        "dtype": array.dtype().to_string(),
        "shape": array.shape(),
        "byte_strides": array.byte_strides(),
    });
    value["scope"] = state.scope.to_string().into();
    value["frozen"] = state.is_frozen.into();
    let poisoned = state.poisoned.iter();
    value["poisoned"] = poisoned
        .map(|range| json!([range.start, range.end]))
        .collect();
    value["statistics"] = found.whole.as_ref().map_or(Value::Null, |(_, tally)| {
        tally_json(tally, &found.histogram)
    });
    let fields = found.parts.iter().filter(|(name, _)| !name.is_empty());
    let fields = fields.map(|(name, tally)| {
        let value = tally
            .as_ref()
            .map_or(Value::Null, |tally| tally_json(tally, &[]));
        (name.clone(), value)
    });
    value["fields"] = Value::Object(fields.collect());
    Ok(value)
}

fn print_statistics(
    context: &Context,
    out: &mut impl Write,
    found: &Statistics,
    reading: Reading,
    start: Instant,
) -> Result<(), Failure> {
    if !found.parts.is_empty() {
        writeln!(out)?;
    }
    let names = found.parts.iter().map(|(name, _)| name.chars().count());
    let width = names.max().unwrap_or(0);
    for (name, tally) in &found.parts {
        if !name.is_empty() {
            write!(out, "{:width$}  ", printable(name))?;
        }
        match tally {
            Ok(tally) => print_numbers(out, tally)?,
            Err(reason) => writeln!(out, "no statistics: {}", printable(reason))?,
        }
    }
    let Some((array, tally)) = &found.whole else {
        return Ok(());
    };
    writeln!(out)?;
    print_numbers(out, tally)?;
    if !found.histogram.is_empty() {
        draw::histogram(out, tally.min..tally.max, &found.histogram)?;
    }
    if array.ndim() == 2 && tally.max > tally.min && !preview::is_whole(array.shape()) {
        let (columns, rows) = draw::room();
        let grid = Grid::of(array, reading, rows, columns)?;
        draw::heat_map(out, &grid, context.has_colors())?;
    }
    let (took, len) = (start.elapsed(), array.len() * array.dtype().itemsize());
    if took.as_secs() >= 1 {
        let bytes = text::bytes(len as u64);
        let words = format!("{bytes} read in {:.1} s", took.as_secs_f64());
        writeln!(out, "{}", text::styled(text::FAINT, words))?;
    }
    Ok(())
}

fn header(
    out: &mut impl Write,
    info: &ArrayInfo,
    state: &ArrayState,
    array: &AnyArray,
) -> Result<(), Failure> {
    let name = info.path.file_stem().unwrap_or_default().to_string_lossy();
    let order = match info.order {
        Order::F => ", F order",
        _ => "",
    };
    let describe = |dtype, shape| format!("{dtype} {}", text::shape(shape));
    let whole = describe(&info.dtype, &info.shape);
    writeln!(
        out,
        "{}  {whole}{order}, {}",
        text::styled(text::HEAD, printable(&name)),
        text::bytes(info.byte_len as u64)
    )?;
    let here = describe(array.dtype(), array.shape());
    let frame = info.shape.get(1..).unwrap_or_default();
    let is_frame = info.kind == ArrayKind::Ring && array.shape() == frame;
    if here != whole && !is_frame {
        writeln!(
            out,
            "view        {here}, byte strides {:?}",
            array.byte_strides()
        )?;
    }
    writeln!(
        out,
        "path        {}",
        printable(&info.path.to_string_lossy())
    )?;
    writeln!(out, "id          {}", info.id)?;
    writeln!(
        out,
        "made        {} ago by process {}, {}",
        text::age(info.created),
        info.pid,
        printable(&info.software)
    )?;
    print_state(out, state)?;
    if !info.axis_names.is_empty() {
        let names: Vec<_> = info
            .axis_names
            .iter()
            .map(|name| name.as_deref().unwrap_or("-"))
            .collect();
        writeln!(out, "axes        {}", printable(&names.join(", ")))?;
    }
    if let Value::Object(attrs) = to_json(&info.attrs::<Cbor>()?) {
        for (key, value) in attrs {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let (key, value) = (printable(&key), printable(&value));
            writeln!(out, "attribute   {key} = {value}")?;
        }
    }
    Ok(())
}

/// The lines of the header about scope, owner, guards and poison.
fn print_state(out: &mut impl Write, state: &ArrayState) -> Result<(), Failure> {
    let owner = match state.owner {
        Some(owner) if owner.is_alive => format!(", owned by member {}", owner.id),
        Some(owner) => text::styled(
            text::BAD,
            format!(
                ", its owner, member {}, is dead: ndshm sweep deletes it",
                owner.id
            ),
        ),
        None => String::new(),
    };
    let frozen = if state.is_frozen { ", frozen" } else { "" };
    writeln!(
        out,
        "scope       {}{owner}{frozen}, {}",
        state.scope,
        text::count(state.openers as usize, "mapping")
    )?;
    for guard in &state.guards {
        let (kind, range) = (survey::guard_kind(guard.kind), &guard.range);
        writeln!(
            out,
            "guard       {kind}, bytes {}..{}, member {}",
            range.start, range.end, guard.member
        )?;
    }
    for range in &state.poisoned {
        let words = format!(
            "bytes {}..{} may be half-written: ndshm recover",
            range.start, range.end
        );
        writeln!(out, "{}    {words}", text::styled(text::BAD, "poisoned"))?;
    }
    Ok(())
}

fn print_numbers(out: &mut impl Write, tally: &Tally) -> Result<(), Failure> {
    let (min, max) = match tally.exact {
        Some((least, greatest)) => (least.to_string(), greatest.to_string()),
        None => (real(tally.min), real(tally.max)),
    };
    match tally.mean() {
        Some(mean) => write!(out, "min {min}  max {max}  mean {}  ", real(mean))?,
        None => write!(out, "no finite element  ")?,
    }
    write!(out, "NaN {}", tally.nan)?;
    if tally.infinite > 0 {
        write!(out, "  infinite {}", tally.infinite)?;
    }
    if tally.unread > 0 {
        write!(
            out,
            "  {}",
            text::styled(
                text::BAD,
                format!("unread because of poison {}", tally.unread)
            )
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn tally_json(tally: &Tally, histogram: &[u64]) -> Value {
    let is_any = tally.finite > 0;
    let (min, max) = match tally.exact {
        Some((least, greatest)) => (integer_json(least), integer_json(greatest)),
        None => (
            is_any.then_some(tally.min).into(),
            is_any.then_some(tally.max).into(),
        ),
    };
    json!({
        "min": min, "max": max, "mean": tally.mean(),
        "finite": tally.finite,
        "nan": tally.nan,
        "infinite": tally.infinite,
        "unread": tally.unread,
        "histogram": histogram,
    })
}

/// A number; its digits as a text if it has more than 64 bits.
fn integer_json(integer: Whole) -> Value {
    match integer {
        Whole::Usual(integer) => {
            let small = i64::try_from(integer)
                .map(Value::from)
                .or_else(|_| u64::try_from(integer).map(Value::from));
            small.unwrap_or_else(|_| integer.to_string().into())
        }
        Whole::Large(integer) => integer.to_string().into(),
    }
}

/// Attributes as JSON: byte strings as hexadecimal digits, values without their tags.
pub(crate) fn to_json(value: &Cbor) -> Value {
    match value {
        Cbor::Integer(integer) => integer_json(Whole::Usual(i128::from(*integer))),
        Cbor::Float(float) => {
            serde_json::Number::from_f64(*float).map_or_else(|| real(*float).into(), Value::Number)
        }
        Cbor::Bool(bool) => Value::Bool(*bool),
        Cbor::Text(text) => text.clone().into(),
        Cbor::Bytes(bytes) => bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into(),
        Cbor::Array(values) => values.iter().map(to_json).collect(),
        Cbor::Map(entries) => {
            let key = |key: &Cbor| {
                key.as_text()
                    .map_or_else(|| to_json(key).to_string(), str::to_owned)
            };
            Value::Object(
                entries
                    .iter()
                    .map(|(name, value)| (key(name), to_json(value)))
                    .collect(),
            )
        }
        Cbor::Tag(_, value) => to_json(value),
        _ => Value::Null,
    }
}
