//! `plot`: an array as a picture in a PNG or SVG file: a line for one axis, a heat map for two.

use crate::{
    Outcome,
    commands::{follow, watch},
    context::Context,
    display::draw,
    display::glyphs,
    display::screen::pause,
    elements::reading::Reading,
    elements::scalar,
    elements::tally::Grid,
    failure::{Code, Failure, words_of},
    signals,
    target::Target,
};
use ndshm::AnyArray;
use plotters::{coord::Shift, drawing::DrawingArea, prelude::*};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

const EXAMPLES: &str = "\
Examples:
  ndshm plot run/frames -o frames.png
  ndshm plot --watch 'run/log[-1000:, 0]' -o log.svg";

/// Draw an array into a PNG or SVG file: a line for one axis, a heat map for two
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The array, with an optional slice that leaves one or two axes
    array: String,
    /// Take no lock: read a snapshot of elements that other processes may change meanwhile
    #[arg(long)]
    unlocked: bool,
    /// The file; its suffix decides the format
    #[arg(short, long, value_name = "FILE.png|FILE.svg")]
    output: PathBuf,
    /// Width and height in pixels
    #[arg(long, value_name = "WxH", default_value = "900x600", value_parser = size)]
    size: (u32, u32),
    /// Draw the newest state again when the array changes, at most 20 times in a second, until it
    /// is frozen or released; the file is always a whole picture
    #[arg(short, long)]
    watch: bool,
    /// Follow a ring: draw each new frame, at most 20 in a second, until the stream ends
    #[arg(short, long, conflicts_with_all = ["watch", "unlocked"])]
    follow: bool,
}

/// Margins in pixels, for the numbers at the axes.
const LEFT: i32 = 100;
const BOTTOM: i32 = 34;
const TOP: i32 = 28;
/// With the colour scale.
const RIGHT: i32 = 110;
/// Most cells along an axis of a heat map in SVG: viewers are slow with more.
const MOST_SVG: usize = 160;

fn size(text: &str) -> Result<(u32, u32), String> {
    let parse = |side: &str| {
        side.parse()
            .ok()
            .filter(|side| (200..=10_000).contains(side))
    };
    let sides = text
        .split_once('x')
        .and_then(|(width, height)| Some((parse(width)?, parse(height)?)));
    sides.ok_or_else(|| "write WIDTHxHEIGHT, from 200 to 10000 pixels each".into())
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let is_svg = match args
        .output
        .extension()
        .and_then(|suffix| suffix.to_str())
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("svg") => true,
        Some("png") => false,
        _ => {
            return Err(Failure::usage(format!(
                "{}: the file must end in .png or .svg",
                args.output.display()
            )));
        }
    };
    let target = Target::find(context, &args.array)?;
    // A later state may have a number to draw.
    let draw_if_any = |array: &AnyArray, reading| draw(args, is_svg, array, reading).map(drop);
    if args.watch {
        return watch::run(&target, args.unlocked, draw_if_any);
    }
    if args.follow {
        return follow_frames(&target, draw_if_any);
    }
    let (array, reading) = target.look(args.unlocked)?;
    match draw(args, is_svg, &array, reading)? {
        true => Ok(ExitCode::SUCCESS),
        false => Err(Failure::new(
            Code::Failed,
            format!("{}: it has no finite number to draw", args.array),
        )),
    }
}

/// Draws each frame of a ring.
fn follow_frames(
    target: &Target,
    mut draw: impl FnMut(&AnyArray, Reading) -> Result<(), Failure>,
) -> Outcome {
    let Some(ring) = target.ring()? else {
        return Err(Failure::usage(
            "only a ring has frames to follow: plot --watch draws an array again when it changes",
        ));
    };
    signals::catch()?;
    follow::each_frame(&mut ring.subscribe()?, |frame, _| {
        let began = Instant::now();
        let array = target.frame(&frame)?;
        drop(frame);
        draw(&array, Reading::Locked)?;
        pause(began);
        Ok(())
    })
}

