//! The heads of array files, by way of heads that were made or read before.
//!
//! Arrays of one type and shape that one process made differ in their ids and times only. A head
//! that equals a known one but for these, and whose checksum is right, needs no decoding: the known
//! one was decoded and checked. And a new one is the known one with another id and time.

use crate::{
    error::HeaderError,
    format::{
        constants::*,
        header::{Header, Parsed, checksum},
        id::ArrayId,
        kind::Kind,
    },
    sys::fork,
};
use std::{fs::File, ops::Range, sync::Arc};

/// The most templates that are known at once.
const KNOWN: usize = 8;
/// Longer heads do not become templates.
pub(crate) const LONGEST: usize = 4096;
/// Key and head of the id, always the first entry of a header map.
const ID_HEAD: [u8; 6] = [0x62, b'i', b'd', 0xd8, 0x25, 0x50];
/// Key and head of the time of creation, if it has eight bytes.
const NS_HEAD: [u8; 4] = [0x62, b'n', b's', 0x1b];

/// The known templates, the last used one first.
static TEMPLATES: fork::Mutex<Vec<Arc<Template>>> = fork::Mutex::new(Vec::new());

/// A checked head, and the ranges of its id and its time.
struct Template {
    bytes: Vec<u8>,
    parsed: Parsed,
    header_end: usize,
    prefix: Range<usize>,
    id: Range<usize>,
    ns: Range<usize>,
}

impl Template {
    /// A template from the bytes of a whole head, state block included, that `parsed` was encoded
    /// as or parsed from. `None` if the id or the time cannot be located.
    fn new(bytes: &[u8], parsed: &Parsed) -> Option<Self> {
        let header_end = u32::from_le_bytes(*bytes.get(HEADER_END_AT..)?.first_chunk()?) as usize;
        let map = bytes.get(HEADER_AT..header_end)?;
        // The map's own head has one byte, because it has fewer than 24 entries.
        let id = HEADER_AT + 1 + ID_HEAD.len()..HEADER_AT + 1 + ID_HEAD.len() + 16;
        let times: Vec<_> = map
            .windows(12)
            .enumerate()
            .filter(|(_, window)| window[..4] == NS_HEAD)
            .map(|(at, _)| HEADER_AT + at + 4)
            .collect();
        let [ns_at] = times[..] else { return None };
        let prefix = bytes.len() - parsed.header.prefix(parsed.data_len).len()..bytes.len();
        let template = Self {
            bytes: bytes.into(),
            parsed: parsed.clone(),
            header_end,
            prefix,
            id,
            ns: ns_at..ns_at + 8,
        };
        let is_as_it_seems = map.get(1..1 + ID_HEAD.len())? == ID_HEAD
            && template.bytes[template.id.clone()] == *parsed.header.id.as_bytes()
            && template.bytes[template.ns.clone()] == parsed.header.created.ns.to_be_bytes()
            && bytes.len() == parsed.data_offset;
        is_as_it_seems.then_some(template)
    }

    /// Reads a head that equals this one but for id, time and state block.
    fn read(&self, head: &[u8], file_len: u64) -> Option<Parsed> {
        let same = |range: Range<usize>| head[range.clone()] == self.bytes[range];
        let is_alike = head.len() >= self.bytes.len()
            && same(0..CRC_AT)
            && same(DATA_OFFSET_AT..STATE_AT)
            && same(HEADER_KEY_AT..self.id.start)
            && same(self.id.end..self.ns.start)
            && same(self.ns.end..self.bytes.len())
            && file_len == (self.parsed.data_offset + self.parsed.data_len) as u64;
        if !is_alike || u32::from_le_bytes(*head[CRC_AT..].first_chunk()?) != self.checksum(head) {
            return None;
        }
        let ns = u64::from_be_bytes(*head[self.ns.clone()].first_chunk()?);
        // A smaller value would have a shorter deterministic form.
        (ns > u64::from(u32::MAX)).then_some(())?;
        let mut parsed = self.parsed.clone();
        parsed.header.id = ArrayId::from_bytes(*head[self.id.clone()].first_chunk()?);
        parsed.header.created.ns = ns;
        Some(parsed)
    }

