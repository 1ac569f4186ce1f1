//! One death after the other: what happens around each, how long it holds somebody up, and the
//! table of all.

use crate::{
    crew::Crew,
    ends,
    scenes::{self, Death, Mode, Scene, Told},
    stage::{RECOVERED, Stage, end_of, ended, rows, soon},
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

/// A death and all that is looked at after it never takes so long that is not stuck.
const HANG: Duration = Duration::from_secs(60);
/// How long an operation that has to wait for a victim that stands is given to begin.
const HEAD_START: Duration = Duration::from_millis(3);
/// And one that need not wait, to end: some have to all the same, for the lock on the names.
const LONG_START: Duration = Duration::from_millis(100);
const WRITE: u64 = 2;
const INTENT: u64 = 3;

pub(crate) struct Campaign {
    directory: PathBuf,
    crew: Crew,
    rows: Vec<Row>,
    began: Instant,
    load: f64,
    /// Takes what is being played; the watchdog listens.
    watchdog: mpsc::Sender<String>,
}

/// What came of one death.
struct Row {
    point: &'static str,
    nth: u64,
    scene: &'static str,
    mode: Mode,
    told: Told,
    /// From the moment when the kernel released what the dead one held until somebody else was
    /// told.
    blocked: Duration,
}

impl Campaign {
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
            crew: Crew::start(),
            rows: Vec::new(),
            began: Instant::now(),
            load: 0.0,
            watchdog,
        }
    }

    /// Has one process die, and requires that everything else is as it should be.
    pub(crate) fn play(&mut self, scene: &Scene, death: &Death, mode: Mode) {
        let expected = if mode == Mode::GoesOn {
            scene.told_if_it_goes_on(death)
        } else {
            Some(death.2)
        };
        let Some(expected) = expected else { return };
        let told = self.play_whatever(scene, death, mode, false);
        assert_eq!(
            told, expected,
            "{} {mode:?} at {} {}",
            scene.name, death.0, death.1
        );
    }

    /// Has processes die at each hit, up to `most`, of each point that the scene comes to: what the
    /// others are told may be anything that fits what is left.
    pub(crate) fn play_all(&mut self, scene: &Scene, most: u64) {
        let stage = Stage::new(&self.directory, scene);
        let printed = ended(
            stage.start(scene.name, &Death("", 0, Told::Free), Mode::Dies, ""),
            false,
        );
        drop(stage);
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
                self.play_whatever(scene, &Death(point, nth, Told::Free), Mode::Dies, true);
            }
        }
    }

    fn play_whatever(
        &mut self,
        scene: &Scene,
        death: &Death,
        mode: Mode,
        may_survive: bool,
    ) -> Told {
        let &Death(point, nth, _) = death;
        let title = format!("{} {mode:?} at {point} {nth}", scene.name);
        self.watchdog.send(title.clone()).unwrap();
        let stage = Stage::new(&self.directory, scene);
        if !scene.is_quiet {
            self.crew.work(&stage.manager, &stage.work, stage.is_closed);
        }
        let member = stage.next_member();
        let (told, blocked) = self.kill(&stage, scene, death, mode, member, may_survive);
        self.crew.require_progress(&title);
        let counts = self.crew.stop();
        ends::verify(stage, scene, told, &counts, &title);
        self.load = self.load.max(load());
        self.rows.push(Row {
            point,
            nth,
            scene: scene.name,
            mode,
            told,
            blocked,
        });
        told
    }

    /// What the others are told, and how long they waited for that after the death.
    fn kill(
        &mut self,
        stage: &Stage,
        scene: &Scene,
        death: &Death,
        mode: Mode,
        member: u64,
        may_survive: bool,
    ) -> (Told, Duration) {
        let title = scene.name;
        let mut waited_for = match title {
            "wait" | "convert" => Some(stage.view().read().unwrap()),
            "recover after a wait" => Some(
                rows(&stage.work, RECOVERED.end - 1..RECOVERED.end)
                    .read()
                    .unwrap(),
            ),
            _ => None,
        };
        std::thread::scope(|scope| {
            let probe = || scope.spawn(move || (ends::probe(stage, title, member), Instant::now()));
            let mut probing = None;
            if title == "join after a boot" {
                stage.forget_the_boot();
            }
            let mut victim = stage.start(title, death, mode, "stands");
            let has = |slot| stage.slots().contains(&(slot, member));
            let (mut closer, mut opener) = (None, None);
            if scene.has_opener {
                soon("the victim has an array", || stage.sign("old").exists());
                opener = Some(stage.start(
                    "open the old one",
                    &Death("OpenMapped", 1, Told::Free),
                    Mode::Stands,
                    "opener",
                ));
            }
            match title {
                "convert" | "recover after a wait" => {
                    soon("the victim says that it waits", || has(INTENT));
                    waited_for = None;
                }
                "wake" => {
                    soon("the victim has its guard", || has(WRITE));
                    probing = Some(probe());
                }
                "create while closing" => {
                    soon("the victim is about to publish", || {
                        stage.sign("publishes").exists()
                    });
                    closer = Some(stage.start(
                        "close",
                        &Death("CloseMarked", 1, Told::Closed),
                        Mode::Stands,
                        "closes",
                    ));
                    soon("the store is marked", || stage.sign("closes").exists());
                    fs::remove_file(stage.sign("publishes")).unwrap();
                }
                "close another's place" => {
                    soon("the victim is about to rename the store away", || {
                        stage.sign("closes").exists()
                    });
                    ends::put_another_store_there(stage);
                    fs::remove_file(stage.sign("closes")).unwrap();
                }
                _ => {}
            }
            let is_early = title == "wake";
            // Others that wait for the test's guard would be waited for by it.
            let is_alone = waited_for.is_some() || is_early;
            let mut killed = None;
            let freed = match mode {
                Mode::Stands | Mode::GoesOn => {
                    stands(&mut victim, &stage.sign("stands"));
                    stage.require_poison(title);
                    self.approach(stage, scene, is_alone);
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
                        while !scenes::HOLDING.contains(&death.0)
                            && !is_done()
                            && began.elapsed() < LONG_START
                        {
                            std::thread::sleep(HEAD_START / 10);
                        }
                        fs::remove_file(stage.sign("stands")).unwrap();
                        ended(victim, false);
                        Instant::now()
                    } else {
                        victim.kill().unwrap();
                        let freed = stage.released(member);
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
                    stage.require_poison(title);
                    self.approach(stage, scene, is_alone);
                    probing = probing.or_else(|| Some(probe()));
                    freed
                }
            };
            let (told, when) = probing.map(|probing| probing.join().unwrap()).unwrap();
            if scenes::HOLDING.contains(&death.0) && !is_early {
                assert!(
                    killed.is_none_or(|killed| when > killed),
                    "{title}: what was held at {} was given to another one",
                    death.0
                );
            }
            drop(waited_for);
            if is_alone {
                self.crew.overlap();
            }
            if let Some(opener) = opener {
                let printed = ended(opener, false);
                let is_told = printed.lines().any(|line| line == "released");
                assert!(
                    is_told || death.0 == "ReleaseOwnerTaken",
                    "{title} at {}: the opener got the array: {printed}",
                    death.0
                );
            }
            if let Some(closer) = closer {
                fs::remove_file(stage.sign("closes")).unwrap();
                ended(closer, false);
            }
            (
                told.unwrap_or_else(|| ends::told_by_sweep(stage)),
                when.saturating_duration_since(freed),
            )
        })
    }

    /// The others come to what the victim holds, or held.
    fn approach(&mut self, stage: &Stage, scene: &Scene, is_alone: bool) {
        if scene.is_quiet {
            self.crew.work(&stage.manager, &stage.work, stage.is_closed);
        }
        if !is_alone {
            self.crew.overlap();
        }
    }

    pub(crate) fn was_reached(&self, point: &str) -> bool {
        self.rows.iter().any(|row| row.point == point)
    }

    pub(crate) fn report(&self) {
        println!(
            "{:<22} {:<26} {:>9}  {:>9} {:>9} {:>9}",
            "point", "scene", "others", "dies", "stands", "goes on"
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
                    (other.point, other.nth, other.scene) == (row.point, row.nth, row.scene)
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
                    row.scene,
                    format!("{:?}", row.told)
                );
            }
            cells[row.mode as usize] = if row.mode == Mode::GoesOn {
                format!("{:?}", row.told)
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
            "{} deaths at {} points, and {} that went on, in {:.1} s; the longest that one held somebody up: {} ({} {:?} at {}); load {:.1}",
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
            longest.scene,
            longest.mode,
            longest.point,
            self.load
        );
    }

    pub(crate) fn finish(self) {
        self.crew.finish();
    }
}

/// Waits until a victim stands.
fn stands(victim: &mut Child, sign: &Path) {
    soon("the victim stands at its point", || {
        let status = victim.try_wait().unwrap();
        assert!(
            status.is_none(),
            "the victim never came to its point: {status:?}"
        );
        sign.exists()
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
