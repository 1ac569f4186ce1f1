//! A ring of frames: the producer overwrites no frame that a subscriber holds, whichever dies, and
//! no wake-up is lost.

use crate::{
    Model, ORDERED, UNORDERED,
    payload::Payload,
    spawn,
    state::{
        ring::{Control, FrameWords, Mode, Place, RingTable, Seat},
        signals,
    },
    sync::{AtomicU32, AtomicU64, Ordering::SeqCst, dying},
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "a frame that is held is not overwritten",
        holder,
        UNORDERED,
        3,
    ),
    Model::new("a producer of frames dies anywhere", producer, UNORDERED, 2).with_a_victim(),
    Model::new(
        "a subscriber of frames dies anywhere",
        subscriber,
        UNORDERED,
        2,
    )
    .with_a_victim(),
    Model::new(
        "a joiner takes the seat that the producer clears",
        joiner,
        UNORDERED,
        3,
    ),
    Model::new(
        "a lossless subscriber joins and loses nothing",
        lossless,
        ORDERED,
        2,
    ),
    Model::new("subscribers that sleep get the frame", sleepers, ORDERED, 2),
    Model::new(
        "a subscriber that comes while another sleeps gets the frame",
        late_sleeper,
        ORDERED,
        2,
    ),
    Model::new(
        "a producer that sleeps gets the frame",
        sleeping_producer,
        ORDERED,
        2,
    ),
];

/// The members; `DEAD` died before the model began.
const PRODUCER: u64 = 1;
const SUBSCRIBER: u64 = 2;
const DEAD: u64 = 9;

/// A ring of a few frames, and the elements of each.
struct Ring {
    control: Control,
    frames: Vec<FrameWords>,
    seats: Vec<Seat>,
    payload: Vec<Payload>,
    /// The member that died in the model, or 0.
    died: AtomicU64,
}

fn word(value: u64) -> AtomicU64 {
    AtomicU64::new(value)
}

fn half() -> AtomicU32 {
    AtomicU32::new(0)
}

impl Ring {
    /// A ring whose frame number 1 is published, at the position 1.
    fn new(frames: usize, seats: usize) -> Arc<Self> {
        let frame = |slot: usize| FrameWords {
            position: word(u64::from(slot == 1)),
            number: word(u64::from(slot == 1)),
            time: word(0),
            rows: word(0),
            zeros: std::array::from_fn(|_| word(0)),
        };
        let seat = |_| Seat {
            tag: word(0),
            at: word(0),
            held: std::array::from_fn(|_| word(0)),
            pid: half(),
            zero: half(),
            zeros: [word(0)],
        };
        Arc::new(Self {
            control: Control {
                newest: word(1),
                producer: word(0),
                wake: half(),
                waiting: half(),
                freed: half(),
                awaited: half(),
                ended: half(),
                seats_used: half(),
                pid: half(),
                zero: half(),
                last_dead: word(0),
                base: word(0),
                boot: [word(0), word(0)],
                zeros: std::array::from_fn(|_| word(0)),
            },
            frames: (0..frames).map(frame).collect(),
            seats: (0..seats).map(seat).collect(),
            payload: (0..frames).map(|_| Payload::new(false)).collect(),
            died: word(0),
        })
    }

