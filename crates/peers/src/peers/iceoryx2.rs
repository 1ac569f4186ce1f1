//! `iceoryx2`: samples that a publisher loans from its data segment and sends to a subscriber.
//!
//! A sample is sent once, so each measurement takes a new one. The segment holds as many samples of
//! the wanted length as are in use at the same time; it is made before the measurement, as a user
//! of a publisher would.

use crate::peer::{Peer, Place, Result, Role};
use iceoryx2::{
    node::Node,
    port::{publisher::Publisher, subscriber::Subscriber},
    prelude::*,
    sample::Sample,
    sample_mut::SampleMut,
    service::port_factory::publish_subscribe::PortFactory,
};

/// How often a consumer looks for an announced sample.
const LOOKS: usize = 10_000_000;

/// A node, and the service and port for the length that is measured.
pub struct Iceoryx2 {
    role: Role,
    prefix: String,
    publisher: Option<Publisher<ipc::Service, [f64], ()>>,
    subscriber: Option<Subscriber<ipc::Service, [f64], ()>>,
    service: Option<PortFactory<ipc::Service, [f64], ()>>,
    node: Node<ipc::Service>,
}

/// A node whose files and names are in the place.
pub fn node(place: &Place) -> Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(
        place
            .directory
            .join("iceoryx2")
            .as_os_str()
            .as_encoded_bytes(),
    )?);
    config.global.prefix = FileName::new(format!("{}-iox2-", place.prefix()).as_bytes())?;
    Ok(NodeBuilder::new()
        .config(&config)
        .create::<ipc::Service>()?)
}

impl Peer for Iceoryx2 {
    type Made = Option<SampleMut<ipc::Service, [f64], ()>>;
    type Opened = Sample<ipc::Service, [f64], ()>;
    const RESENDS: bool = false;

    fn new(role: Role, place: &Place, _greeting: &str) -> Result<Self> {
        let node = node(place)?;
        Ok(Self {
            role,
            prefix: place.prefix(),
            publisher: None,
            subscriber: None,
            service: None,
            node,
        })
    }

    fn prepare(&mut self, len: usize, arrays: usize) -> Result<()> {
        self.finish();
        let name = ServiceName::new(&format!("{}/{len}/{arrays}", self.prefix))?;
        let service = self
            .node
            .service_builder(&name)
            .publish_subscribe::<[f64]>()
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .subscriber_max_buffer_size(arrays)
            .subscriber_max_borrowed_samples(arrays)
            .open_or_create()?;
        match self.role {
            Role::Producer => {
                let publisher = service
                    .publisher_builder()
                    .initial_max_slice_len(len)
                    .max_loaned_samples(arrays);
                self.publisher = Some(
                    publisher
                        .override_sample_preallocation(move |_| arrays)
                        .create()?,
                );
            }
            Role::Consumer => self.subscriber = Some(service.subscriber_builder().create()?),
        }
        self.service = Some(service);
        Ok(())
    }

    fn finish(&mut self) {
        self.publisher = None;
        self.subscriber = None;
        self.service = None;
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<Self::Made> {
        let publisher = self.publisher.as_ref().ok_or("not prepared")?;
        Ok(Some(
            publisher
                .loan_slice_uninit(source.len())?
                .write_from_slice(source),
        ))
    }

    fn create_empty(&mut self, len: usize) -> Result<Option<Self::Made>> {
        let publisher = self.publisher.as_ref().ok_or("not prepared")?;
        let mut sample = publisher.loan_slice_uninit(len)?;
        // Write one element for the consumer to read; the others are the zeros of a new segment.
        sample.payload_mut()[0].write(0.0);
        Ok(Some(Some(assume_zeros(sample))))
    }

    fn publish(&mut self, made: &mut Self::Made) -> Result<String> {
        let recipients = made.take().ok_or("a sample is sent once")?.send()?;
        if recipients == 1 {
            Ok("-".into())
        } else {
            Err(format!("{recipients} subscribers got the sample").into())
        }
    }

    fn release(&mut self, made: Self::Made) -> Result<()> {
        drop(made);
        Ok(())
    }

    fn open(&mut self, _token: &str, _len: usize) -> Result<Self::Opened> {
        let subscriber = self.subscriber.as_ref().ok_or("not prepared")?;
        for _ in 0..LOOKS {
            if let Some(sample) = subscriber.receive()? {
                return Ok(sample);
            }
        }
        Err("the sample did not arrive".into())
    }

    fn read<R>(
        &mut self,
        opened: &mut Self::Opened,
        reader: impl FnOnce(&[f64]) -> R,
    ) -> Result<R> {
        Ok(reader(opened.payload()))
    }
}

/// A loaned sample of a segment without writes, as an initialized one.
#[allow(
    unsafe_code,
    reason = "the crate leaves it to the caller that all elements are initialized"
)]
fn assume_zeros(
    sample: iceoryx2::sample_mut_uninit::SampleMutUninit<
        ipc::Service,
        [std::mem::MaybeUninit<f64>],
        (),
    >,
) -> SampleMut<ipc::Service, [f64], ()> {
    // SAFETY: the memory is a shared mapping, whose bytes all have a value, and any bytes are an
    // f64.
    unsafe { sample.assume_init() }
}
