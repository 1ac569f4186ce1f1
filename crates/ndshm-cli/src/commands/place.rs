//! The places of checkpoints: directories, and object stores by their URLs.

use crate::{
    context::Context,
    display::bar::Bar,
    failure::{Failure, printable},
};
use ndshm::{Bucket, DirectoryBucket, Left};
use serde_json::json;
use std::io::Write;

/// The settings that the ways to a place and back have in common.
#[derive(clap::Args)]
pub(super) struct Transfer {
    /// The arrays to take, by names or patterns: 'frame-*'
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(super) only: Vec<String>,
    /// The most chunks in flight
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub(super) in_flight: u32,
}

/// The bar of a transfer.
pub(super) fn bar(context: &Context, place: &str) -> Bar {
    Bar::new(printable(place), !context.is_json)
}

/// The place that a word of the command line names.
pub(super) fn open(place: &str) -> Result<Box<dyn Bucket>, Failure> {
    match place.split_once("://") {
        Some(("s3" | "s3a", _)) => object_store(place),
        Some(("file", path)) => Ok(Box::new(DirectoryBucket::new(path))),
        Some((scheme, _)) => Err(Failure::usage(format!(
            "{place}: {scheme} is no place of checkpoints: take a directory or s3://BUCKET/PREFIX"
        ))),
        None if place.is_empty() => Err(Failure::usage("the place is empty: name a directory")),
        None => Ok(Box::new(DirectoryBucket::new(place))),
    }
}

#[cfg(feature = "s3")]
fn object_store(url: &str) -> Result<Box<dyn Bucket>, Failure> {
    let bucket = ndshm_s3::S3Bucket::from_url(url)
        .map_err(|error| Failure::usage(format!("{url}: {error}")))?;
    Ok(Box::new(bucket))
}

#[cfg(not(feature = "s3"))]
fn object_store(url: &str) -> Result<Box<dyn Bucket>, Failure> {
    Err(Failure::usage(format!(
        "{url}: this ndshm was built without object stores: install it with cargo install --path \
         crates/ndshm-cli --features s3, or take a directory"
    )))
}

/// Tells what was left.
pub(super) fn report_left(left: &[Left]) -> Result<(), Failure> {
    for Left { key, reason, .. } in left {
        let line = format!("left {key:?}: {reason}");
        writeln!(anstream::stderr(), "{}", printable(&line))?;
    }
    Ok(())
}

/// The same, for programs.
pub(super) fn left_json(left: &[Left]) -> Vec<serde_json::Value> {
    left.iter()
        .map(|left| json!({ "key": left.key, "reason": left.reason }))
        .collect()
}