    fn table(&self) -> RingTable<'_> {
        RingTable {
            control: &self.control,
            frames: &self.frames,
            seats: &self.seats,
        }
    }

    fn is_alive(&self) -> impl Fn(u64) -> bool + '_ {
        |member| member != DEAD && member != self.died.load(SeqCst)
    }

    /// Publishes a frame, if a slot is free.
    fn publish(&self) -> Option<u64> {
        let table = self.table();
        let position = table.reserve(PRODUCER, self.is_alive()).ok()?;
        self.payload[table.slot(position)].overwrite();
        let number = table.last_number() + 1;
        table.publish(position, number, 0, 0);
        Some(number)
    }

    fn join(&self, mode: Mode) -> Place {
        let place = self.table().join(SUBSCRIBER, 0, mode, self.is_alive());
        place.expect("a seat is free")
    }

    /// Takes a frame, looks at it and gives it back. Returns its number.
    fn take(&self, place: &mut Place, position: Option<u64>) -> Option<u64> {
        let (table, position) = (self.table(), position?);
        let slot = table.slot(position);
        self.payload[slot].read();
        let number = table.frame(position).number.load(SeqCst);
        table.advance(place, position);
        self.payload[slot].read();
        table.unpin(place.seat, slot);
        Some(number)
    }

    fn latest(&self, place: &mut Place) -> Option<u64> {
        let seat = place.seat;
        let found = self
            .table()
            .latest(|position| self.table().pin(seat, position));
        self.take(place, found)
    }

    fn next(&self, place: &mut Place) -> Option<u64> {
        let seat = place.seat;
        let found = self
            .table()
            .next(place, |position| self.table().pin(seat, position));
        self.take(place, found)
    }
}

/// Two frames of two slots: the second one is where the first frame was.
fn holder(_: u32) {
    let ring = Ring::new(2, 1);
    let mut place = ring.join(Mode::Newest);
    let other = ring.clone();
    let producing = spawn(move || {
        other.table().take_turn(PRODUCER, other.is_alive()).unwrap();
        (other.publish(), other.publish())
    });
    let first = ring
        .latest(&mut place)
        .expect("there is always a newest frame");
    let second = ring
        .latest(&mut place)
        .expect("there is always a newest frame");
    assert!(first <= second);
    let (one, two) = producing.join().unwrap();
    let newest = two.or(one).unwrap_or(1);
    assert_eq!(ring.latest(&mut place), Some(newest));
}

fn producer(step: u32) {
    let ring = Ring::new(3, 1);
    let mut place = ring.join(Mode::Newest);
    let victim = ring.clone();
    let dead = spawn(move || {
        let life = dying(step, || {
            victim
                .table()
                .take_turn(PRODUCER, victim.is_alive())
                .unwrap();
            victim.publish();
            victim.publish();
        });
        if life.is_none() {
            victim.died.store(PRODUCER, SeqCst);
        } else {
            victim.table().end_turn(PRODUCER);
        }
    });
    let first = ring
        .latest(&mut place)
        .expect("there is always a newest frame");
    dead.join().unwrap();
    let second = ring.next(&mut place).unwrap_or(first);
    // The successor goes on at the next number, with any slot.
    let table = ring.table();
    let is_alive = |member| member != ring.died.load(SeqCst) || member == PRODUCER + 10;
    table.take_turn(PRODUCER + 10, is_alive).unwrap();
    let before = table.last_number();
    for _ in 0..3 {
        ring.publish().expect("no subscriber holds a frame");
    }
    assert!(first <= second && second <= before);
    assert_eq!(ring.latest(&mut place), Some(before + 3));
}

fn subscriber(step: u32) {
    let ring = Ring::new(3, 1);
    let victim = ring.clone();
    let dead = spawn(move || {
        let life = dying(step, || {
            let mut place = victim.join(Mode::Lossless);
            victim.latest(&mut place);
            victim.next(&mut place);
            victim.table().leave(place.seat);
        });
        if life.is_none() {
            victim.died.store(SUBSCRIBER, SeqCst);
        }
    });
    ring.table().take_turn(PRODUCER, ring.is_alive()).unwrap();
    ring.publish();
    dead.join().unwrap();
    // Nothing that the dead one left blocks the producer, or another subscriber.
    for _ in 0..4 {
        ring.publish().expect("only the dead one is in the way");
    }
    let is_alive = |member| member != SUBSCRIBER || ring.died.load(SeqCst) == 0;
    let place = ring
        .table()
        .join(SUBSCRIBER + 10, 0, Mode::Newest, is_alive);
    place.expect("the seat of the dead is free");
}

