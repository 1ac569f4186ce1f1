//! A proxy before a server, which harms the requests that a test chooses.

use rustix::{
    net::sockopt::set_socket_linger,
    process::{Pid, Signal, kill_process},
};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

/// A request, as a plan knows it.
pub struct Request<'a> {
    /// Its number among all requests since the plan was made.
    pub number: usize,
    pub method: &'a str,
    /// The path and the query.
    pub target: &'a str,
}

impl Request<'_> {
    /// Whether it writes the object of a chunk.
    pub fn writes_a_chunk(&self) -> bool {
        self.method == "PUT" && self.target.contains("/c/")
    }
}

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    /// Passes it on.
    None,
    /// Answers by itself, with a status and the code of S3.
    Answer(&'static str, &'static str),
    /// Closes the connection without an answer; the server does not see the request.
    Refuse,
    /// Passes it on, and resets the connection instead of answering.
    Lose,
    /// Passes it on, and closes the connection amid the answer.
    Cut,
    /// Passes it on, and the answer in pieces of so many bytes, one each millisecond.
    Slow(usize),
    /// Passes it on, and changes the last byte of the answer.
    Flip,
    /// Does not answer while the proxy lasts.
    Hang,
    /// Kills the client before the server sees the request.
    KillBefore,
    /// Kills the client when half of the request's body is with the server, or half of the answer
    /// with the client.
    KillAmid,
    /// Kills the client when the server has answered, and the client has no answer.
    KillAfter,
}

type Choice = dyn Fn(&Request<'_>) -> Harm + Send + Sync;

struct Plan {
    choice: Box<Choice>,
    requests: AtomicUsize,
}

struct State {
    server: u16,
    plan: Mutex<Arc<Plan>>,
    victim: Mutex<Option<Pid>>,
    is_over: AtomicBool,
    hung: Mutex<()>,
    end: Condvar,
}

pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            server,
            plan: Mutex::new(plan(|_| Harm::None)),
            victim: Mutex::new(None),
            is_over: AtomicBool::new(false),
            hung: Mutex::new(()),
            end: Condvar::new(),
        });
        let shared = state.clone();
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(SeqCst) {
                    return;
                }
                let shared = shared.clone();
                // A client that is gone is no failure of the proxy.
                std::thread::spawn(move || drop(shared.serve(stream.unwrap())));
            }
        });
        Self {
            port,
            state,
            accepting: Some(accepting),
        }
    }

    /// From now on harms requests by this choice.
    pub fn plan(&self, choice: impl Fn(&Request<'_>) -> Harm + Send + Sync + 'static) {
        *self.state.plan.lock().unwrap() = plan(choice);
    }

    /// Starts a process that the plan may kill: no request of it is looked at before its pid is
    /// known.
    pub fn victim(&self, start: impl FnOnce() -> std::process::Child) -> std::process::Child {
        let mut victim = self.state.victim.lock().unwrap();
        let child = start();
        *victim = Some(Pid::from_child(&child));
        child
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, SeqCst);
        drop(self.state.hung.lock().unwrap());
        self.state.end.notify_all();
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        drop(self.accepting.take().map(JoinHandle::join));
    }
}

fn plan(choice: impl Fn(&Request<'_>) -> Harm + Send + Sync + 'static) -> Arc<Plan> {
    Arc::new(Plan {
        choice: Box::new(choice),
        requests: AtomicUsize::new(0),
    })
}

impl State {
    /// Serves one request; both sides close their connections after it.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let (head, body) = request_of(&mut client)?;
        let text = String::from_utf8(head).unwrap();
        let mut words = text.split(' ');
        let plan = self.plan.lock().unwrap().clone();
        let harm = (plan.choice)(&Request {
            number: plan.requests.fetch_add(1, SeqCst),
            method: words.next().unwrap(),
            target: words.next().unwrap(),
        });
        match harm {
            Harm::Refuse => return Ok(()),
            Harm::Answer(status, code) => {
                let body = format!(
                    "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test \
                     says</Message></Error>"
                );
                let len = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: \
                     application/xml\r\ncontent-length: {len}\r\n\r\n{body}"
                );
                return client.write_all(answer.as_bytes());
            }
            Harm::Hang => {
                let mut hung = self.hung.lock().unwrap();
                while !self.is_over.load(SeqCst) {
                    hung = self.end.wait(hung).unwrap();
                }
                return Ok(());
            }
            Harm::KillBefore => {
                self.kill();
                return Ok(());
            }
            _ => {}
        }
        let is_amid_body = harm == Harm::KillAmid && !body.is_empty();
        let mut server = TcpStream::connect(("127.0.0.1", self.server))?;
        server.write_all(closing(&text).as_bytes())?;
        if is_amid_body {
            server.write_all(&body[..body.len() / 2])?;
            self.kill();
            return server.shutdown(Shutdown::Both);
        }
        server.write_all(&body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        let end = head_len(&answer).unwrap();
        let head = closing(str::from_utf8(&answer[..end]).unwrap());
        let body = &mut answer[end..];
        match harm {
            Harm::Lose => {
                return set_socket_linger(&client, Some(Duration::ZERO)).map_err(Into::into);
            }
            Harm::KillAfter => {
                self.kill();
                return Ok(());
            }
            Harm::Flip => {
                if let Some(last) = body.last_mut() {
                    *last ^= 1;
                }
            }
            _ => {}
        }
        if matches!(harm, Harm::Cut | Harm::KillAmid) {
            match body.is_empty() {
                true => client.write_all(&head.as_bytes()[..head.len() / 2])?,
                false => {
                    client.write_all(head.as_bytes())?;
                    client.write_all(&body[..body.len() / 2])?;
                }
            }
            if harm == Harm::KillAmid {
                self.kill();
            }
            return Ok(());
        }
        client.write_all(head.as_bytes())?;
        let Harm::Slow(len) = harm else {
            return client.write_all(body);
        };
        for piece in body.chunks(len) {
            client.write_all(piece)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn kill(&self) {
        let victim = self.victim.lock().unwrap().unwrap();
        kill_process(victim, Signal::KILL).unwrap();
    }
}

/// The head and the body of the request that comes next.
fn request_of(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut read = Vec::new();
    let mut piece = [0; 64 << 10];
    loop {
        if let Some(end) = head_len(&read) {
            let head = str::from_utf8(&read[..end]).unwrap().to_lowercase();
            let len = head.split("\r\n").find_map(|line| {
                line.strip_prefix("content-length:")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            if read.len() >= end + len.unwrap_or(0) {
                let body = read.split_off(end);
                return Ok((read, body));
            }
        }
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => read.extend_from_slice(&piece[..len]),
        }
    }
}

/// The length of a head with the empty line at its end.
fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// The same head, of a connection that ends after its message.
fn closing(head: &str) -> String {
    let lines = head.trim_end().split("\r\n");
    let kept = lines.filter(|line| !line.to_lowercase().starts_with("connection:"));
    let kept: Vec<&str> = kept.collect();
    format!("{}\r\nconnection: close\r\n\r\n", kept.join("\r\n"))
}
