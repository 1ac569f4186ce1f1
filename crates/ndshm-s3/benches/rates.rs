//! The rate of a checkpoint into a server of S3 and of a restore, beside bare PUTs and GETs of the
//! same bytes by object_store, with the same settings: as many objects of the same length, as many
//! at once. Bare GETs free each object when it is there, or keep all of them to the end, as a
//! restore does. `cargo bench -p ndshm-s3 [-- MIB]`, with `NDSHM_S3S_FS` as `.ci/s3` sets it.
//! Rounds are interleaved; the medians of the rates and of the ratios of a round are printed.
#![allow(clippy::unwrap_used, reason = "a bench ends at the first error")]

#[path = "../../../benches/ratios/rates.rs"]
#[allow(unreachable_pub, reason = "several benches use it")]
mod rates;
#[allow(dead_code, unreachable_pub, reason = "the bench uses a part")]
#[path = "../tests/servers/server.rs"]
mod server;

use futures_util::StreamExt;
use ndshm::{Bucket, Checkpoint, Manager, Restore};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, aws::AmazonS3Builder, path::Path};
use rates::{report, timed};
use server::{KEY, SECRET, Server};
use std::sync::Arc;

const ROUNDS: usize = 5;
const URL: &str = "s3://bucket/run";
/// The chunks of a checkpoint, and how many are in flight: the defaults.
const CHUNK: usize = 64 << 20;
const IN_FLIGHT: usize = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|word| word == "--test");
    let mut words = arguments.iter().filter(|word| !word.starts_with("--"));
    let mib: usize = words.next().map_or(512, |text| text.parse().unwrap());
    let (mib, rounds) = if is_test { (1, 1) } else { (mib, ROUNDS) };
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let Some(server) = Server::honest(scratch.path()) else {
        return;
    };
    let bucket = server.bucket(URL, SECRET);
    let bare: Arc<dyn ObjectStore> = Arc::new(
        AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{}", server.port))
            .with_allow_http(true)
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .with_bucket_name("bucket")
            .build()
            .unwrap(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let manager = Manager::new().unwrap();
    let options = manager.options().name("xs");
    let xs = options
        .from_shape_fn::<u64, _>(mib << 17, |i| i as u64)
        .unwrap();
    let bytes: Vec<u8> = (xs.read().unwrap().iter())
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let pieces: Vec<bytes::Bytes> = bytes
        .chunks(CHUNK)
        .map(bytes::Bytes::copy_from_slice)
        .collect();
    drop(bytes);
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        bucket.delete_all("").unwrap();
        times[0].push(timed(|| {
            drop(Checkpoint::new().write(&manager, &bucket).unwrap())
        }));
        let puts = || {
            let puts = futures_util::stream::iter(pieces.iter().enumerate().map(|(n, piece)| {
                let (bare, payload) = (bare.clone(), PutPayload::from_bytes(piece.clone()));
                async move { bare.put(&Path::from(format!("bare/{n}")), payload).await }
            }));
            runtime.block_on(puts.buffer_unordered(IN_FLIGHT).for_each(async |put| {
                put.unwrap();
            }));
        };
        times[1].push(timed(puts));
        // A restore has connections of its own, because it is another process in earnest. On those
        // of the checkpoint this server holds back the end of each small answer for 40 ms (Nagle).
        let (other, bucket) = (Manager::new().unwrap(), server.bucket(URL, SECRET));
        times[2].push(timed(|| {
            drop(Restore::new().read(&other, &bucket).unwrap())
        }));
        drop(other);
        for (at, keeps) in [(3, false), (4, true)] {
            times[at].push(timed(|| {
                let gets = futures_util::stream::iter((0..pieces.len()).map(|n| {
                    let bare = bare.clone();
                    async move {
                        let got = bare.get(&Path::from(format!("bare/{n}"))).await.unwrap();
                        let bytes = got.bytes().await.unwrap();
                        (bytes.len(), keeps.then_some(bytes))
                    }
                }));
                let got = gets.buffer_unordered(IN_FLIGHT).collect::<Vec<_>>();
                let got = runtime.block_on(got);
                assert_eq!(got.iter().map(|(len, _)| len).sum::<usize>(), mib << 20);
            }));
        }
    }
    let [checkpoints, puts, restores, gets, kept] = &times;
    report("checkpoint", "bare PUT", mib, checkpoints, puts);
    report("restore", "bare GET", mib, restores, gets);
    report("restore", "bare GET, kept", mib, restores, kept);
}
