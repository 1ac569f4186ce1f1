//! The processes of one variant of a section, from the driver's side.

use super::{
    link::Options,
    variants::{Library, Variant},
};
use crate::{
    peer::{Place, Result},
    python::Python,
    worker::Worker,
};
use std::{collections::HashMap, path::PathBuf, process::Command};

/// What all teams of a run share.
pub struct Run {
    /// Where files go.
    pub place: Place,
    /// The interpreter of the scripts.
    pub python: Python,
    /// A store of ndshm.
    pub store: PathBuf,
    /// Whether little is measured.
    pub is_quick: bool,
}

/// The figures of an answer by their names.
pub type Answer = HashMap<String, Vec<f64>>;

/// The first figure of this name.
pub fn figure(answer: &Answer, name: &str) -> Result<f64> {
    let figure = answer.get(name).and_then(|figures| figures.first());
    Ok(*figure.ok_or_else(|| format!("the answer has no {name}"))?)
}

/// The processes of a variant. A drop ends them.
pub struct Team {
    pub variant: &'static Variant,
    pub workers: Vec<Worker>,
}

impl Team {
    /// Starts a process for each role, and waits until all are ready.
    pub fn start(
        run: &Run,
        variant: &'static Variant,
        roles: &[String],
        bytes: usize,
        consumers: usize,
    ) -> Result<Self> {
        let options = Options {
            variant,
            bytes,
            consumers,
            place: run.place.clone(),
            store: run.store.clone(),
        };
        let log = run.place.directory.join(format!("{}.log", variant.name));
        let mut workers = Vec::new();
        // A script starts its other process itself.
        let is_script = variant.library == Library::Python;
        for role in &roles[..if is_script { 1 } else { roles.len() }] {
            let mut command = match is_script {
                true => run.python.streams(),
                false => Command::new(std::env::current_exe()?),
            };
            command
                .args(["part", variant.name, role])
                .args([bytes.to_string(), consumers.to_string()])
                .arg(&options.place.directory)
                .arg(&options.store)
                .env("TMPDIR", &run.place.directory)
                .env("PYSHMEM_LOCK_DIR", &run.place.directory);
            workers.push(Worker::spawn(command, &log)?);
        }
        let mut team = Self { variant, workers };
        team.work(&vec!["ready".to_owned(); roles.len()])?;
        Ok(team)
    }

    /// Ends the jobs, without waiting for the end of the processes.
    pub fn dismiss(&mut self) {
        self.workers.iter_mut().for_each(Worker::dismiss);
    }

    /// Gives each process a job, the last one first, and waits for all answers.
    pub fn work(&mut self, jobs: &[String]) -> Result<Vec<Answer>> {
        for (worker, job) in self.workers.iter_mut().zip(jobs).rev() {
            worker.send(job)?;
        }
        let answers = self.workers.iter_mut().map(Worker::answer);
        answers.map(|lines| parse(&lines?)).collect()
    }
}

fn parse(lines: &[String]) -> Result<Answer> {
    let parse = |line: &String| {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let figures = words.map(str::parse).collect::<Result<_, _>>()?;
        Ok((name, figures))
    };
    lines.iter().map(parse).collect()
}
