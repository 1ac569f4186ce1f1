//! One crash after the other: the steps around each, how long it blocks another process, and the
//! table of all.

use crate::{
    checks,
    scenarios::{self, Crash, Mode, Outcome, Scenario},
    setup::{RECOVERED, Setup, end_of, ended, rows, soon},
    workers::Workers,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Child,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

/// A crash and all that is looked at after it never takes so long that is not stuck.
const HANG: Duration = Duration::from_secs(60);
/// How long an operation that has to wait for a victim that stands is given to begin.
const HEAD_START: Duration = Duration::from_millis(3);
/// And one that need not wait, to end: some have to all the same, for the lock on the names.
const LONG_START: Duration = Duration::from_millis(100);
const WRITE: u64 = 2;
const WRITE_WAIT: u64 = 3;

pub(crate) struct Run {
    directory: PathBuf,
    workers: Workers,
    rows: Vec<Row>,
    began: Instant,
    load: f64,
    /// Takes the title of the current crash; the watchdog listens.
    watchdog: mpsc::Sender<String>,
}

/// The result of one crash.
struct Row {
    point: &'static str,
    nth: u64,
    scenario: &'static str,
    mode: Mode,
    outcome: Outcome,
    /// From the moment when the kernel released the dead process's locks until another process got
    /// its result.
    blocked: Duration,
}

impl Run {
    pub(crate) fn new(directory: &Path) -> Self {
        let (watchdog, played) = mpsc::channel();
        std::thread::spawn(move || {
            let mut current = String::new();
            loop {
                match played.recv_timeout(HANG) {
                    Ok(next) => current = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        // Not by a macro, whose output the test harness would keep until the test
                        // ends.
                        let _ = writeln!(std::io::stderr(), "stuck: {current}");
                        // The children end when their input does.
                        std::process::exit(72);
                    }
                }
            }
        });
        Self {
            directory: directory.into(),
            workers: Workers::start(),
            rows: Vec::new(),
            began: Instant::now(),
            load: 0.0,
            watchdog,
        }
    }

    /// Has one process die, and checks everything else.
    pub(crate) fn run(&mut self, scenario: &Scenario, crash: &Crash, mode: Mode) {
        let expected = if mode == Mode::GoesOn {
            scenario.outcome_if_it_goes_on(crash)
        } else {
            Some(crash.2)
        };
        let Some(expected) = expected else { return };
        let outcome = self.run_any(scenario, crash, mode, false);
        assert_eq!(
            outcome, expected,
            "{} {mode:?} at {} {}",
            scenario.name, crash.0, crash.1
        );
    }

    /// Has processes die at each hit, up to `most`, of each point that the scenario comes to: the
    /// outcome for the others may be any that fits the files that are left.
    pub(crate) fn run_all(&mut self, scenario: &Scenario, most: u64) {
        let setup = Setup::new(&self.directory, scenario);
        let printed = ended(
            setup.start(scenario.name, &Crash("", 0, Outcome::Free), Mode::Dies, ""),
            false,
        );
        drop(setup);
        for line in printed
            .lines()
            .filter_map(|line| line.strip_prefix("reached "))
        {
            let (name, hits) = line.split_once(' ').unwrap();
            let point = ndshm::failpoint::NAMES
                .iter()
                .find(|known| **known == name)
                .unwrap();
            for nth in 1..=hits.parse::<u64>().unwrap().min(most) {
                self.run_any(
                    scenario,
                    &Crash(point, nth, Outcome::Free),
                    Mode::Dies,
                    true,
                );
            }
        }
    }

    fn run_any(
        &mut self,
        scenario: &Scenario,
        crash: &Crash,
        mode: Mode,
        may_survive: bool,
    ) -> Outcome {
        let &Crash(point, nth, _) = crash;
        let title = format!("{} {mode:?} at {point} {nth}", scenario.name);
        self.watchdog.send(title.clone()).unwrap();
        let setup = Setup::new(&self.directory, scenario);
        if !scenario.is_quiet {
            self.workers
                .work(&setup.manager, &setup.work, setup.is_closed);
        }
        let member = setup.next_member();
        let (outcome, blocked) = self.kill(&setup, scenario, crash, mode, member, may_survive);
        self.workers.require_progress(&title);
        let counts = self.workers.stop();
        checks::verify(setup, scenario, outcome, &counts, &title);
        self.load = self.load.max(load());
        self.rows.push(Row {
            point,
            nth,
            scenario: scenario.name,
            mode,
            outcome,
            blocked,
        });
        outcome
    }

    /// The outcome for the others, and how long they waited for it after the crash.
    fn kill(
        &mut self,
        setup: &Setup,
        scenario: &Scenario,
        crash: &Crash,
        mode: Mode,
        member: u64,
        may_survive: bool,
    ) -> (Outcome, Duration) {
        let title = scenario.name;
        let mut waited_for = match title {
            "wait" | "convert" => Some(setup.view().read().unwrap()),
            "recover after a wait" => Some(
                rows(&setup.work, RECOVERED.end - 1..RECOVERED.end)
                    .read()
                    .unwrap(),
            ),
            _ => None,
        };
        std::thread::scope(|scope| {
            let probe =
                || scope.spawn(move || (checks::probe(setup, title, member), Instant::now()));
            let mut probing = None;
            if title == "join after a boot" {
                setup.forget_the_boot();
            }
            let mut victim = setup.start(title, crash, mode, "stands");
            let has = |slot| setup.slots().contains(&(slot, member));
            let (mut closer, mut opener) = (None, None);
            if scenario.has_opener {
                soon("the victim has an array", || setup.marker("old").exists());
                let point = match title {
                    "hand over to an heir" => "HeirNamed",
                    _ => "OpenMapped",
                };
                opener = Some(setup.start(
                    "open the old one",
                    &Crash(point, 1, Outcome::Free),
                    Mode::Stands,
                    "opener",
                ));
            }
            match title {
                "convert" | "recover after a wait" => {
                    soon("the victim says that it waits", || has(WRITE_WAIT));
                    waited_for = None;
                }
                "wake" => {
                    soon("the victim has its guard", || has(WRITE));
                    probing = Some(probe());
                }
                "freeze for a waiter" => probing = Some(probe()),
                "create while closing" => {
                    soon("the victim is about to publish", || {
                        setup.marker("publishes").exists()
                    });
                    closer = Some(setup.start(
                        "close",
                        &Crash("CloseMarked", 1, Outcome::Closed),
                        Mode::Stands,
                        "closes",
                    ));
                    soon("the store is marked", || setup.marker("closes").exists());
                    fs::remove_file(setup.marker("publishes")).unwrap();
                }
                "close another's place" => {
                    soon("the victim is about to rename the store away", || {
                        setup.marker("closes").exists()
                    });
                    checks::put_another_store_there(setup);
                    fs::remove_file(setup.marker("closes")).unwrap();
                }
                _ => {}
            }
            let is_early = matches!(title, "wake" | "freeze for a waiter");
            // Others that wait for the test's guard would be waited for by it.
            let is_alone = waited_for.is_some() || is_early;
            let mut killed = None;
            let freed = match mode {
                Mode::Stands | Mode::GoesOn => {
                    stands(&mut victim, &setup.marker("stands"));
                    setup.require_poison(title);
                    self.approach(setup, scenario, is_alone);
                    probing = probing.or_else(|| Some(probe()));
                    std::thread::sleep(HEAD_START);
                    killed = Some(Instant::now());
                    if mode == Mode::GoesOn {
                        // Where the others need not wait for the victim, they come before it.
                        let is_done = || {
                            probing
                                .as_ref()
                                .is_some_and(|probing| probing.is_finished())
                        };
                        let began = Instant::now();
                        while !scenarios::HOLDING.contains(&crash.0)
                            && !is_done()
                            && began.elapsed() < LONG_START
                        {
                            std::thread::sleep(HEAD_START / 10);
                        }
                        fs::remove_file(setup.marker("stands")).unwrap();
                        ended(victim, false);
                        Instant::now()
                    } else {
                        victim.kill().unwrap();
                        let freed = setup.released(member);
                        ended(victim, true);
                        freed
                    }
                }
                Mode::Dies => {
                    // A point may be reached once more in one run than in another.
                    let (was_killed, printed) = end_of(victim);
                    assert!(
                        was_killed == (title != "fork") || may_survive,
                        "{title}: {printed}"
                    );
                    let freed = Instant::now();
                    setup.require_poison(title);
                    self.approach(setup, scenario, is_alone);
                    probing = probing.or_else(|| Some(probe()));
                    freed
                }
            };
            let (outcome, when) = probing.map(|probing| probing.join().unwrap()).unwrap();
            if scenarios::HOLDING.contains(&crash.0) && !is_early {
                assert!(
                    killed.is_none_or(|killed| when > killed),
                    "{title}: what was held at {} was given to another one",
                    crash.0
                );
            }
            drop(waited_for);
            if is_alone {
                self.workers.overlap();
            }
            if let Some(opener) = opener {
                let printed = ended(opener, false);
                let is_told = printed.lines().any(|line| line == "released");
                assert!(
                    is_told != (title == "hand over to an heir") || crash.0 == "ReleaseOwnerTaken",
                    "{title} at {}: the opener got the array: {printed}",
                    crash.0
                );
            }
            if let Some(closer) = closer {
                fs::remove_file(setup.marker("closes")).unwrap();
                ended(closer, false);
            }
            (
                outcome.unwrap_or_else(|| checks::told_by_sweep(setup)),
                when.saturating_duration_since(freed),
            )
        })
    }

    /// The others reach the rows that the victim holds, or held.
    fn approach(&mut self, setup: &Setup, scenario: &Scenario, is_alone: bool) {
        if scenario.is_quiet {
            self.workers
                .work(&setup.manager, &setup.work, setup.is_closed);
        }
        if !is_alone {
            self.workers.overlap();
        }
    }

    pub(crate) fn was_reached(&self, point: &str) -> bool {
        self.rows.iter().any(|row| row.point == point)
    }

    pub(crate) fn report(&self) {
        println!(
            "{:<22} {:<26} {:>9}  {:>9} {:>9} {:>9}",
            "point", "scenario", "others", "dies", "stands", "goes on"
        );
        let mut table: BTreeMap<(usize, usize), (String, [String; 3])> = BTreeMap::new();
        let place = |name: &str| {
            ndshm::failpoint::NAMES
                .iter()
                .position(|known| *known == name)
                .unwrap()
        };
        for row in &self.rows {
            let first = self
                .rows
                .iter()
                .position(|other| {
                    (other.point, other.nth, other.scenario) == (row.point, row.nth, row.scenario)
                })
                .unwrap();
            let (line, cells) = table.entry((place(row.point), first)).or_default();
            let time = milliseconds(row.blocked);
            if row.mode != Mode::GoesOn {
                let point = if row.nth == 1 {
                    row.point.to_owned()
                } else {
                    format!("{} ({})", row.point, row.nth)
                };
                *line = format!(
                    "{point:<22} {:<26} {:>9}",
                    row.scenario,
                    format!("{:?}", row.outcome)
                );
            }
            cells[row.mode as usize] = if row.mode == Mode::GoesOn {
                format!("{:?}", row.outcome)
            } else {
                time
            };
        }
        for (line, [dies, stands, goes_on]) in table.values() {
            println!("{line}  {dies:>9} {stands:>9} {goes_on:>9}");
        }
        let points: BTreeSet<_> = self.rows.iter().map(|row| row.point).collect();
        let longest = self
            .rows
            .iter()
            .filter(|row| row.mode != Mode::GoesOn)
            .max_by_key(|row| row.blocked)
            .unwrap();
        println!(
            "{} crashes at {} points, and {} that went on, in {:.1} s; \
             the longest block of another process: {} ({} {:?} at {}); load {:.1}",
            self.rows
                .iter()
                .filter(|row| row.mode != Mode::GoesOn)
                .count(),
            points.len(),
            self.rows
                .iter()
                .filter(|row| row.mode == Mode::GoesOn)
                .count(),
            self.began.elapsed().as_secs_f64(),
            milliseconds(longest.blocked),
            longest.scenario,
            longest.mode,
            longest.point,
            self.load
        );
    }

    pub(crate) fn finish(self) {
        self.workers.finish();
    }
}

/// Waits until a victim stands.
fn stands(victim: &mut Child, marker: &Path) {
    soon("the victim stands at its point", || {
        let status = victim.try_wait().unwrap();
        assert!(
            status.is_none(),
            "the victim never came to its point: {status:?}"
        );
        marker.exists()
    });
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Processes that run or want to, over the last minute.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
