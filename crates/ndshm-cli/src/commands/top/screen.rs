//! The screen of the live view and its keys. Every exit restores the terminal, a panic too.

use super::{
    Look, TICK,
    columns::Fitting,
    history::History,
    rows::{self, Line, List, Sort, Victim},
};
use crate::{
    Outcome,
    commands::rm,
    context::Context,
    display::text,
    failure::{Code, Failure, printable},
    signals,
    target::Target,
};
use ratatui::{
    Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    widgets::{Block, Clear, Paragraph, Row, Table, Wrap},
};
use signal_hook::consts::SIGHUP;
use std::{
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, Sender, TryRecvError},
    },
    time::Duration,
};

const HELP: &str =
    "Tab list  s sort  r reverse  / filter  d delete  arrows, PgUp, PgDn, Home, End  q quit";

/// The meaning of the next key.
enum Mode {
    Lists,
    /// A part of the filter.
    Filter,
    /// The answer to the question about deletion.
    Confirm(Victim, String),
}

pub(super) struct Screen<'a> {
    look: Look,
    history: History,
    /// Whether the next look needs the guards, and the channel that asks for it at once.
    wants_locks: &'a AtomicBool,
    ask: Sender<()>,
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

impl<'a> Screen<'a> {
    pub(super) fn new(look: Look, wants_locks: &'a AtomicBool, ask: Sender<()>) -> Self {
        let mut screen = Self {
            history: History::of(&look.survey),
            look,
            wants_locks,
            ask,
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
    pub(super) fn live(
        &mut self,
        terminal: &mut ratatui::DefaultTerminal,
        context: &Context,
        looks: &Receiver<Result<Look, Failure>>,
    ) -> Outcome {
        loop {
            if let Some(code) = signals::caught() {
                return Ok(code);
            }
            terminal.draw(|frame| self.draw(frame))?;
            // Keys that came together were read together: they are events already.
            let is_gone = match event::poll(Duration::ZERO)? {
                true => false,
                false => !signals::wait_for_input(TICK),
            };
            if is_gone {
                return Ok(ExitCode::from(128 + SIGHUP as u8));
            }
            if event::poll(Duration::ZERO)? {
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
            match looks.try_recv() {
                Ok(Ok(look)) => {
                    let took = look.at.duration_since(self.look.at);
                    self.history.advance(&self.look.survey, took, &look.survey);
                    self.look = look;
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
            &self.look.survey,
            &self.look.locks,
            &self.history,
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
                self.wants_locks.store(self.list == List::Guards, SeqCst);
                if self.list == List::Guards {
                    // The thread that looks has ended only if the view ends too.
                    let _ = self.ask.send(());
                }
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
        let fitting = Fitting::new(self.list.columns(), body.width);
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
                Row::new(fitting.of(&line.cells)).style(style)
            });
        let titles = self.list.columns().iter().map(|column| column.title.into());
        let titles = fitting.of(&titles.collect::<Vec<_>>());
        let header = Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
        let widths = fitting.constraints();
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
        let survey = &self.look.survey;
        let ((all, dead), used) = (survey.bytes(), survey.total - survey.available);
        let percent = (used * 100).checked_div(survey.total).unwrap_or(0);
        let arrays = survey.stores.iter().map(|store| store.arrays.len()).sum();
        let first = format!(
            "ndshm top  {}: {} of {} in use ({percent} %)",
            printable(&survey.root.to_string_lossy()),
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
    let room = frame.area();
    let width = (question.chars().count() as u16)
        .saturating_add(4)
        .min(room.width);
    // Words are not split, so some lines may be short.
    let inner = usize::from(width.saturating_sub(2)).max(1);
    let lines = question.chars().count().div_ceil(inner) as u16;
    let lines = if lines > 1 { lines + 1 } else { lines };
    let height = lines.saturating_add(2).min(room.height);
    let area = Rect {
        x: (room.width - width) / 2,
        y: (room.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered().style(Style::new().fg(Color::Yellow));
    let question = Paragraph::new(question).wrap(Wrap { trim: true });
    frame.render_widget(Clear, area);
    frame.render_widget(question.block(block), area);
}

/// Deletes after the user's yes: an array even if a process holds a guard on it, a store only if no
/// process uses it.
fn delete(context: &Context, victim: &Victim) -> Result<(), Failure> {
    match victim {
        Victim::Array(path) => rm::remove(&Target::find(context, &path.to_string_lossy())?),
        Victim::Store(path) => rm::remove_store(context, path, false),
    }
}
