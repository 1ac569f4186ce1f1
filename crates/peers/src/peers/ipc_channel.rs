//! `ipc-channel`: memory without a name, whose descriptor travels through a socket.

use crate::{
    bytes::{bytes_of, elements_of},
    peer::{Peer, Place, Result, Role},
};
use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory};

/// One end of a channel of shared memory.
pub struct IpcChannel {
    server: Option<IpcOneShotServer<IpcSender<IpcSharedMemory>>>,
    name: String,
    sender: Option<IpcSender<IpcSharedMemory>>,
    receiver: Option<IpcReceiver<IpcSharedMemory>>,
}

impl Peer for IpcChannel {
    type Made = IpcSharedMemory;
    type Opened = IpcSharedMemory;

    fn new(role: Role, _place: &Place, greeting: &str) -> Result<Self> {
        if role == Role::Producer {
            let (server, name) = IpcOneShotServer::new()?;
            return Ok(Self {
                server: Some(server),
                name,
                sender: None,
                receiver: None,
            });
        }
        let (sender, receiver) = ipc::channel()?;
        IpcSender::connect(greeting.into())?.send(sender)?;
        Ok(Self {
            server: None,
            name: String::new(),
            sender: None,
            receiver: Some(receiver),
        })
    }

    fn greeting(&self) -> String {
        self.name.clone()
    }

    fn meet(&mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            self.sender = Some(server.accept()?.1);
        }
        Ok(())
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<IpcSharedMemory> {
        Ok(IpcSharedMemory::from_bytes(bytes_of(source)))
    }

    /// The crate cannot make memory without filling it.
    fn create_empty(&mut self, len: usize) -> Result<Option<IpcSharedMemory>> {
        Ok(Some(IpcSharedMemory::from_byte(0, len * 8)))
    }

    fn publish(&mut self, made: &mut IpcSharedMemory) -> Result<String> {
        self.sender
            .as_ref()
            .ok_or("the consumer has not connected")?
            .send(made.clone())?;
        Ok("-".into())
    }

    fn release(&mut self, made: IpcSharedMemory) -> Result<()> {
        drop(made);
        Ok(())
    }

    fn open(&mut self, _token: &str, _len: usize) -> Result<IpcSharedMemory> {
        Ok(self
            .receiver
            .as_ref()
            .ok_or("only a consumer opens")?
            .recv()?)
    }

    fn again(&mut self, held: &mut IpcSharedMemory, token: &str) -> Result<()> {
        *held = self.open(token, 0)?;
        Ok(())
    }

    fn read<R>(
        &mut self,
        opened: &mut IpcSharedMemory,
        reader: impl FnOnce(&[f64]) -> R,
    ) -> Result<R> {
        Ok(reader(elements_of(opened)))
    }
}
