//! Circles of waits: threads that wait for each other's guards for ever.
//!
//! # What a search sees
//!
//! Every guard and every wait is a lane, in this process or another one, so the lanes of the stores
//! that this process has joined are the whole graph. A store counts once, at whatever paths and by
//! however many memberships the process joined it. A wait leads to the guards that exclude it, and
//! a reader's wait also to the waiting writers before it, but for those that wait for a guard of
//! the reader's thread: a set of guards goes before them. A guard leads to the wait of its
//! thread, if that thread waits. A guard that another thread may give back names no thread, and a
//! wait with a time-out ends by itself: neither leads anywhere.
//!
//! Most waits are in no circle: no thread waits for theirs. A look at the tags tells so, and saves
//! the copy.
//!
//! # No false alarm
//!
//! Lanes change while they are copied. So a circle is believed only if a second look, which begins
//! after the first one is complete, finds all of its lanes in the same use: the same tag and bytes,
//! and the same number in the word `turn`. Then all of these guards were held and all of these
//! waits were under way at the moment between the two looks. Each thread of the circle sleeps until
//! another one gives its guard back, which sleeps too, so the circle is one for ever.
//!
//! A binding to another language says only for the time of a wait that a guard is its thread's
//! (`bind` of guards). So the second look reads the threads of the
//! guards first, and looks at the waits after that. A wait that was copied before and is the same
//! afterwards was under way in between, so it is the one for which the guard was bound.
//!
//! # One victim
//!
//! The youngest wait of a circle gives up, and the others go on. All of its threads compute the
//! same one, because the time and the place of a wait stand in its lane.

use crate::{
    state::{
        lanes::{
            Conflicts, FLAGS, Lane, Lanes, Mode, OF_ARRAYS, is_in, is_waiting, member_of, turns,
            wanted_by,
        },
        rests::HELD,
        snapshot::LaneSnapshot,
    },
    store::{lane_pool::LanePool, member::Member},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Acquire},
};
use uuid::Uuid;

/// One use of a lane, as it was copied.
struct Use {
    pool: usize,
    index: u32,
    /// Without the flags of others in its tag.
    lane: LaneSnapshot,
    /// Process and thread; `None` if any thread may give the guard back.
    thread: Option<(u32, u32)>,
}

/// A guard or a wait of a circle.
pub(crate) struct Link {
    pub(crate) store: Arc<Member>,
    pub(crate) lane: LaneSnapshot,
}

impl Use {
    fn copy(pool: usize, index: u32, lane: &Lane) -> Option<Self> {
        let mut lane = LaneSnapshot::read(lane);
        if !is_in(lane.tag, OF_ARRAYS) || Mode::Poisoned.is(lane.tag) {
            return None;
        }
        lane.tag &= !FLAGS;
        Some(Self {
            pool,
            index,
            lane,
            thread: (lane.thread != 0).then_some((lane.process, lane.thread)),
        })
    }

    fn is_wait(&self) -> bool {
        is_waiting(self.lane.tag)
    }

    /// Whether this wait cannot end while the other guard is held, or the other wait under way.
    fn is_kept_by(&self, other: &Use) -> bool {
        let is_same_array = (self.pool, self.lane.key) == (other.pool, other.lane.key);
        if !is_same_array || !self.lane.span.overlaps(&other.lane.span) {
            return false;
        }
        let wanted = wanted_by(self.lane.tag);
        if other.is_wait() {
            // Only a writer keeps readers out while it waits, and only those that came later.
            let is_older =
                (other.lane.turn as u32).wrapping_sub(self.lane.turn as u32) > u32::MAX / 2;
            return wanted != Mode::Write && Mode::WriteWait.is(other.lane.tag) && is_older;
        }
        Conflicts::of(wanted).has(other.lane.tag)
    }
}

/// Whether the wait in a lane of this store belongs to a circle of waits and is its youngest.
pub(crate) fn is_victim(member: &Member, lane: u32) -> bool {
    circle_of_victim(member, lane).is_some()
}

