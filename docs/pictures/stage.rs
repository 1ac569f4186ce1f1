//! The scene of the pictures: stores with arrays, and processes that use them. `docs/pictures/make`
//! starts one process of this program for each part.
//!
//! A process plays its part, prints `ready`, and runs until its standard input ends or it is
//! killed.

use ndarray::{Axis, s};
use ndshm::{Manager, Scope};
use std::io::Read;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let part = std::env::args()
        .nth(1)
        .ok_or("start docs/pictures/make: it starts this with the name of a part")?;
    // The name of this process in `ls` and `top`.
    std::fs::write("/proc/self/comm", &part)?;
    match &part[..] {
        "survey" => survey()?,
        "pipeline" => pipeline()?,
        "camera" => {
            let frames = open("pipeline")?.array::<f32, ndarray::Ix3>("frames")?;
            let (seventh, eighth) = (
                frames.index_axis(Axis(0), 7)?,
                frames.index_axis(Axis(0), 8)?,
            );
            let _guards = (seventh.write()?, eighth.write()?);
            stay()?;
        }
        "viewer" => {
            let buoy = open("survey")?.array::<f32, ndarray::Ix1>("buoy")?;
            let start = buoy.slice(s![..100_000])?;
            let _guard = start.read()?;
            stay()?;
        }
        // Waits for a guard of the camera.
        "denoiser" => {
            let frames = open("pipeline")?.array::<f32, ndarray::Ix3>("frames")?;
            println!("ready");
            drop(frames.index_axis(Axis(0), 7)?.write());
        }
        "solver" => {
            let manager = open("pipeline")?;
            let field = manager.array::<f64, ndarray::Ix2>("field")?;
            let _scratch = manager
                .options()
                .name("scratch")
                .scope(Scope::Local)
                .zeros::<f64, _>((4, 250_000))?;
            let rows = field.slice(s![40..60, ..])?;
            let mut guard = rows.write()?;
            guard.fill(0.5);
            stay()?;
        }
        "trainer" => {
            let manager = Manager::builder().name("epoch-3").create()?;
            let _weights = manager
                .options()
                .name("weights")
                .zeros::<f32, _>((64, 256, 1024))?;
            let _labels = manager.options().name("labels").zeros::<u8, _>(600_000)?;
            stay()?;
        }
        _ => return Err(format!("no part is called {part}").into()),
    }
    Ok(())
}

/// Hills and a lake, and the measurements of a buoy, in a persistent store.
fn survey() -> ndshm::Result<()> {
    const HILLS: [(f64, f64, f64, f64); 6] = [
        (0.25, 0.3, 0.16, 900.0),
        (0.7, 0.22, 0.1, 650.0),
        (0.55, 0.7, 0.2, 1100.0),
        (0.12, 0.8, 0.12, 500.0),
        (0.9, 0.75, 0.14, 760.0),
        (0.45, 0.4, 0.09, -420.0),
    ];
    let height = |(row, column): (usize, usize)| {
        let (y, x) = (row as f64 / 600.0, column as f64 / 900.0);
        let hills: f64 = HILLS
            .iter()
            .map(|&(at_x, at_y, width, height)| {
                height * (-((x - at_x).powi(2) + (y - at_y).powi(2)) / (width * width)).exp()
            })
            .sum();
        (hills + 40.0 * (9.0 * x + 3.0 * y).sin() * (7.0 * y - 2.0 * x).cos() + 180.0) as f32
    };
    let manager = Manager::builder().name("survey").persistent().create()?;
    let attrs = std::collections::BTreeMap::from([("unit", "m"), ("source", "laser scan")]);
    let elevation = manager
        .options()
        .name("elevation")
        .attrs(&attrs)?
        .axis_names(["y", "x"])
        .from_shape_fn((600, 900), height)?;
    elevation.freeze()?;
    let mut noise = 1u64;
    let wave = |at: usize| {
        noise = noise
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let (time, noise) = (
            at as f64 / 1e6,
            (noise >> 40) as f64 / (1 << 24) as f64 - 0.5,
        );
        let swell = (-((time - 0.62) / 0.12).powi(2)).exp() * 3.0 + 0.6;
        (0.8 * (8.0 * time).sin() + swell * (noise + 0.15 * (60.0 * time).sin())) as f32
    };
    let buoy = manager
        .options()
        .name("buoy")
        .attrs(&std::collections::BTreeMap::from([("unit", "m")]))?;
    buoy.from_shape_fn(1_000_000, wave)?;
    println!("ready");
    Ok(())
}

/// The ephemeral store of a run, which lives as long as this process.
fn pipeline() -> ndshm::Result<()> {
    let manager = Manager::builder().name("pipeline").create()?;
    let _frames = manager
        .options()
        .name("frames")
        .zeros::<f32, _>((24, 540, 960))?;
    let _field = manager
        .options()
        .name("field")
        .from_shape_fn::<f64, _>((400, 600), |(y, x)| {
            (y as f64 / 60.0).sin() + (x as f64 / 90.0).cos()
        })?;
    let _done = manager.options().name("done").zeros::<u8, _>(24)?;
    stay()
}

fn open(store: &str) -> ndshm::Result<Manager> {
    Manager::builder().name(store).open()
}

fn stay() -> ndshm::Result<()> {
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}
