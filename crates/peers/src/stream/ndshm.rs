//! Rings of this library, as its users call them.

use super::link::{FRAMES, Options, Receiver, Sender};
use crate::peer::Result;
use ndarray::Ix1;
use ndshm::{Manager, Producer, Ring, Subscriber};
use std::time::Duration;

/// For how long a subscriber of a variant that spins spins: longer than any pause of a run.
const SPIN: Duration = Duration::from_secs(100);

fn ring(options: &Options, stream: &str) -> Result<Ring<u8, Ix1>> {
    let manager = Manager::open(&options.store)?;
    let settings = manager
        .options()
        .name(options.name(stream))
        .max_subscribers(options.consumers.max(64));
    Ok(settings.open_or_ring(options.bytes, FRAMES)?)
}

/// The turn to produce.
pub struct RingSender(Producer<u8, Ix1>);

impl Sender for RingSender {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        Ok(Self(ring(options, stream)?.produce()?))
    }

    fn send<T>(
        &mut self,
        ready: impl FnOnce() -> Result<T>,
        write: impl FnOnce(&mut [u8], &T),
    ) -> Result<T> {
        let mut frame = self.0.next()?;
        let value = ready()?;
        write(frame.as_slice_mut().ok_or("a frame is contiguous")?, &value);
        frame.publish()?;
        Ok(value)
    }
}

/// A subscription.
pub struct RingReceiver(Subscriber<u8, Ix1>);

impl Receiver for RingReceiver {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        let ring = ring(options, stream)?;
        let mut subscriber = match options.variant.is_lossless {
            true => ring.subscribe_lossless()?,
            false => ring.subscribe()?,
        };
        if options.variant.is_spinning {
            subscriber.spin(SPIN);
        }
        Ok(Self(subscriber))
    }

    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let frame = self.0.next()?.ok_or("the stream ended")?;
        Ok(read(frame.as_slice().ok_or("a frame is contiguous")?))
    }
}
