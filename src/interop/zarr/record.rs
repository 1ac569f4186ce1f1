//! What a checkpoint says about itself, beside the metadata of Zarr: its manifest, the record of an
//! attempt, the records of chunks that were sent, and the pointer to the latest checkpoint.

use super::types::Structs;
use crate::{cbor, element::dtype::DType, layout::Order, sys::process::random_uuid};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs, io,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// The key of the pointer to the latest checkpoint.
pub(super) const LATEST: &str = "latest.json";
/// The metadata of a group or an array.
pub(super) const METADATA: &str = "zarr.json";
/// The key of the manifest in a checkpoint.
pub(super) const MANIFEST: &str = "_ndshm/manifest.json";
/// The key of the record of the process that writes a checkpoint.
const ATTEMPT: &str = "_ndshm/attempt.json";
/// The folder of what only this library reads.
pub(super) const OWN: &str = "_ndshm";
/// The folder of the records of chunks that were sent.
pub(super) const SENT: &str = "_ndshm/sent";
/// The version of all of these.
pub(super) const FORMAT: u32 = 1;
/// The time after which the attempt of another machine counts as dead.
const ABANDONED_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// An object that is a chunk.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Chunk {
    /// Bytes of the object.
    pub(super) len: u64,
    /// CRC-32 of the object.
    pub(super) crc32: u32,
    /// XXH3-128 of the elements that it has, in hexadecimal digits.
    pub(super) digest: String,
}

/// A Zarr array.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ColumnRecord {
    /// Its path in the group.
    pub(super) node: String,
    /// In the order of the chunks in memory.
    pub(super) chunks: Vec<Chunk>,
}

/// An array of the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ArrayRecord {
    pub(super) name: String,
    pub(super) id: String,
    /// The element type as text, for readers of the manifest.
    pub(super) dtype: String,
    /// The element type as CBOR, in base64.
    pub(super) dtype_cbor: String,
    pub(super) shape: Vec<usize>,
    /// `C` or `F`.
    pub(super) order: String,
    pub(super) axis_names: Vec<Option<String>>,
    /// The attributes as CBOR, in base64.
    pub(super) attrs: Option<String>,
    pub(super) is_frozen: bool,
    pub(super) is_poisoned: bool,
    /// The most rows of an array that grows.
    pub(super) max_len: Option<usize>,
    pub(super) structs: bool,
    /// The lengths of a chunk along the axes of the array.
    pub(super) chunk_shape: Vec<usize>,
    /// Changes with everything that decides about the bytes of a chunk.
    pub(super) encoding: String,
    pub(super) columns: Vec<ColumnRecord>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    pub(super) checkpoint: Uuid,
    pub(super) software: String,
    pub(super) created_ns: u64,
    pub(super) arrays: Vec<ArrayRecord>,
}

/// The entry `ndshm` among the attributes of the group.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Commit {
    pub(super) format: u32,
    pub(super) checkpoint: Uuid,
    pub(super) manifest_len: u64,
    pub(super) manifest_crc32: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Latest {
    pub(super) format: u32,
    pub(super) checkpoint: Uuid,
}

/// A chunk that was sent, for the next attempt where this one does not end.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Sent {
    pub(super) key: String,
    pub(super) encoding: String,
    pub(super) id: String,
    pub(super) is_frozen: bool,
    pub(super) chunk: Chunk,
}

/// The process that writes a checkpoint.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Attempt {
    boot: String,
    pid_namespace: String,
    pid: u32,
    /// The start of the process, which tells it from a later one with its pid.
    started: u64,
    /// Nothing more comes: it failed, or its folder is being deleted.
    is_over: bool,
}

/// The attempts that go on in this process.
static RUNNING: Mutex<Vec<Uuid>> = Mutex::new(Vec::new());

/// An attempt of this process, until it is dropped.
pub(super) struct Running(Uuid);

impl Running {
    pub(super) fn new(id: Uuid) -> Self {
        RUNNING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(id);
        Self(id)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|id| *id != self.0);
    }
}

impl ArrayRecord {
    /// The type of the elements; `None` if it is damaged.
    pub(super) fn element_type(&self) -> Option<DType> {
        let bytes = STANDARD.decode(&self.dtype_cbor).ok()?;
        DType::from_value(&cbor::decode(&bytes).ok()?).ok()
    }

    /// The order of memory; `None` if it is damaged.
    pub(super) fn memory_order(&self) -> Option<Order> {
        match &*self.order {
            "C" => Some(Order::C),
            "F" => Some(Order::F),
            _ => None,
        }
    }

    pub(super) fn structs(&self) -> Structs {
        match self.structs {
            true => Structs::Struct,
            false => Structs::Fields,
        }
    }
}

impl Attempt {
    pub(super) fn of_this_process() -> Self {
        let pid = std::process::id();
        Self {
            boot: text_of("/proc/sys/kernel/random/boot_id"),
            pid_namespace: pid_namespace(),
            pid,
            started: start_of(pid).unwrap_or(0),
            is_over: false,
        }
    }

    /// The record of an attempt of which nothing more comes.
    pub(super) fn over() -> Self {
        Self {
            is_over: true,
            ..Self::of_this_process()
        }
    }

    pub(super) fn key(id: &str) -> String {
        format!("{id}/{ATTEMPT}")
    }

