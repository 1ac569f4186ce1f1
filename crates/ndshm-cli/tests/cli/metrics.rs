//! `metrics`: the page for Prometheus, printed and served.

use crate::fixture::{self, Fixture};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

/// The figures of a page by name and labels, without the label of the root.
fn figures(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let figures = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let root = name.find("root=\"").map(|start| {
            let end = start + 6 + name[start + 6..].find('"').unwrap() + 1;
            start..end + usize::from(name[end..].starts_with(','))
        });
        let mut name = name.to_owned();
        if let Some(range) = root {
            name.replace_range(range, "");
        }
        (name, value.parse().unwrap())
    });
    figures.collect()
}

fn user() -> String {
    format!("user=\"{}\"", rustix::process::geteuid().as_raw())
}

#[test]
fn guards_waiters_poison_and_the_dead_are_counted() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[6]);
    let _ys = fixture.arange("ys", &[10_000]);
    let mut writer = fixture::start_a_writer(&fixture);
    let of_run = |figure: &str, page: &str| {
        let labels = match figure.split_once('/') {
            Some((name, kind)) => format!("{name}{{kind=\"{kind}\",store=\"run\",{}}}", user()),
            None => format!("{figure}{{store=\"run\",{}}}", user()),
        };
        *figures(page)
            .get(&labels)
            .unwrap_or_else(|| panic!("{labels} in {page}"))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(xs.read_bytes().is_err(), "the writer died in it"));
        let page = loop {
            let page = fixture.output("metrics");
            if of_run("ndshm_store_waiters", &page) == 1.0 {
                break page;
            }
        };
        assert_eq!(of_run("ndshm_store_guards/write", &page), 1.0);
        assert_eq!(of_run("ndshm_store_guards/read", &page), 0.0);
        assert_eq!(of_run("ndshm_store_arrays", &page), 2.0);
        assert_eq!(of_run("ndshm_store_persistent", &page), 1.0);
        assert!(of_run("ndshm_store_bytes", &page) >= 80_000.0);
        assert!(of_run("ndshm_store_members", &page) >= 2.0);
        assert_eq!(of_run("ndshm_store_poisoned_arrays", &page), 0.0);
        writer.kill();
    });
    fixture::leave_a_dead_store(&fixture);
    let page = fixture.output("metrics");
    assert_eq!(of_run("ndshm_store_poisoned_arrays", &page), 1.0);
    let found = figures(&page);
    let of_dead = |name: &str| found[&format!("{name}{{store=\"dead\",{}}}", user())];
    assert_eq!(of_dead("ndshm_store_dead"), 1.0);
    assert!(of_dead("ndshm_store_dead_bytes") >= 8000.0);
    assert_eq!(found[&format!("ndshm_stores{{{}}}", user())], 2.0);

    let totals = figures(&fixture.output("metrics --totals"));
    assert_eq!(totals[&format!("ndshm_store_arrays{{{}}}", user())], 3.0);
    let one = fixture.output("metrics run");
    assert!(!one.contains("dead\""), "{one}");
}

#[test]
fn every_figure_has_a_line_of_help_and_a_type() {
    let fixture = Fixture::new();
    let page = fixture.output("metrics");
    for name in figures(&page).keys() {
        let name = name.split('{').next().unwrap();
        assert!(page.contains(&format!("# HELP {name} ")), "{name}");
        assert!(page.contains(&format!("# TYPE {name} gauge")), "{name}");
    }
}

/// The tool serves the page until this is dropped.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(fixture: &Fixture) -> Self {
        let mut process = Command::new(snapbox::cmd::cargo_bin!("ndshm"))
            .args(["metrics", "--listen", "127.0.0.1:0"])
            .env("NDSHM_ROOT", fixture.root.path())
            .env_remove("NDSHM_STORE")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stderr = process.stderr.take().unwrap();
        BufReader::new(stderr).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ndshm: serving http://");
        let address = address.and_then(|rest| rest.strip_suffix("/metrics"));
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process, address }
    }

    /// The status and the body of an answer.
    fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_served_page_is_that_of_the_moment() {
    let fixture = Fixture::new();
    let served = Served::start(&fixture);
    let arrays = || {
        let (status, page) = served.ask("GET /metrics");
        assert_eq!(status, 200);
        figures(&page)[&format!("ndshm_store_arrays{{store=\"run\",{}}}", user())]
    };
    assert_eq!(arrays(), 0.0);
    let _xs = fixture.arange("xs", &[6]);
    // A reader that says nothing and one that leaves in the middle keep no other one waiting.
    let _silent = TcpStream::connect(&served.address).unwrap();
    let mut hasty = TcpStream::connect(&served.address).unwrap();
    hasty.write_all(b"GET /met").unwrap();
    drop(hasty);
    assert_eq!(arrays(), 1.0);
    assert_eq!(served.ask("HEAD /metrics").0, 200);
    assert_eq!(served.ask("GET /").0, 200);
    assert_eq!(served.ask("GET /other").0, 404);
    assert_eq!(served.ask("DELETE /metrics").0, 405);
}

#[test]
fn a_wrong_address_and_json_are_refused_with_advice() {
    let fixture = Fixture::new();
    let (error, code) = fixture.failure("metrics --listen nowhere");
    assert_eq!(code, 2);
    assert!(error.contains("127.0.0.1:9897"), "{error}");
    // An address that is no machine's.
    let (error, code) = fixture.failure("metrics --listen 192.0.2.1:9897");
    assert_eq!(code, 1);
    assert!(error.contains("192.0.2.1:9897"), "{error}");
    let (error, code) = fixture.failure("--json metrics");
    assert_eq!(code, 2);
    assert!(error.contains("ndshm ls --json"), "{error}");
}
