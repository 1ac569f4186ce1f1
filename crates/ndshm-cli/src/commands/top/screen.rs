//! `top`: a live view of stores, arrays and processes.
//!
//! A thread of its own surveys the stores, so that keys respond meanwhile. Every exit restores the
//! terminal, a panic too.

mod rows;

use crate::{
    Outcome,
    commands::rm,
    context::Context,
    display::text,
    failure::{Code, Failure},
    survey::Survey,
    target::Target,
};
use ratatui::{
    Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    widgets::{Block, Clear, Paragraph, Row, Table},
};
use rows::{Before, Line, List, Sort, Victim};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::{
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{self, Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

/// Watch stores, arrays and processes: sizes, growth, guards that processes hold or wait for
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The time between two surveys
    #[arg(
        short = 'd',
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = crate::seconds
    )]
    interval: Duration,
}

/// Longest wait for a key before the screen is drawn again.
const TICK: Duration = Duration::from_millis(100);
const HELP: &str =
    "Tab list  s sort  r reverse  / filter  d delete  arrows, PgUp, PgDn, Home, End  q quit";

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "top needs a terminal; ndshm ls --json is for scripts",
        ));
    }
    let chosen = context.store()?;
    let look = || -> Result<Survey, Failure> {
        let stores = match &chosen {
            Some(store) => vec![store.clone()],
            None => context.stores()?,
        };
        let root = context.root().unwrap_or_else(|_| PathBuf::from("/dev/shm"));
        Survey::look(&root, &stores)
    };
    // An error of the first survey comes before the terminal changes.
    let first = look()?;
    std::thread::scope(|scope| {
        let (sender, surveys) = mpsc::sync_channel(1);
        let (stop, stopped) = mpsc::channel::<()>();
        let interval = args.interval.max(TICK);
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                let start = Instant::now();
                if sender.send(look().map(|survey| (survey, start))).is_err() {
                    return;
                }
            }
        });
        let signals = Signals::take()?;
        let mut terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let result = Screen::new(first).live(&mut terminal, context, &surveys, &signals);
        ratatui::restore();
        drop(surveys);
        drop(stop);
        result
    })
}

/// The signals that end the view, after it has restored the terminal.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn take() -> Result<Self, Failure> {
        let caught = Arc::new(AtomicUsize::new(0));
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            signal_hook::flag::register_usize(signal, caught.clone(), signal as usize)?;
        }
        Ok(Self(caught))
    }

    /// The exit code for the signal that came, as a shell gives it: 128 plus its number.
    fn caught(&self) -> Option<ExitCode> {
        let signal = self.0.load(SeqCst) as u8;
        (signal != 0).then(|| ExitCode::from(128 + signal))
    }
}

/// The meaning of the next key.
enum Mode {
    Lists,
    /// A part of the filter.
    Filter,
    /// The answer to the question about deletion.
    Confirm(Victim, String),
}

struct Screen {
    survey: Survey,
    looked_at: Instant,
    before: Before,
    list: List,
    sort: Sort,
    is_reversed: bool,
    filter: String,
    mode: Mode,
    lines: Vec<Line>,
    selected: usize,
    top: usize,
    /// Lines that fit on the screen.
    height: usize,
    message: String,
}

impl Screen {
    fn new(survey: Survey) -> Self {
        let mut screen = Self {
            survey,
            looked_at: Instant::now(),
            before: Before::default(),
            list: List::Arrays,
            sort: Sort::Size,
            is_reversed: false,
            filter: String::new(),
            mode: Mode::Lists,
            lines: Vec::new(),
            selected: 0,
            top: 0,
            height: 20,
            message: String::new(),
        };
        screen.rebuild();
        screen
    }