    /// Whether the attempt `id` goes on, as far as this process can tell.
    pub(super) fn lives(&self, id: Uuid, now_ms: u64) -> bool {
        if self.is_over {
            return false;
        }
        let is_here = self.boot == text_of("/proc/sys/kernel/random/boot_id")
            && self.pid_namespace == pid_namespace()
            && !self.boot.is_empty();
        match is_here {
            // One that failed and could not delete its record is over.
            true if self.pid == std::process::id() && start_of(self.pid) == Some(self.started) => {
                let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
                running.contains(&id)
            }
            true => match start_of(self.pid) {
                Some(started) => started == self.started,
                None => is_hidden(self.pid),
            },
            false => !is_abandoned(id, now_ms),
        }
    }
}

/// Whether the metadata of a group are the commit of this checkpoint.
pub(super) fn commits(metadata: &[u8], id: Uuid) -> bool {
    let metadata: Option<Value> = serde_json::from_slice(metadata).ok();
    let commit = metadata.and_then(|all| all.pointer("/attributes/ndshm").cloned());
    commit
        .and_then(|commit| serde_json::from_value::<Commit>(commit).ok())
        .is_some_and(|commit| commit.checkpoint == id)
}

/// Whether an attempt began so long ago that it is over, as far as a clock can tell.
pub(super) fn is_abandoned(id: Uuid, now_ms: u64) -> bool {
    now_ms.saturating_sub(time_of(id)) >= ABANDONED_AFTER_MS
}

/// The milliseconds of an id.
pub(super) fn time_of(id: Uuid) -> u64 {
    id.get_timestamp().map_or(0, |time| {
        time.to_unix().0 * 1000 + u64::from(time.to_unix().1) / 1_000_000
    })
}

/// The id of a new checkpoint: ids sort by their times.
pub(super) fn new_id(now_ms: u64) -> io::Result<Uuid> {
    let mut random = [0; 10];
    random.copy_from_slice(&random_uuid()?.as_bytes()[6..]);
    Ok(uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid())
}

/// The id that a folder of a bucket is named after, if it is one.
pub(super) fn id_of(name: &str) -> Option<Uuid> {
    let id = Uuid::parse_str(name).ok()?;
    (id.to_string() == name && id.get_version_num() == 7).then_some(id)
}

fn text_of(path: &str) -> String {
    fs::read_to_string(path).map_or(String::new(), |text| text.trim().to_owned())
}

fn pid_namespace() -> String {
    fs::read_link("/proc/self/ns/pid").map_or(String::new(), |link| link.display().to_string())
}

/// Whether a process lives that `/proc` does not show, because it is of another user.
fn is_hidden(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM))
}

/// The start of a process that lives, in ticks since the boot.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The bytes of a record.
pub(super) fn to_json(record: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(record) {
        Ok(bytes) => bytes,
        Err(_) => unreachable!("records have text keys and finite numbers"),
    }
}

/// CBOR as JSON, as far as JSON has it: texts, numbers, booleans, lists and maps with text keys.
pub(super) fn json_of(value: &ciborium::Value) -> Option<Value> {
    use ciborium::Value as Cbor;
    Some(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(is) => Value::Bool(*is),
        Cbor::Text(text) => Value::String(text.clone()),
        Cbor::Integer(number) => {
            let number = i128::from(*number);
            match u64::try_from(number) {
                Ok(number) => number.into(),
                Err(_) => i64::try_from(number).ok()?.into(),
            }
        }
        Cbor::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Cbor::Array(values) => Value::Array(values.iter().map(json_of).collect::<Option<_>>()?),
        Cbor::Map(entries) => {
            let entry =
                |(key, value): &(Cbor, Cbor)| Some((key.as_text()?.to_owned(), json_of(value)?));
            Value::Object(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// JSON as CBOR.
pub(super) fn cbor_of(value: &Value) -> ciborium::Value {
    use ciborium::Value as Cbor;
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(is) => Cbor::Bool(*is),
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (_, Some(number)) => number.into(),
            _ => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::Array(values) => Cbor::Array(values.iter().map(cbor_of).collect()),
        Value::Object(entries) => Cbor::Map(
            entries
                .iter()
                .map(|(key, value)| (key.as_str().into(), cbor_of(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_lives_as_long_as_its_process() {
        let id = new_id(1_000_000).unwrap();
        assert_eq!(time_of(id), 1_000_000);
        assert_eq!(id_of(&id.to_string()), Some(id));
        let this = Attempt::of_this_process();
        assert!(!this.lives(id, u64::MAX));
        let running = Running::new(id);
        assert!(this.lives(id, u64::MAX));
        drop(running);
        assert!(!this.lives(id, u64::MAX));
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let other = Attempt {
            pid: child.id(),
            started: start_of(child.id()).unwrap(),
            ..this.clone()
        };
        assert!(other.lives(id, u64::MAX));
        let reused = Attempt {
            started: other.started + 1,
            ..other.clone()
        };
        assert!(!reused.lives(id, 0));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!other.lives(id, 0));
        let elsewhere = Attempt {
            boot: "another".into(),
            ..this
        };
        assert!(elsewhere.lives(id, 1_000_000 + 1000));
        assert!(!elsewhere.lives(id, 1_000_000 + ABANDONED_AFTER_MS));
        assert!(!Attempt::over().lives(id, 1_000_000));
    }

    #[test]
    fn ids_are_the_only_folders_that_count() {
        for name in ["", "x", "00000000000070008000000000000000", "latest.json"] {
            assert_eq!(id_of(name), None);
        }
        let upper = new_id(5).unwrap().to_string().to_uppercase();
        assert_eq!(id_of(&upper), None);
    }
}