/// Draws an array into the file. Returns false, and leaves the file as it is, if there is no finite
/// number to draw.
fn draw(args: &Args, is_svg: bool, array: &AnyArray, reading: Reading) -> Result<bool, Failure> {
    let (width, height) = (
        args.size.0 as i32 - LEFT - RIGHT,
        args.size.1 as i32 - TOP - BOTTOM,
    );
    let most = |side: i32| {
        if is_svg {
            (side as usize).min(MOST_SVG)
        } else {
            side as usize
        }
    };
    let is_line = array.ndim() == 1;
    let grid = Grid::of(
        array,
        reading,
        most(height),
        if is_line { width as usize } else { most(width) },
    )
    .map_err(Failure::or_look_unlocked)?;
    if grid.range().is_none() {
        return Ok(false);
    }
    let failed =
        |reason: String| Failure::new(Code::Failed, format!("{}: {reason}", args.output.display()));
    let picture = Picture {
        grid: &grid,
        shape: array.shape(),
        title: &match reading {
            Reading::Unlocked | Reading::Copied => format!("{} (unlocked)", args.array),
            _ => args.array.clone(),
        },
        size: args.size,
        is_svg,
    };
    let bytes = if is_svg { picture.svg() } else { picture.png() };
    write_file(&args.output, &bytes.map_err(failed)?).map_err(|error| failed(words_of(&error)))?;
    Ok(true)
}

/// Writes a file that appears complete or not at all, in place of one that exists. A link is
/// followed, and a pipe or device gets the bytes directly: a rename would replace these.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            return File::options()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(bytes));
        }
        Ok(_) => fs::canonicalize(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => path.with_file_name("").join(target),
            Err(_) => path.to_path_buf(),
        },
        Err(error) => return Err(error),
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".ndshm-plot-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

struct Picture<'a> {
    grid: &'a Grid,
    shape: &'a [usize],
    title: &'a str,
    size: (u32, u32),
    is_svg: bool,
}

type Drawn = Result<(), String>;