/// The circle of which the wait in a lane of this store is the youngest, if there is one: this
/// wait, the guard that it waits for, the wait of that guard's thread, and so on.
pub(crate) fn circle_of_victim(member: &Member, lane: u32) -> Option<Vec<Link>> {
    let (stores, own) = stores_beside(member)?;
    for store in &stores {
        // Lanes that this process cannot reach are missing from the graph, which hides circles and
        // makes none up.
        let _ = store.reach_lanes();
    }
    let pools: Vec<_> = stores.iter().map(|store| store.lanes().clone()).collect();
    if !is_waited_for(own, lane, &pools) {
        return None;
    }
    let ids: Vec<_> = stores.iter().map(|store| store.page().uuid()).collect();
    let uses = copy_all(&pools);
    let start = uses
        .iter()
        .position(|one| (one.pool, one.index) == (own, lane) && one.is_wait())?;
    let mut circle = circle_from(start, &uses)?;
    let is_as_before = |found: &Use| {
        pools[found.pool].lane(found.index).is_some_and(|lane| {
            lane.thread.load(Acquire) == found.lane.thread && found.lane.is_of_one_use(lane)
        })
            // The guards of a dead member are no obstacle for long.
            && stores[found.pool]
                .is_alive(member_of(found.lane.tag))
                .unwrap_or(false)
    };
    let (waits, guards): (Vec<_>, Vec<_>) =
        (circle.iter().map(|&at| &uses[at])).partition(|found| found.is_wait());
    // The guards first.
    let is_real = [guards, waits].into_iter().flatten().all(is_as_before);
    if !is_real || youngest(&circle, &uses, &ids) != Some(start) {
        return None;
    }
    // It was found from its end.
    circle.reverse();
    let link = |at: usize| Link {
        store: stores[uses[at].pool].clone(),
        lane: uses[at].lane,
    };
    Some(circle.into_iter().map(link).collect())
}

/// Whether any thread may wait for the one whose wait is in a lane of the store `own`: it waits on
/// an array of which that thread has a guard, or to read what that thread waits to write. Most
/// waits are in no circle: where a thousand wait for one guard, each is spared a copy of all lanes.
fn is_waited_for(own: usize, lane: u32, pools: &[Arc<LanePool>]) -> bool {
    let Some(wait) = pools[own].lane(lane) else {
        return false;
    };
    let thread_of = |lane: &Lane| (lane.process.load(Acquire), lane.thread.load(Acquire));
    let thread = thread_of(wait);
    let own_array = (own, wait.key.load(Acquire));
    let is_writer = Mode::WriteWait.is(wait.tag.load(Acquire));
    let (mut guarded, mut awaited, mut is_found) = (Vec::new(), Vec::new(), false);
    each_lane(pools, |pool, index, other| {
        let tag = other.tag.load(Acquire);
        let array = (pool, other.key.load(Acquire));
        if is_in(tag, HELD) && thread_of(other) == thread {
            guarded.push(array);
        } else if is_waiting(tag) && (pool, index) != (own, lane) {
            is_found |= is_writer && array == own_array && wanted_by(tag) != Mode::Write;
            if awaited.last() != Some(&array) {
                awaited.push(array);
            }
        }
    });
    awaited.sort_unstable();
    is_found
        || guarded
            .iter()
            .any(|array| awaited.binary_search(array).is_ok())
}

/// The stores that this process has joined, each once, and the place of the member's among them.
/// Two memberships of a store that was moved between them have the same lanes.
fn stores_beside(member: &Member) -> Option<(Vec<Arc<Member>>, usize)> {
    let is_own = |store: &Arc<Member>| store.lanes().serial() == member.lanes().serial();
    let mut stores = Member::all();
    // The member's own before others of its store.
    stores.sort_by_key(|store| !is_own(store));
    let mut known = HashSet::new();
    stores.retain(|store| known.insert(store.inode()));
    let own = stores.iter().position(is_own)?;
    Some((stores, own))
}

