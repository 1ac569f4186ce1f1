//! A Unix socket for each receiver, through which whole frames are copied.

use super::link::{Options, Receiver, Sender};
use crate::peer::Result;
use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::{Duration, Instant},
};

/// How long a receiver waits for the sender's socket.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sockets of all receivers, and a frame to write.
pub struct SocketSender {
    listener: UnixListener,
    receivers: Vec<UnixStream>,
    count: usize,
    frame: Vec<u8>,
}

impl SocketSender {
    fn write(&mut self, frame: &[u8]) -> Result<()> {
        while self.receivers.len() < self.count {
            self.receivers.push(self.listener.accept()?.0);
        }
        for receiver in &mut self.receivers {
            receiver.write_all(frame)?;
        }
        Ok(())
    }
}

impl Sender for SocketSender {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        Ok(Self {
            listener: UnixListener::bind(options.path(stream))?,
            receivers: Vec::new(),
            count: options.consumers,
            frame: vec![0; options.bytes],
        })
    }

    fn send<T>(
        &mut self,
        ready: impl FnOnce() -> Result<T>,
        write: impl FnOnce(&mut [u8], &T),
    ) -> Result<T> {
        let value = ready()?;
        let mut frame = std::mem::take(&mut self.frame);
        write(&mut frame, &value);
        let written = self.write(&frame);
        self.frame = frame;
        written.map(|()| value)
    }

    fn send_copy(&mut self, source: &Vec<u8>) -> Result<()> {
        self.write(source)
    }
}

/// A socket, and the frame that was read.
pub struct SocketReceiver {
    sender: UnixStream,
    frame: Vec<u8>,
}

impl Receiver for SocketReceiver {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let sender = loop {
            match UnixStream::connect(options.path(stream)) {
                Ok(sender) => break sender,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        };
        Ok(Self {
            sender,
            frame: vec![0; options.bytes],
        })
    }

    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.sender.read_exact(&mut self.frame)?;
        Ok(read(&self.frame))
    }
}
