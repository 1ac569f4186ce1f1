//! A camera of 60 frames of 1080p in a second, and a viewer in another process, no copies.
//!
//! The parent makes a ring of eight frames, starts its own program again with the ring's handle as
//! the argument, and publishes frames for two seconds. The viewer takes the newest frame, prints
//! how many it saw in a second, after what time, and how many it missed.

use ndarray::{Ix3, s};
use ndshm::{Handle, Manager, Ring};
use std::{
    env,
    error::Error,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

const SHAPE: (usize, usize, usize) = (1080, 1920, 3);
const FRAMES: u32 = 120;
const PAUSE: Duration = Duration::from_nanos(1_000_000_000 / 60);

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        Some(handle) => viewer(&handle),
        None => camera(),
    }
}

fn camera() -> Result<(), Box<dyn Error>> {
    let manager = Manager::new()?;
    let ring = manager.options().name("camera").ring::<u8, _>(SHAPE, 8)?;
    let mut viewer = Command::new(env::current_exe()?)
        .arg(ring.handle().to_string())
        .spawn()?;
    let mut producer = ring.produce()?;
    producer.wait_subscribers(1, Duration::from_secs(10))?;
    let start = Instant::now();
    for number in 1..=FRAMES {
        let due = start + PAUSE * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut frame = producer.next()?;
        frame.fill(number as u8); // a camera's driver writes here
        frame.publish()?;
    }
    producer.finish()?;
    match viewer.wait()?.success() {
        true => Ok(()),
        false => Err("the viewer failed".into()),
    }
}

fn viewer(handle: &str) -> Result<(), Box<dyn Error>> {
    let ring: Ring<u8, Ix3> = handle.parse::<Handle>()?.open_ring()?;
    let mut subscriber = ring.subscribe()?;
    let (mut latencies, mut first) = (Vec::new(), None);
    for frame in subscriber.iter() {
        let frame = frame?;
        latencies.push(
            SystemTime::now()
                .duration_since(frame.time())
                .unwrap_or_default(),
        );
        let start = *first.get_or_insert_with(Instant::now);
        // The frame is an array of ndarray, and is not overwritten while it is held.
        let corners = frame.slice(s![..;1079, ..;1919, 0]);
        if corners.iter().any(|&pixel| pixel != frame.number() as u8) {
            return Err(format!("frame {} is not whole", frame.number()).into());
        }
        if frame.number() == u64::from(FRAMES) {
            let fps = (latencies.len() - 1) as f64 / start.elapsed().as_secs_f64();
            print!("{fps:.1} frames/s; ");
        }
    }
    latencies.sort();
    println!(
        "latency: median {:.0?}, worst {:.0?}; missed: {}",
        latencies.get(latencies.len() / 2).ok_or("no frame came")?,
        latencies.last().ok_or("no frame came")?,
        subscriber.missed()
    );
    Ok(())
}
