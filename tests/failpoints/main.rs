//! Deaths at every step that has a name, one after the other, while other processes work on the
//! same store and array.
//!
//! `cargo test --features failpoints --test failpoints` lets a process die at each point of the
//! library's list, kills another one that stands there, and lets a third stand there and go on.
//! Then: the others go on; what the dead one held is poison if it wrote, and gone if it did not;
//! what was half-made is never seen, and swept; what was half-deleted is finished by the next one.
//! With `-- --nocapture` it prints a table of points and outcomes.
//!
//! `NDSHM_FAILPOINTS_HITS=5` is the long run: in each scene, deaths at the first five hits of every
//! point that it comes to. `NDSHM_FAILPOINTS_SCENE` plays one scene alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    unsafe_code,
    reason = "forks, and a look at the kernel's locks, are calls of libc"
)]

mod campaign;
#[path = "../common/mod.rs"]
mod common;
mod crew;
mod ends;
mod scenes;
mod stage;
mod victim;

use campaign::Campaign;
use scenes::{Mode, SCENES, Scene};
use std::collections::BTreeSet;

#[test]
fn whoever_dies_at_any_point_holds_nobody_up_and_leaves_nothing_behind() {
    let root = common::Root::new();
    let mut campaign = Campaign::new(root.path());
    let only = std::env::var("NDSHM_FAILPOINTS_SCENE").ok();
    let is_wanted = |scene: &Scene| only.as_deref().is_none_or(|only| only == scene.name);
    for scene in SCENES.iter().filter(|scene| is_wanted(scene)) {
        for death in scene.deaths {
            campaign.play(scene, death, Mode::Dies);
            if scene.can_stand {
                campaign.play(scene, death, Mode::Stands);
                campaign.play(scene, death, Mode::GoesOn);
            }
        }
    }
    let most = std::env::var("NDSHM_FAILPOINTS_HITS").map_or(0, |text| text.parse().unwrap());
    SCENES
        .iter()
        .filter(|scene| is_wanted(scene) && scene.is_alone && most > 0)
        .for_each(|scene| campaign.play_all(scene, most));
    campaign.report();
    if only.is_some() {
        return campaign.finish();
    }
    let missing: BTreeSet<_> = ndshm::failpoint::NAMES
        .iter()
        .filter(|name| !campaign.was_reached(name))
        .collect();
    assert!(missing.is_empty(), "nobody died at {missing:?}");
    campaign.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_works() {
    crew::child();
}

#[test]
#[ignore = "runs in a child"]
fn child_dies() {
    victim::child();
}