fn copy_all(pools: &[Arc<LanePool>]) -> Vec<Use> {
    let mut uses = Vec::new();
    each_lane(pools, |pool, index, lane| {
        uses.extend(Use::copy(pool, index, lane))
    });
    uses
}

fn each_lane(pools: &[Arc<LanePool>], mut visit: impl FnMut(usize, u32, &Lane)) {
    for (pool, lanes) in pools.iter().enumerate() {
        for index in 0..lanes.count() {
            if let Some(lane) = lanes.lane(index) {
                visit(pool, index, lane);
            }
        }
    }
}

/// The waits and guards of a circle that leads from a wait back to its thread.
fn circle_from(start: usize, uses: &[Use]) -> Option<Vec<usize>> {
    let thread = uses[start].thread?;
    let mut of_array: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut waits: HashMap<(u32, u32), usize> = HashMap::new();
    for (at, one) in uses.iter().enumerate() {
        of_array
            .entry((one.pool, one.lane.key))
            .or_default()
            .push(at);
        if let (true, Some(thread)) = (one.is_wait(), one.thread) {
            waits.insert(thread, at);
        }
    }
    // Whether a thread holds a guard that another wait waits for.
    let goes_first = |wait: usize, other: usize| {
        let thread = uses[wait].thread;
        of_array[&(uses[wait].pool, uses[wait].lane.key)]
            .iter()
            .map(|&at| &uses[at])
            .any(|held| {
                !held.is_wait()
                    && held.thread == thread
                    && thread.is_some()
                    && uses[other].is_kept_by(held)
            })
    };
    // For each wait that was reached: the wait before it, and the guard in between, if any.
    let mut before: HashMap<usize, (usize, Option<usize>)> = HashMap::new();
    let mut reached = HashSet::from([start]);
    let mut open = vec![start];
    while let Some(wait) = open.pop() {
        if uses[wait].lane.turn & turns::ENDS != 0 {
            continue;
        }
        for &other in &of_array[&(uses[wait].pool, uses[wait].lane.key)] {
            if other == wait || !uses[wait].is_kept_by(&uses[other]) {
                continue;
            }
            if uses[other].is_wait() && goes_first(wait, other) {
                continue;
            }
            if other == start {
                return Some(path_to(wait, None, &before));
            }
            let (next, guard) = if uses[other].is_wait() {
                (Some(other), None)
            } else {
                let holder = uses[other].thread;
                if holder == Some(thread) {
                    return Some(path_to(wait, Some(other), &before));
                }
                (
                    holder.and_then(|holder| waits.get(&holder).copied()),
                    Some(other),
                )
            };
            if let Some(next) = next
                && reached.insert(next)
            {
                before.insert(next, (wait, guard));
                open.push(next);
            }
        }
    }
    None
}

fn path_to(
    last: usize,
    guard: Option<usize>,
    before: &HashMap<usize, (usize, Option<usize>)>,
) -> Vec<usize> {
    let mut path: Vec<_> = guard.into_iter().chain([last]).collect();
    let mut at = last;
    while let Some(&(earlier, guard)) = before.get(&at) {
        path.extend(guard);
        path.push(earlier);
        at = earlier;
    }
    path
}

fn youngest(circle: &[usize], uses: &[Use], ids: &[Uuid]) -> Option<usize> {
    let waits = circle.iter().copied().filter(|&at| uses[at].is_wait());
    waits.reduce(|youngest, other| {
        let (a, b) = (&uses[youngest], &uses[other]);
        let is_younger = match b.lane.since.wrapping_sub(a.lane.since) {
            0 => (ids[b.pool], b.index) > (ids[a.pool], a.index),
            difference => difference < u32::MAX / 2,
        };
        if is_younger { other } else { youngest }
    })
}
