//! All stores and arrays with the processes that use them, for `ls` and `top`.

mod maps;
mod proc;

use crate::{
    failure::{Failure, printable},
    survey::proc::{Mapped, Members, Processes, Unlinked},
};
use ndshm::{
    ArrayInfo, ArrayKind, ArrayState, GuardKind, Holder, MemberState, Observer, RingState,
    SubscriberState,
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

/// The state of all stores at one time.
pub(crate) struct Survey {
    /// The directory whose file system has the sizes below.
    pub(crate) root: PathBuf,
    /// Bytes of the file system, and its free bytes.
    pub(crate) total: u64,
    pub(crate) available: u64,
    pub(crate) stores: Vec<StoreView>,
    /// Memory without a name: released arrays that are still mapped.
    pub(crate) unlinked: Vec<Unlinked>,
    pub(crate) processes: Processes,
}

/// A store.
pub(crate) struct StoreView {
    pub(crate) path: PathBuf,
    pub(crate) is_persistent: bool,
    pub(crate) is_closing: bool,
    pub(crate) owner: Option<MemberState>,
    /// The living members.
    pub(crate) members: Vec<u64>,
    /// Their processes.
    pub(crate) pids: Members,
    pub(crate) arrays: Vec<ArrayView>,
    /// Errors of damaged array files, or the reason why the store cannot be read.
    pub(crate) damaged: Vec<String>,
    /// The entries of its directory that are not the store's.
    pub(crate) strays: Vec<PathBuf>,
    /// Whether the store could be read.
    is_known: bool,
}

/// An array.
pub(crate) struct ArrayView {
    pub(crate) info: ArrayInfo,
    pub(crate) state: ArrayState,
    /// The state of a ring; `None` for another kind.
    pub(crate) ring: Option<RingState>,
    /// When its frames or rows were counted.
    pub(crate) counted: Instant,
    /// Bytes that its file occupies.
    pub(crate) allocated: u64,
    pub(crate) mapped: Vec<Mapped>,
    /// Whether a sweep deletes it, because its owner or its whole store is dead.
    pub(crate) is_dead: bool,
}

impl Survey {
    /// Surveys these stores.
    pub(crate) fn look(root: &Path, stores: &[PathBuf]) -> Result<Self, Failure> {
        let processes = Processes::look();
        let space = rustix::fs::statvfs(root).map_err(std::io::Error::from)?;
        let views = stores
            .iter()
            .filter_map(|path| StoreView::look(path, &processes))
            .collect();
        Ok(Self {
            root: root.into(),
            total: space.f_blocks.saturating_mul(space.f_frsize),
            available: space.f_bavail.saturating_mul(space.f_frsize),
            stores: views,
            unlinked: processes.unlinked(root),
            processes,
        })
    }

    /// Bytes of all arrays, and of the dead ones among them.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let arrays = || self.stores.iter().flat_map(|store| &store.arrays);
        (
            arrays().map(|array| array.allocated).sum(),
            arrays()
                .filter(|array| array.is_dead)
                .map(|array| array.allocated)
                .sum(),
        )
    }

    /// The survey as JSON; later versions keep the names of the fields.
    pub(crate) fn to_json(&self) -> Value {
        let unlinked = self
            .unlinked
            .iter()
            .map(|file| json!({ "path": file.path, "bytes": file.bytes, "pids": file.pids }));
        json!({
            "root": self.root,
            "file_system": { "total": self.total, "available": self.available },
            "stores": self
                .stores
                .iter()
                .map(|store| store.to_json(&self.processes))
                .collect::<Vec<_>>(),
            "released_but_mapped": unlinked.collect::<Vec<_>>(),
        })
    }
}

impl StoreView {
    /// Reads a store; `None` if it is gone by now.
    fn look(path: &Path, processes: &Processes) -> Option<Self> {
        let mut view = Self {
            path: path.into(),
            is_persistent: false,
            is_closing: false,
            owner: None,
            members: Vec::new(),
            pids: processes.members(&path.join(".lock")),
            arrays: Vec::new(),
            damaged: Vec::new(),
            strays: Vec::new(),
            is_known: false,
        };
        match Observer::open(path).and_then(|observer| view.fill(&observer, processes)) {
            Ok(()) => Some(view),
            Err(ndshm::Error::NotFound { .. }) => None,
            Err(error) => {
                view.damaged.push(printable(&error.to_string()));
                Some(view)
            }
        }
    }

    fn fill(&mut self, observer: &Observer, processes: &Processes) -> ndshm::Result<()> {
        (self.is_persistent, self.is_closing) = (observer.is_persistent(), observer.is_closing());
        (self.owner, self.members) = (observer.owner()?, observer.members()?);
        self.strays = observer.strays()?;
        self.is_known = true;
        let is_dead = self.is_dead();
        for info in observer.arrays()? {
            let info = match info {
                Ok(info) => info,
                Err(error) => {
                    self.damaged.push(printable(&error.to_string()));
                    continue;
                }
            };
            // The array was released in the meantime.
            let (Ok(state), Ok(metadata)) =
                (observer.state(&info), fs::symlink_metadata(&info.path))
            else {
                continue;
            };
            let is_dead = is_dead || state.owner.is_some_and(|owner| !owner.is_alive);
            let counted = Instant::now();
            let ring = match info.kind {
                ArrayKind::Ring => observer.ring(&info).ok(),
                _ => None,
            };
            self.arrays.push(ArrayView {
                info,
                state,
                ring,
                counted,
                allocated: metadata.blocks() * 512,
                mapped: processes.of(&metadata).to_vec(),
                is_dead,
            });
        }
        Ok(())
    }