    /// Makes the head of a header that equals this one's but for id and time.
    fn write(&self, header: &Header, state: &[u8; STATE_LEN]) -> Option<Vec<u8>> {
        let (known, created) = (&self.parsed.header, &header.created);
        let is_alike = header.spec == known.spec
            && header.kind == known.kind
            && (&header.axis_names, &header.attrs) == (&known.axis_names, &known.attrs)
            && (&created.software, created.pid, created.boot, created.store)
                == (
                    &known.created.software,
                    known.created.pid,
                    known.created.boot,
                    known.created.store,
                )
            && created.ns > u64::from(u32::MAX);
        if !is_alike {
            return None;
        }
        let mut head = self.bytes.clone();
        head[STATE_AT..HEADER_KEY_AT].copy_from_slice(state);
        head[self.id.clone()].copy_from_slice(header.id.as_bytes());
        head[self.ns.clone()].copy_from_slice(&created.ns.to_be_bytes());
        let checksum = self.checksum(&head);
        head[CRC_AT..DATA_OFFSET_AT].copy_from_slice(&checksum.to_le_bytes());
        Some(head)
    }

    fn checksum(&self, head: &[u8]) -> u32 {
        checksum(
            &head[..STATE_HEAD_AT],
            &head[HEADER_KEY_AT..self.header_end],
            &head[self.prefix.clone()],
        )
    }
}

/// Parses the head of a file whose first bytes were read already. If they do not suffice, the rest
/// is read from the file.
pub(crate) fn read(head: &[u8], file: &File, file_len: u64) -> Result<Parsed, HeaderError> {
    if let Some(parsed) = by_template(|template| template.read(head, file_len)) {
        return Ok(parsed);
    }
    let parsed = Header::parse(file, file_len)?;
    if let Some(bytes) = head.get(..parsed.data_offset) {
        remember(bytes, &parsed);
    }
    Ok(parsed)
}

/// All bytes before the payload; see [`Header::encode`].
pub(crate) fn write(
    header: &Header,
    align: usize,
    state: &[u8; STATE_LEN],
) -> Result<Vec<u8>, HeaderError> {
    if let Some(head) = by_template(|template| {
        template
            .write(header, state)
            .filter(|head| head.len().is_multiple_of(align))
    }) {
        return Ok(head);
    }
    let head = header.encode(align, state)?;
    remember(
        &head,
        &Parsed {
            header: header.clone(),
            data_offset: head.len(),
            data_len: header.spec.byte_len(),
        },
    );
    Ok(head)
}

fn by_template<R>(attempt: impl Fn(&Template) -> Option<R>) -> Option<R> {
    // The attempt runs outside the lock, because it allocates.
    let first = TEMPLATES.lock().first().cloned()?;
    if let Some(result) = attempt(&first) {
        return Some(result);
    }
    let others: Vec<_> = TEMPLATES.lock().clone();
    let (at, result) = others
        .iter()
        .enumerate()
        .find_map(|(at, template)| Some((at, attempt(template)?)))?;
    let mut templates = TEMPLATES.lock();
    if templates
        .get(at)
        .is_some_and(|template| Arc::ptr_eq(template, &others[at]))
    {
        templates[..=at].rotate_right(1);
    }
    Some(result)
}