    /// Runs until the user quits or a signal comes.
    fn live(
        &mut self,
        terminal: &mut ratatui::DefaultTerminal,
        context: &Context,
        surveys: &Receiver<Result<(Survey, Instant), Failure>>,
        signals: &Signals,
    ) -> Outcome {
        loop {
            if let Some(code) = signals.caught() {
                return Ok(code);
            }
            terminal.draw(|frame| self.draw(frame))?;
            if event::poll(TICK)? {
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => {
                        let is_interrupt = key.code == KeyCode::Char('c')
                            && key.modifiers.contains(KeyModifiers::CONTROL);
                        if is_interrupt || self.key(key.code, context) {
                            return Ok(ExitCode::SUCCESS);
                        }
                    }
                    _ => {}
                }
            }
            match surveys.try_recv() {
                Ok(Ok((survey, at))) => {
                    self.before = Before::of(&self.survey, at.duration_since(self.looked_at));
                    (self.survey, self.looked_at) = (survey, at);
                    self.rebuild();
                }
                Ok(Err(failure)) => self.message = failure.to_string(),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::new(
                        Code::Failed,
                        "the thread that surveys the stores has ended: this is a defect of ndshm",
                    ));
                }
            }
        }
    }

    /// Makes the lines anew; the selection stays on its line.
    fn rebuild(&mut self) {
        let key = self.lines.get(self.selected).map(|line| line.key.clone());
        self.lines = rows::lines(
            &self.survey,
            &self.before,
            self.list,
            self.sort,
            self.is_reversed,
            &self.filter,
        );
        let same = key.and_then(|key| self.lines.iter().position(|line| line.key == key));
        self.select(same.unwrap_or(self.selected));
    }

    fn select(&mut self, line: usize) {
        self.selected = line.min(self.lines.len().saturating_sub(1));
    }

    /// Handles a key; `true` ends the program.
    fn key(&mut self, key: KeyCode, context: &Context) -> bool {
        match &self.mode {
            Mode::Filter => {
                match key {
                    KeyCode::Enter => self.mode = Mode::Lists,
                    KeyCode::Esc => {
                        self.filter.clear();
                        self.mode = Mode::Lists;
                    }
                    KeyCode::Backspace => drop(self.filter.pop()),
                    KeyCode::Char(c) => self.filter.push(c),
                    _ => {}
                }
                self.rebuild();
                return false;
            }
            Mode::Confirm(victim, name) => {
                self.message = match key {
                    KeyCode::Char('y') => delete(context, victim).map_or_else(
                        |failure| failure.to_string(),
                        |()| format!("deleted {name}"),
                    ),
                    _ => "not deleted".into(),
                };
                self.mode = Mode::Lists;
                return false;
            }
            Mode::Lists => {}
        }
        self.message.clear();
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Tab => {
                self.list = self.list.next();
                (self.selected, self.top) = (0, 0);
                self.lines.clear();
            }
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('d') => self.ask(),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected + 1),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::PageDown => self.select(self.selected + self.height),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(self.height)),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            _ => {}
        }
        self.rebuild();
        false
    }

    fn ask(&mut self) {
        match self
            .lines
            .get(self.selected)
            .and_then(|line| Some((line.victim.clone()?, line.cells[0].clone())))
        {
            Some((victim, name)) => self.mode = Mode::Confirm(victim, name),
            None => self.message = "only arrays and stores can be deleted".into(),
        }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_head(frame, head);
        self.height = usize::from(body.height.saturating_sub(1)).max(1);
        self.top = self
            .top
            .min(self.selected)
            .max((self.selected + 1).saturating_sub(self.height));
        // There may be twenty thousand lines; only the visible ones are made.
        let seen = self
            .lines
            .iter()
            .enumerate()
            .skip(self.top)
            .take(self.height)
            .map(|(index, line)| {
                let style = if line.is_bad {
                    Style::new().fg(Color::Red)
                } else {
                    Style::new()
                };
                let style = if index == self.selected {
                    style.add_modifier(Modifier::REVERSED)
                } else {
                    style
                };
                Row::new(line.cells.clone()).style(style)
            });
        let widths = self.list.widths().iter().enumerate();
        let widths = widths.map(|(at, &width)| {
            if at + 1 == self.list.widths().len() {
                Constraint::Min(width)
            } else {
                Constraint::Length(width)
            }
        });
        let header =
            Row::new(self.list.header().to_vec()).style(Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(Table::new(seen, widths).header(header), body);
        let foot_text = match &self.mode {
            Mode::Filter => format!("filter: {}_  (Enter keeps it, Esc drops it)", self.filter),
            _ if !self.message.is_empty() => self.message.clone(),
            _ => HELP.into(),
        };
        frame.render_widget(
            Paragraph::new(foot_text).style(Style::new().add_modifier(Modifier::DIM)),
            foot,
        );
        if let Mode::Confirm(victim, name) = &self.mode {
            draw_question(frame, victim, name);
        }
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let survey = &self.survey;
        let ((all, dead), used) = (survey.bytes(), survey.total - survey.available);
        let percent = (used * 100).checked_div(survey.total).unwrap_or(0);
        let arrays = survey.stores.iter().map(|store| store.arrays.len()).sum();
        let first = format!(
            "ndshm top  {}: {} of {} in use ({percent} %)",
            survey.root.display(),
            text::bytes(used),
            text::bytes(survey.total),
        );
        let released: u64 = survey.unlinked.iter().map(|file| file.bytes).sum();
        let second = format!(
            "{}, {}, {}; dead {}; released, still mapped {}",
            text::count(survey.stores.len(), "store"),
            text::count(arrays, "array"),
            text::bytes(all),
            text::bytes(dead),
            text::bytes(released),
        );
        let filter = if self.filter.is_empty() {
            String::new()
        } else {
            format!(", filter {:?}", self.filter)
        };
        let order = if self.is_reversed { " reversed" } else { "" };
        let third = format!(
            "[{}] {} of them, by {}{order}{filter}",
            self.list.title(),
            self.lines.len(),
            self.sort.title()
        );
        let style = if dead > 0 {
            Style::new().fg(Color::Red)
        } else {
            Style::new()
        };
        let rows = Layout::vertical([Constraint::Length(1); 3]).split(area);
        frame.render_widget(
            Paragraph::new(first).style(Style::new().add_modifier(Modifier::BOLD)),
            rows[0],
        );
        frame.render_widget(Paragraph::new(second).style(style), rows[1]);
        frame.render_widget(Paragraph::new(third), rows[2]);
    }
}

fn draw_question(frame: &mut Frame<'_>, victim: &Victim, name: &str) {
    let what = match victim {
        Victim::Store(_) => "the store",
        Victim::Array(_) => "the array",
    };
    let question = format!("Delete {what} {name}? y deletes, any other key does not");
    let width = (question.chars().count() as u16 + 4).min(frame.area().width);
    let area = Rect {
        x: (frame.area().width - width) / 2,
        y: frame.area().height / 2 - 1,
        width,
        height: 3.min(frame.area().height),
    };
    let block = Block::bordered().style(Style::new().fg(Color::Yellow));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(question).block(block), area);
}

/// Deletes after the user's yes: an array even if a process holds a guard on it, a store only if no
/// process uses it.
fn delete(context: &Context, victim: &Victim) -> Result<(), Failure> {
    match victim {
        Victim::Array(path) => rm::remove(&Target::find(context, &path.to_string_lossy())?),
        Victim::Store(path) => rm::remove_store(context, path, false),
    }
}
