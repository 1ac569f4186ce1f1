//! iceoryx2: publish-subscribe, polled or with an event beside each sample.

use super::link::{FRAMES, Options, Receiver, Sender};
use crate::{peer::Result, peers::iceoryx2::node};
use iceoryx2::{
    node::Node,
    port::{listener::Listener, notifier::Notifier, publisher::Publisher, subscriber::Subscriber},
    prelude::*,
    sample_mut::SampleMut,
    sample_mut_uninit::SampleMutUninit,
    service::port_factory::{event, publish_subscribe},
};
use std::{hint::spin_loop, mem::MaybeUninit};

type Services = (
    publish_subscribe::PortFactory<ipc::Service, [u8], ()>,
    event::PortFactory<ipc::Service>,
);

/// The services of a stream.
fn services(node: &Node<ipc::Service>, options: &Options, stream: &str) -> Result<Services> {
    let name = format!("{}/{}", options.place.prefix(), options.name(stream));
    let is_lossless = options.variant.is_lossless;
    let samples = node
        .service_builder(&ServiceName::new(&name)?)
        .publish_subscribe::<[u8]>()
        .max_publishers(1)
        .max_subscribers(options.consumers)
        .history_size(0)
        .enable_safe_overflow(!is_lossless)
        .subscriber_max_buffer_size(if is_lossless { FRAMES } else { 1 })
        .subscriber_max_borrowed_samples(2)
        .open_or_create()?;
    let event = node
        .service_builder(&ServiceName::new(&name)?)
        .event()
        .max_listeners(options.consumers)
        .max_notifiers(1)
        .open_or_create()?;
    Ok((samples, event))
}

/// A publisher, and a notifier where receivers sleep.
pub struct SampleSender {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    bytes: usize,
    _services: Services,
    _node: Node<ipc::Service>,
}

impl Sender for SampleSender {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        let node = node(&options.place)?;
        let services = services(&node, options, stream)?;
        let publisher = services
            .0
            .publisher_builder()
            .initial_max_slice_len(options.bytes)
            .max_loaned_samples(2)
            .backpressure_strategy(if options.variant.is_lossless {
                BackpressureStrategy::RetryUntilDelivered
            } else {
                BackpressureStrategy::DiscardData
            })
            .create()?;
        let notifier = match options.variant.is_spinning {
            true => None,
            false => Some(services.1.notifier_builder().create()?),
        };
        Ok(Self {
            publisher,
            notifier,
            bytes: options.bytes,
            _services: services,
            _node: node,
        })
    }

    fn send<T>(
        &mut self,
        ready: impl FnOnce() -> Result<T>,
        write: impl FnOnce(&mut [u8], &T),
    ) -> Result<T> {
        let sample = self.publisher.loan_slice_uninit(self.bytes)?;
        let value = ready()?;
        let mut sample = assume_written(sample);
        write(sample.payload_mut(), &value);
        sample.send()?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(value)
    }
}

/// A subscriber, and a listener where it sleeps.
pub struct SampleReceiver {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Listener<ipc::Service>>,
    _services: Services,
    _node: Node<ipc::Service>,
}

impl Receiver for SampleReceiver {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        let node = node(&options.place)?;
        let services = services(&node, options, stream)?;
        let listener = match options.variant.is_spinning {
            true => None,
            false => Some(services.1.listener_builder().create()?),
        };
        Ok(Self {
            subscriber: services.0.subscriber_builder().create()?,
            listener,
            _services: services,
            _node: node,
        })
    }

    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                return Ok(read(sample.payload()));
            }
            match &self.listener {
                Some(listener) => {
                    listener.blocking_wait(|_| {})?;
                }
                None => spin_loop(),
            }
        }
    }
}

/// A loaned sample as an initialized one.
#[allow(
    unsafe_code,
    reason = "the crate leaves it to the caller that all elements are initialized"
)]
fn assume_written(
    sample: SampleMutUninit<ipc::Service, [MaybeUninit<u8>], ()>,
) -> SampleMut<ipc::Service, [u8], ()> {
    // SAFETY: the memory is a shared mapping, whose bytes all have a value.
    unsafe { sample.assume_init() }
}