/// The only seat is that of a dead subscriber, which held all slots.
fn joiner(_: u32) {
    let ring = Ring::new(2, 1);
    ring.control.seats_used.store(1, SeqCst);
    ring.seats[0]
        .tag
        .store(Mode::Newest as u64 | DEAD << 8, SeqCst);
    ring.seats[0].held[0].store(0b11, SeqCst);
    let other = ring.clone();
    let joining = spawn(move || {
        let mut place = other
            .table()
            .join(SUBSCRIBER, 0, Mode::Newest, other.is_alive())?;
        other.latest(&mut place);
        other.latest(&mut place)
    });
    ring.table().take_turn(PRODUCER, ring.is_alive()).unwrap();
    ring.publish();
    ring.publish();
    joining.join().unwrap();
    ring.publish().expect("no subscriber holds a frame");
}

/// No subscriber holds a frame for long, so positions have no gaps: they are the numbers.
fn lossless(_: u32) {
    let ring = Ring::new(2, 1);
    let other = ring.clone();
    let producing = spawn(move || {
        other.table().take_turn(PRODUCER, other.is_alive()).unwrap();
        [other.publish(), other.publish(), other.publish()]
    });
    let mut place = ring.join(Mode::Lossless);
    let joined = place.at;
    let first = ring.next(&mut place);
    let published = producing.join().unwrap();
    let newest = published.into_iter().flatten().last().unwrap_or(1);
    let rest = [ring.next(&mut place), ring.next(&mut place)];
    let seen = [first].into_iter().chain(rest).flatten();
    assert!(seen.eq(joined + 1..=newest), "from {joined} to {newest}");
}

fn sleepers(_: u32) {
    let ring = Ring::new(2, 2);
    let sleeping: Vec<_> = (0..2)
        .map(|_| {
            let ring = ring.clone();
            let mut place = ring.join(Mode::Newest);
            spawn(move || {
                let table = ring.table();
                let found =
                    table.wait_for_frame(None, |_| ring.latest(&mut place).filter(|&n| n > 1));
                assert_eq!(found, Some(2));
            })
        })
        .collect();
    ring.table().take_turn(PRODUCER, ring.is_alive()).unwrap();
    while ring.publish().is_none() {
        crate::sync::yield_now();
    }
    sleeping
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// A woken subscriber passes the wake-up on only where it sees another one's seat: one that came
/// too late to be seen must have found the frame itself.
fn late_sleeper(_: u32) {
    let ring = Ring::new(2, 2);
    let mut place = ring.join(Mode::Newest);
    let wait = |ring: &Ring, place: &mut Place| {
        let found = ring
            .table()
            .wait_for_frame(None, |_| ring.latest(place).filter(|&n| n > 1));
        assert_eq!(found, Some(2));
    };
    let early = ring.clone();
    let first = spawn(move || wait(&early, &mut place));
    let late = ring.clone();
    let second = spawn(move || {
        let mut place = late.join(Mode::Newest);
        wait(&late, &mut place);
    });
    ring.table().take_turn(PRODUCER, ring.is_alive()).unwrap();
    while ring.publish().is_none() {
        crate::sync::yield_now();
    }
    first.join().unwrap();
    second.join().unwrap();
}

fn sleeping_producer(_: u32) {
    let ring = Ring::new(2, 1);
    let mut place = ring.join(Mode::Newest);
    ring.table().take_turn(PRODUCER, ring.is_alive()).unwrap();
    let table = ring.table();
    assert!(table.pin(place.seat, 1));
    ring.publish().expect("the other slot is free");
    let other = ring.clone();
    let producing = spawn(move || {
        let control = &other.control;
        signals::wait_for(&control.freed, None, |_| {
            control.awaited.store(1, SeqCst);
            other.publish()
        })
    });
    table.unpin(place.seat, table.slot(1));
    assert_eq!(producing.join().unwrap(), Some(3));
    assert_eq!(ring.latest(&mut place), Some(3));
}