impl Picture<'_> {
    fn svg(&self) -> Result<Vec<u8>, String> {
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, self.size).into_drawing_area())?;
        Ok(text.into_bytes())
    }

    fn png(&self) -> Result<Vec<u8>, String> {
        let (width, height) = self.size;
        let mut pixels = vec![0; width as usize * height as usize * 3];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, self.size).into_drawing_area())?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(text_of)?;
        writer.write_image_data(&pixels).map_err(text_of)?;
        writer.finish().map_err(text_of)?;
        Ok(bytes)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        area.fill(&WHITE).map_err(text_of)?;
        match self.shape.len() {
            1 => self.line(area)?,
            _ => self.heat_map(area)?,
        }
        let (right, bottom) = self.corner();
        area.draw(&Rectangle::new([(LEFT, TOP), (right, bottom)], BLACK))
            .map_err(text_of)?;
        self.text(area, self.title, (LEFT, 8))?;
        area.present().map_err(text_of)
    }

    /// The lower right corner of the frame.
    fn corner(&self) -> (i32, i32) {
        (self.size.0 as i32 - RIGHT, self.size.1 as i32 - BOTTOM)
    }

    /// The means of the columns as a line, and behind it a bar from each column's minimum to its
    /// maximum.
    fn line<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        let (right, bottom) = self.corner();
        let filled = || self.grid.cells.iter().filter(|cell| cell.count > 0);
        let (low, high) = (
            filled().map(|cell| cell.min).fold(f64::INFINITY, f64::min),
            filled()
                .map(|cell| cell.max)
                .fold(f64::NEG_INFINITY, f64::max),
        );
        let last = (self.grid.columns - 1).max(1);
        let x =
            |column: usize| LEFT + (column as f64 / last as f64 * f64::from(right - LEFT)) as i32;
        let y = |value: f64| bottom - (share(value, low, high) * f64::from(bottom - TOP)) as i32;
        let mut run = Vec::new();
        for (column, cell) in self.grid.cells.iter().enumerate() {
            let Some(mean) = cell.mean() else {
                self.path(area, &mut run)?;
                continue;
            };
            if cell.max > cell.min {
                area.draw(&PathElement::new(
                    vec![(x(column), y(cell.min)), (x(column), y(cell.max))],
                    RGBColor(190, 210, 235),
                ))
                .map_err(text_of)?;
            }
            run.push((x(column), y(mean)));
        }
        self.path(area, &mut run)?;
        self.ticks(area, (low, high))
    }

    /// Draws a line without gaps, and empties `run` for the next one.
    fn path<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        run: &mut Vec<(i32, i32)>,
    ) -> Drawn {
        let run = std::mem::take(run);
        match run[..] {
            [] => Ok(()),
            [point] => area
                .draw(&Rectangle::new(
                    [point, (point.0 + 1, point.1 + 1)],
                    BLUE.filled(),
                ))
                .map_err(text_of),
            _ => area
                .draw(&PathElement::new(run, RGBColor(30, 80, 160)))
                .map_err(text_of),
        }
    }

    fn heat_map<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        let (right, bottom) = self.corner();
        let (low, high) = self.grid.range().unwrap_or_default();
        let x =
            |column: usize| LEFT + (column * (right - LEFT) as usize / self.grid.columns) as i32;
        let y = |row: usize| TOP + (row * (bottom - TOP) as usize / self.grid.rows) as i32;
        // A cell reaches into the next ones: else an enlarged SVG has seams between them.
        let overlap = i32::from(self.is_svg);
        for row in 0..self.grid.rows {
            for column in 0..self.grid.columns {
                if let Some(mean) = self.grid.cells[row * self.grid.columns + column].mean() {
                    let color = color(share(mean, low, high));
                    let end = (
                        (x(column + 1) + overlap).min(right),
                        (y(row + 1) + overlap).min(bottom),
                    );
                    area.draw(&Rectangle::new([(x(column), y(row)), end], color.filled()))
                        .map_err(text_of)?;
                }
            }
        }
        // The colour scale at the right.
        let steps = 64;
        let at = |step: i32| bottom - (bottom - TOP) * step / steps;
        for step in 0..steps {
            let color = color((f64::from(step) + 0.5) / f64::from(steps));
            area.draw(&Rectangle::new(
                [
                    (right + 16, (at(step + 1) - overlap).max(TOP)),
                    (right + 32, at(step)),
                ],
                color.filled(),
            ))
            .map_err(text_of)?;
        }
        self.text(area, &scalar::on_scale(high, high - low), (right + 38, TOP))?;
        self.text(
            area,
            &scalar::on_scale((low + high) / 2.0, high - low),
            (right + 38, (TOP + bottom) / 2 - 5),
        )?;
        self.text(
            area,
            &scalar::on_scale(low, high - low),
            (right + 38, bottom - 10),
        )?;
        // Rows count downwards, as in the preview.
        self.ticks(area, (self.shape[0].saturating_sub(1) as f64, 0.0))
    }

    /// Numbers along the axes: indices below, and these values from the bottom to the top.
    fn ticks<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        (lowest, highest): (f64, f64),
    ) -> Drawn {
        let (right, bottom) = self.corner();
        let last = self
            .shape
            .last()
            .map_or(0, |length| length.saturating_sub(1));
        for tick in 0..=4 {
            let part = f64::from(tick) / 4.0;
            let x = LEFT + (part * f64::from(right - LEFT)) as i32;
            let y = bottom - (part * f64::from(bottom - TOP)) as i32;
            area.draw(&PathElement::new(vec![(x, bottom), (x, bottom + 4)], BLACK))
                .map_err(text_of)?;
            area.draw(&PathElement::new(vec![(LEFT - 4, y), (LEFT, y)], BLACK))
                .map_err(text_of)?;
            let index = ((part * last as f64).round() as usize).to_string();
            self.text(area, &index, (x - glyphs::width(&index) / 2, bottom + 10))?;
            let value = lowest + (highest - lowest) * part;
            let value = if self.shape.len() == 1 {
                scalar::on_scale(value, highest - lowest)
            } else {
                value.round().to_string()
            };
            self.text(area, &value, (LEFT - 8 - glyphs::width(&value), y - 5))?;
        }
        Ok(())
    }

    /// Text with its upper left corner at `(x, y)`: as text in SVG, as dots in PNG, so that no font
    /// is needed.
    fn text<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        text: &str,
        (x, y): (i32, i32),
    ) -> Drawn {
        if self.is_svg {
            return area
                .draw(&Text::new(
                    text.to_owned(),
                    (x, y),
                    ("monospace", 13).into_font(),
                ))
                .map_err(text_of);
        }
        for (dx, dy) in glyphs::dots(text) {
            area.draw(&Rectangle::new(
                [
                    (x + dx, y + dy),
                    (x + dx + glyphs::DOT, y + dy + glyphs::DOT),
                ],
                BLACK.filled(),
            ))
            .map_err(text_of)?;
        }
        Ok(())
    }
}

fn share(value: f64, low: f64, high: f64) -> f64 {
    if high > low {
        (value - low) / (high - low)
    } else {
        0.5
    }
}

fn color(share: f64) -> RGBColor {
    let (r, g, b) = draw::rgb(share);
    RGBColor(r, g, b)
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}