fn remember(bytes: &[u8], parsed: &Parsed) {
    // The head of another kind has words that change.
    let template = if bytes.len() <= LONGEST && parsed.header.kind == Kind::Array {
        Template::new(bytes, parsed)
    } else {
        None
    };
    if let Some(template) = template.map(Arc::new) {
        let mut templates = TEMPLATES.lock();
        let forgotten = if templates.len() < KNOWN {
            None
        } else {
            templates.pop()
        };
        templates.insert(0, template);
        drop(templates);
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType, Element, Order,
        format::{array_spec::ArraySpec, header::Created},
    };
    use uuid::Uuid;

    const STATE: [u8; STATE_LEN] = [0xa5; STATE_LEN];

    fn header(seed: u8, dtype: DType, shape: &[usize]) -> Header {
        let created = Created {
            ns: 1_700_000_000_000_000_000 + u64::from(seed),
            software: "ndshm".into(),
            pid: 4242,
            boot: Uuid::from_bytes([0xb0; 16]),
            store: Uuid::from_bytes([0x50; 16]),
        };
        Header {
            id: ArrayId::from_bytes([seed; 16]),
            spec: ArraySpec::new(dtype, shape, Order::C).unwrap(),
            kind: Kind::Array,
            axis_names: Vec::new(),
            attrs: None,
            created,
        }
    }

    fn template(header: &Header) -> (Vec<u8>, Parsed, Template) {
        let head = header.encode(MIN_ALIGN, &STATE).unwrap();
        let data_len = header.spec.byte_len();
        let parsed = Parsed {
            header: header.clone(),
            data_offset: head.len(),
            data_len,
        };
        let template = Template::new(&head, &parsed).unwrap();
        (head, parsed, template)
    }

    #[test]
    fn a_head_by_a_template_is_the_head_that_is_encoded_and_reads_as_it_is_parsed() {
        for (dtype, shape) in [
            (f64::DTYPE, &[2, 3][..]),
            (u8::DTYPE, &[]),
            (<[f32; 3]>::DTYPE, &[0, 5]),
            (i128::DTYPE, &[1 << 40]),
        ] {
            let (_, _, template) = template(&header(1, dtype.clone(), shape));
            let other = header(9, dtype, shape);
            let head = template.write(&other, &STATE).unwrap();
            assert_eq!(head, other.encode(MIN_ALIGN, &STATE).unwrap());
            let file_len = (template.parsed.data_offset + template.parsed.data_len) as u64;
            assert_eq!(
                template.read(&head, file_len),
                Header::parse(&head[..], file_len).ok()
            );
            assert_eq!(template.read(&head, file_len + 1), None);
        }
    }

    #[test]
    fn what_differs_in_more_than_id_and_time_is_left_to_the_parser() {
        let (_, _, template) = template(&header(1, f64::DTYPE, &[2, 3]));
        let differs = |change: &dyn Fn(&mut Header)| {
            let mut other = header(9, f64::DTYPE, &[2, 3]);
            change(&mut other);
            let head = other.encode(MIN_ALIGN, &STATE).unwrap();
            assert_eq!(template.write(&other, &STATE), None, "{other:?}");
            assert_eq!(
                template.read(&head, (head.len() + 48) as u64),
                None,
                "{other:?}"
            );
        };
        let spec = |dtype, shape: [usize; 2], order| ArraySpec::new(dtype, shape, order).unwrap();
        differs(&|header| header.spec = spec(f64::DTYPE, [3, 2], Order::C));
        differs(&|header| header.spec = spec(f64::DTYPE, [2, 3], Order::F));
        differs(&|header| header.spec = spec(i64::DTYPE, [2, 3], Order::C));
        differs(&|header| header.axis_names = vec![Some("x".into()), None]);
        differs(&|header| header.attrs = Some(ciborium::Value::Map(vec![("ns".into(), 1.into())])));
        differs(&|header| header.created.pid = 4243);
        differs(&|header| header.created.ns = 7);
        differs(&|header| header.created.store = Uuid::from_bytes([0x51; 16]));
    }

    #[test]
    fn no_changed_byte_is_accepted_that_the_parser_refuses() {
        let (head, parsed, template) = template(&header(1, f64::DTYPE, &[2, 3]));
        let file_len = (parsed.data_offset + parsed.data_len) as u64;
        for at in (0..head.len()).filter(|at| !(STATE_AT..HEADER_KEY_AT).contains(at)) {
            for mends in [false, true] {
                let mut changed = head.clone();
                changed[at] ^= 0x41;
                if mends {
                    let checksum = template.checksum(&changed);
                    changed[CRC_AT..DATA_OFFSET_AT].copy_from_slice(&checksum.to_le_bytes());
                }
                let read = template.read(&changed, file_len);
                assert!(
                    read.is_none() || read == Header::parse(&changed[..], file_len).ok(),
                    "byte {at}"
                );
            }
        }
    }

    #[test]
    fn a_head_with_two_times_is_no_template() {
        let mut header = header(1, f64::DTYPE, &[2]);
        header.attrs = Some(ciborium::Value::Map(vec![(
            "ns".into(),
            header.created.ns.into(),
        )]));
        let head = header.encode(MIN_ALIGN, &STATE).unwrap();
        assert!(
            Template::new(
                &head,
                &Parsed {
                    header,
                    data_offset: head.len(),
                    data_len: 16
                }
            )
            .is_none()
        );
    }
}
