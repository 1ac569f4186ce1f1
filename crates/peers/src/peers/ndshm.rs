//! This library, as its users call it.

use crate::peer::{Peer, Place, Result, Role};
use ndarray::{Ix1, aview1};
use ndshm::{Handle, Manager, SharedArray1};
use std::path::Path;

/// The files of released arrays that are kept for reuse: those that the library keeps by itself.
pub const DEFAULT: u8 = 0;
/// All, more than any measurement releases at once.
pub const RECYCLED: u8 = 1;
/// None.
pub const FRESH: u8 = 2;

/// A new ephemeral store in `root`. The only code that defines the variants.
pub fn manager(root: &Path, kept: u8) -> Result<Manager> {
    let builder = Manager::builder().root(root.join("stores"));
    let builder = match kept {
        RECYCLED => builder.recycle(4 << 30),
        FRESH => builder.recycle(0),
        _ => builder,
    };
    Ok(builder.create()?)
}

/// Arrays of one store.
pub struct Ndshm<const KEPT: u8> {
    manager: Manager,
}

impl<const KEPT: u8> Peer for Ndshm<KEPT> {
    type Made = SharedArray1<f64>;
    type Opened = SharedArray1<f64>;

    fn new(role: Role, place: &Place, greeting: &str) -> Result<Self> {
        let manager = match role {
            Role::Producer => manager(&place.directory, KEPT)?,
            Role::Consumer => Manager::open(greeting)?,
        };
        Ok(Self { manager })
    }

    fn greeting(&self) -> String {
        self.manager.path().display().to_string()
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<Self::Made> {
        Ok(self.manager.from_ndarray(&aview1(source))?)
    }

    fn create_empty(&mut self, len: usize) -> Result<Option<Self::Made>> {
        Ok(Some(self.manager.empty(len)?))
    }

    fn publish(&mut self, made: &mut Self::Made) -> Result<String> {
        Ok(made.handle().to_string())
    }

    fn release(&mut self, made: Self::Made) -> Result<()> {
        drop(made);
        Ok(())
    }

    fn open(&mut self, token: &str, _len: usize) -> Result<Self::Opened> {
        Ok(token.parse::<Handle>()?.open::<f64, Ix1>()?)
    }

    fn again(&mut self, held: &mut Self::Opened, token: &str) -> Result<()> {
        *held = token.parse::<Handle>()?.open()?;
        Ok(())
    }

    fn read<R>(
        &mut self,
        opened: &mut Self::Opened,
        reader: impl FnOnce(&[f64]) -> R,
    ) -> Result<R> {
        let guard = opened.read()?;
        Ok(reader(
            guard.as_slice().ok_or("the elements are contiguous")?,
        ))
    }
}