    /// The name of the store's directory.
    pub(crate) fn name(&self) -> String {
        printable(
            &self
                .path
                .file_name()
                .unwrap_or(self.path.as_os_str())
                .to_string_lossy(),
        )
    }

    /// Whether a sweep deletes it.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_known && self.members.is_empty() && (!self.is_persistent || self.is_closing)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.arrays.iter().map(|array| array.allocated).sum()
    }

    fn to_json(&self, processes: &Processes) -> Value {
        let owner = self.owner.map(|owner| self.member_json(owner));
        json!({
            "path": self.path,
            "name": self.name(),
            "persistent": self.is_persistent,
            "closing": self.is_closing,
            "dead": self.is_dead(),
            "owner": owner,
            "members": self
                .members
                .iter()
                .map(|id| json!({ "member": id, "pid": self.pids.process_of(*id) }))
                .collect::<Vec<_>>(),
            "bytes": self.bytes(),
            "arrays": self
                .arrays
                .iter()
                .map(|array| array.to_json(self, processes))
                .collect::<Vec<_>>(),
            "damaged": self.damaged,
            "strays": self.strays,
        })
    }

    fn member_json(&self, member: MemberState) -> Value {
        let pid = match member.is_alive {
            true => self.pids.process_of(member.id),
            false => None,
        };
        json!({ "member": member.id, "alive": member.is_alive, "pid": pid })
    }
}

impl ArrayView {
    /// The name of its file without the suffix: the array's name, or the digits of its id.
    pub(crate) fn name(&self) -> String {
        printable(
            &self
                .info
                .path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy(),
        )
    }

    /// How many frames a ring had ever, or rows an array that grows has; `None` of another kind.
    pub(crate) fn count(&self) -> Option<u64> {
        match (&self.ring, self.info.kind) {
            (Some(ring), _) => Some(ring.newest),
            (None, ArrayKind::Growing) => self.info.shape.first().map(|&rows| rows as u64),
            _ => None,
        }
    }

    fn to_json(&self, store: &StoreView, processes: &Processes) -> Value {
        let Self { info, state, .. } = self;
        let guard = |guard: &ndshm::GuardState| {
            json!({
                "kind": guard_kind(guard.kind), "start": guard.range.start, "end": guard.range.end,
                "member": guard.member, "pid": store.pids.process_of(guard.member),
            })
        };
        let mapped = |mapped: &Mapped| {
            json!({
                "pid": mapped.pid,
                "command": processes.command(mapped.pid),
                "bytes": mapped.bytes,
            })
        };
        let mut fields = info_json(info);
        let more = json!({
            "allocated": self.allocated,
            "dead": self.is_dead,
            "scope": state.scope.to_string(),
            "owner": state.owner.map(|owner| store.member_json(owner)),
            "producer": store.member_json(state.producer),
            "frozen": state.is_frozen,
            "openers": state.openers,
            "poisoned": state
                .poisoned
                .iter()
                .map(|range| [range.start, range.end])
                .collect::<Vec<_>>(),
            "guards": state.guards.iter().map(guard).collect::<Vec<_>>(),
            "waited_for": state.is_waited_for,
            "mapped_by": self.mapped.iter().map(mapped).collect::<Vec<_>>(),
            "max_len": info.max_len,
            "ring": self.ring.as_ref().map(ring_json),
        });
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        fields
    }
}

/// The subscriber that is the most frames behind, of those that live.
pub(crate) fn last_subscriber(ring: &RingState) -> Option<&SubscriberState> {
    let alive = ring.subscribers.iter().filter(|one| one.process.is_alive);
    alive.max_by_key(|one| one.lag)
}

fn ring_json(ring: &RingState) -> Value {
    let process = |holder: &Holder| {
        json!({
            "member": holder.member, "alive": holder.is_alive, "pid": holder.pid,
            "command": holder.command,
        })
    };
    let subscribers = ring.subscribers.iter().map(|one| {
        let mut value = process(&one.process);
        value["lossless"] = one.is_lossless.into();
        value["lag"] = one.lag.into();
        value["held"] = one.held.into();
        value
    });
    json!({
        "frames": ring.frames,
        "max_subscribers": ring.max_subscribers,
        "newest": ring.newest,
        "ended": ring.has_ended,
        "producer": ring.producer.as_ref().map(process),
        "subscribers": subscribers.collect::<Vec<_>>(),
        "largest_lag": last_subscriber(ring).map_or(0, |last| last.lag),
    })
}

/// The header of an array's file as JSON.
pub(crate) fn info_json(info: &ArrayInfo) -> Value {
    let created = info
        .created
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    json!({
        "name": info.name,
        "id": info.id.to_string(),
        "path": info.path,
        "kind": info.kind.to_string(),
        "dtype": info.dtype.to_string(),
        "shape": info.shape,
        "order": format!("{:?}", info.order),
        "axis_names": info.axis_names,
        "bytes": info.byte_len,
        "created": created,
        "pid": info.pid,
        "software": info.software,
    })
}

/// The word for a kind of guard.
pub(crate) fn guard_kind(kind: GuardKind) -> &'static str {
    match kind {
        GuardKind::Read => "read",
        GuardKind::Write => "write",
        GuardKind::Waiting => "waiting",
        GuardKind::Atomic => "atomic",
        _ => "other",
    }
}
