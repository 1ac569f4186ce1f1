//! Handles: plain values that name an array or a view, in serde and in one line of text.
//!
//! Parsing and printing only. Opening one is the business of `array`; a handle is never trusted there.

use crate::{
    error::{Error, Result},
    format::MAX_NDIM,
    id::ArrayId,
    scope::Scope,
};
use base64::{Engine, display::Base64Display, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    borrow::Cow,
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

/// Version of the handle's fields, in text and in serde.
const VERSION: u8 = 1;
/// Longest text.
const MAX_TEXT: usize = 16 * 1024;
/// Longest path, in bytes.
const MAX_PATH: usize = 4095;
/// The bytes of a path that stand for themselves are A-Z a-z 0-9 and these.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The name of an array or of a view of it: a plain value that any process of the same user opens.
///
/// A handle does no I/O and holds nothing: making, copying, serializing and dropping one has no effect on the array. It carries the
/// [scope](Scope) that its source had when it was made. What the opener's scope becomes is decided when it is opened.
///
/// As text it is one line of printable ASCII of less than 300 bytes for usual paths and ranks, fit for arguments, the environment, logs
/// and sockets: use `to_string` and `parse`. With serde it is a struct that any format carries, self-describing or not.
///
/// # Examples
///
/// ```
/// use ndarray::{Ix1, s};
/// use ndshm::Handle;
///
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.from_shape_fn::<f64, _>(10, |i| i as f64)?;
/// let text = xs.slice(s![2..;3])?.handle().to_string();
/// // In any process of this user:
/// let view = text.parse::<Handle>()?.open::<f64, Ix1>()?;
/// assert_eq!(view.to_ndarray()?, ndarray::array![2.0, 5.0, 8.0]);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    path: PathBuf,
    id: ArrayId,
    fingerprint: u64,
    is_writable: bool,
    scope: Scope,
    view: Option<Placement>,
}

/// Where a view lies in its array: all in bytes but the shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) offset: u64,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<i64>,
}

impl Placement {
    pub(crate) fn new(offset: usize, shape: &[usize], strides: &[isize]) -> Self {
        Self {
            offset: offset as u64,
            shape: shape.iter().map(|&n| n as u64).collect(),
            strides: strides.iter().map(|&stride| stride as i64).collect(),
        }
    }
}

/// The fields as serde carries them.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Handle")]
struct Fields {
    version: u8,
    #[serde(with = "path_field")]
    path: PathBuf,
    id: ArrayId,
    fingerprint: u64,
    writable: bool,
    scope: Scope,
    view: Option<Placement>,
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::Handle { reason: reason.into() }
}

impl Handle {
    pub(crate) fn new(path: &Path, id: ArrayId, fingerprint: u64, is_writable: bool, scope: Scope, view: Option<Placement>) -> Self {
        Self { path: path.into(), id, fingerprint, is_writable, scope, view }
    }

    /// The array's file.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.handle().path(), xs.path());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The array's identity.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.handle().id(), xs.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn id(&self) -> ArrayId {
        self.id
    }

    /// The scope that the source had when this handle was made.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert_eq!(xs.handle().scope(), ndshm::Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether the opened array can be written.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(xs.handle().is_writable() && !xs.read_only()?.handle().is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// The hash of the element type, as the source knew it.
    /// The same handle for reading only: what is opened with it cannot be written through.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// assert!(!xs.handle().read_only().open::<f64, ndarray::Ix1>()?.is_writable());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_only(&self) -> Self {
        Self { is_writable: false, ..self.clone() }
    }

    /// The same handle with another scope. With [`Scope::Store`] it claims nothing when it is opened: for those who only look at an array that
    /// was sent to somebody else. Who deletes the array is not changed by this; [`SharedArray::set_scope`](crate::SharedArray::set_scope) does so.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Observer, Scope};
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let handle = manager.options().scope(Scope::Remote).zeros::<f64, _>(5)?.handle();
    /// let onlooker = handle.with_scope(Scope::Store).open::<f64, ndarray::Ix1>()?;
    /// assert_eq!(onlooker.read()?.sum(), 0.0);
    /// drop(onlooker);
    /// assert_eq!(handle.open::<f64, ndarray::Ix1>()?.scope(), Scope::Local);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn with_scope(&self, scope: Scope) -> Self {
        Self { scope, ..self.clone() }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn view(&self) -> Option<&Placement> {
        self.view.as_ref()
    }

    /// A handle to another view of the same array: `offset` and `strides` in bytes, the offset from the start of the array's data.
    ///
    /// Whether it lies inside the array is checked when it is opened.
    ///
    /// # Errors
    ///
    /// `Handle` where shape and strides differ in length or have more than 32 dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix1;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<f64, _>(10, |i| i as f64)?;
    /// let backwards = xs.handle().with_layout(72, &[4], &[-16])?.open::<f64, Ix1>()?;
    /// assert_eq!(backwards.to_ndarray()?, ndarray::array![9.0, 7.0, 5.0, 3.0]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn with_layout(&self, offset: usize, shape: &[usize], strides: &[isize]) -> Result<Self> {
        Self { view: Some(Placement::new(offset, shape, strides)), ..self.clone() }.checked()
    }

    /// This handle, if its fields are well formed.
    fn checked(self) -> Result<Self> {
        let bytes = self.path.as_os_str().as_bytes();
        if bytes.len() > MAX_PATH {
            return Err(invalid(format!("the path has {} bytes, at most {MAX_PATH} are allowed", bytes.len())));
        }
        if !self.path.is_absolute() || bytes.contains(&0) || self.path.components().any(|part| part == Component::ParentDir) {
            return Err(invalid("the path must be absolute, without NUL and without .."));
        }
        if let Some(view) = &self.view
            && (view.shape.len() != view.strides.len() || view.shape.len() > MAX_NDIM)
        {
            return Err(invalid(format!("{} dimensions and {} strides, at most {MAX_NDIM}", view.shape.len(), view.strides.len())));
        }
        Ok(self)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.is_writable { 'w' } else { 'r' };
        let id = Base64Display::new(self.id.as_bytes(), &URL_SAFE_NO_PAD);
        write!(f, "ndshm{VERSION}:m={mode}:s={}:i={id}:f={:016x}", self.scope, self.fingerprint)?;
        if let Some(view) = &self.view {
            write!(f, ":o={}:n={}:t={}", view.offset, Joined(&view.shape), Joined(&view.strides))?;
        }
        write!(f, ":p={}", percent_encode(self.path.as_os_str().as_bytes(), ENCODED))
    }
}

/// Numbers with commas between them.
struct Joined<'a, N>(&'a [N]);

impl<N: fmt::Display> fmt::Display for Joined<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, number)| write!(f, "{}{number}", if i == 0 { "" } else { "," }))
    }
}

impl FromStr for Handle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(invalid(format!("the text has {} bytes, at most {MAX_TEXT} are allowed", text.len())));
        }
        if text.trim_ascii() != text {
            return Err(invalid("there is white space around it: trim it"));
        }
        let (version, mut rest) = text.split_once(':').ok_or_else(|| invalid("it does not start with ndshm1:"))?;
        if version != "ndshm1" {
            return Err(invalid(format!("it starts with {version:?}, this library reads ndshm{VERSION}")));
        }
        // Each field is refused but in the one form that it has: there is one text for each handle.
        let mode = field(&mut rest, "m=")?;
        let scope = field(&mut rest, "s=")?;
        let id = field(&mut rest, "i=")?;
        let fingerprint = field(&mut rest, "f=")?;
        let view = match rest.starts_with("o=") {
            false => None,
            true => Some(Placement {
                offset: number(field(&mut rest, "o=")?)?,
                shape: numbers(field(&mut rest, "n=")?)?,
                strides: numbers(field(&mut rest, "t=")?)?,
            }),
        };
        let path = rest.strip_prefix("p=").ok_or_else(|| invalid("no field \"p=\" where it should be, or one that is not known"))?;
        let id: [u8; 16] = URL_SAFE_NO_PAD.decode(id).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| invalid("its id is no id"))?;
        let is_hex = fingerprint.len() == 16 && fingerprint.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let fingerprint = u64::from_str_radix(fingerprint, 16).ok().filter(|_| is_hex).ok_or_else(|| invalid("its fingerprint is not 16 digits"))?;
        Handle {
            path: decoded(path).ok_or_else(|| invalid("its path is not percent-encoded in the one form that it has"))?,
            id: ArrayId::from_bytes(id),
            fingerprint,
            is_writable: match mode {
                "w" => true,
                "r" => false,
                _ => return Err(invalid("its mode is neither r nor w")),
            },
            scope: Scope::from_name(scope).ok_or_else(|| invalid("its scope is not local, remote or store"))?,
            view,
        }
        .checked()
    }
}

/// The path that a text stands for, if it is percent-encoded where it has to be and only there.
fn decoded(text: &str) -> Option<PathBuf> {
    let bytes = Cow::from(percent_decode(text.as_bytes()));
    let is_canonical = percent_encode(&bytes, ENCODED).try_fold(text, str::strip_prefix) == Some("");
    is_canonical.then(|| OsStr::from_bytes(&bytes).into())
}

/// Takes the next field off the text.
fn field<'a>(rest: &mut &'a str, key: &str) -> Result<&'a str> {
    let (value, behind) = rest
        .strip_prefix(key)
        .and_then(|tail| tail.split_once(':'))
        .ok_or_else(|| invalid(format!("no field {key:?} where it should be, or it is cut off")))?;
    *rest = behind;
    Ok(value)
}

fn number<N: FromStr + ToString>(text: &str) -> Result<N> {
    let canonical = |number: &N| number.to_string() == text;
    text.parse().ok().filter(canonical).ok_or_else(|| invalid(format!("{text:?} is not a number in its shortest form")))
}

fn numbers<N: FromStr + ToString>(text: &str) -> Result<Vec<N>> {
    if text.is_empty() { Ok(Vec::new()) } else { text.split(',').map(number).collect() }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Handle { path, id, fingerprint, is_writable, scope, view } = self.clone();
        Fields { version: VERSION, path, id, fingerprint, writable: is_writable, scope, view }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { version, path, id, fingerprint, writable, scope, view } = Fields::deserialize(deserializer)?;
        if version != VERSION {
            return Err(de::Error::custom(format!("a handle of version {version}, this library reads {VERSION}")));
        }
        Handle { path, id, fingerprint, is_writable: writable, scope, view }.checked().map_err(de::Error::custom)
    }
}

/// Paths in serde: bytes, or percent-encoded text where people read it.
pub(crate) mod path_field {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = path.as_os_str().as_bytes();
        match serializer.is_human_readable() {
            true => serializer.collect_str(&percent_encode(bytes, ENCODED)),
            false => serde_bytes::serialize(bytes, serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        if deserializer.is_human_readable() {
            let refused = || de::Error::custom("the path is not percent-encoded in the one form that it has");
            return decoded(&String::deserialize(deserializer)?).ok_or_else(refused);
        }
        Ok(OsStr::from_bytes(&serde_bytes::ByteBuf::deserialize(deserializer)?).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(path: &[u8], view: Option<Placement>) -> Handle {
        Handle::new(Path::new(OsStr::from_bytes(path)), ArrayId::from_bytes([0xfb; 16]), 0xcbf2_9ce4_8422_2325, true, Scope::Remote, view)
    }

    fn placed(offset: u64, shape: &[u64], strides: &[i64]) -> Option<Placement> {
        Some(Placement { offset, shape: shape.into(), strides: strides.into() })
    }

    #[test]
    fn the_text_is_one_printable_line_and_reads_back() {
        let view = placed(8192, &[64, 128, 3], &[-4096, 24, 8]);
        let text = handle(b"/dev/shm/ndshm-0/a store/frames.ndshm", view.clone()).to_string();
        let expected = "ndshm1:m=w:s=remote:i=-_v7-_v7-_v7-_v7-_v7-w:f=cbf29ce484222325:o=8192:n=64,128,3:t=-4096,24,8:\
                        p=/dev/shm/ndshm-0/a%20store/frames.ndshm";
        assert_eq!(text, expected);
        for (path, view) in [
            (&b"/x"[..], None),
            (b"/\xff\x01%:=\n", view),
            (b"/x", placed(0, &[], &[])),
            (b"/x", placed(u64::MAX, &[0, u64::MAX], &[i64::MIN, i64::MAX])),
        ] {
            let handle = handle(path, view);
            let text = handle.to_string();
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert_eq!(text.parse::<Handle>().unwrap(), handle);
        }
    }

    #[test]
    fn a_view_of_rank_four_in_the_default_root_stays_under_300_bytes() {
        let path = b"/dev/shm/ndshm-4294967294/twenty-four-letters-long-4194304-0123456789ab/0189f7e2c3d47a5b8c9d0e1f2a3b4c5d.ndshm";
        let text = handle(path, placed(1 << 33, &[100_000; 4], &[-100_000_000; 4])).to_string();
        assert!(text.len() < 300, "{}", text.len());
    }

    #[test]
    fn a_text_that_was_changed_anywhere_is_refused_or_names_something_else() {
        let original = handle(b"/dev/shm/x.ndshm", placed(16, &[4, 2], &[-16, 8]));
        let text = original.to_string();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Handle>().is_err_and(|error| matches!(error, Error::Handle { .. })) || end > text.find("p=/").unwrap() + 2);
        }
        for (from, to) in [
            ("m=w:", ""),
            ("m=w:", "m=w:m=w:"),
            ("m=w:s=remote", "s=remote:m=w"),
            ("m=w", "m=x"),
            ("s=remote", "s=REMOTE"),
            (":f=c", ":f=C"),
            (":o=16", ":o=+16"),
            (":o=16", ":o=016"),
            ("n=4,2", "n=4,,2"),
            ("n=4,2", "n=4, 2"),
            ("n=4,2", "n=4,2,1"),
            (":t=-16,8", ""),
            ("p=/", "p="),
            ("x.ndshm", "%00"),
            ("x.ndshm", "%7"),
            ("x.ndshm", "%zz"),
            ("x.ndshm", "%78.ndshm"),
            ("shm/x", "shm/../x"),
            ("ndshm1", "ndshm2"),
            ("ndshm1", "ndshm01"),
            ("ndshm1", "ndshm+1"),
            ("-w:", "-w=:"),
            ("x.ndshm", "x%2endshm"),
            ("x.ndshm", "x%2Endshm"),
            ("x.ndshm", "x ndshm"),
            ("i=-", "i=+"),
            ("-w:", "-x:"),
            ("x.ndshm", "x.ndshm\n"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert!(changed.parse::<Handle>().is_err(), "{changed}");
        }
        let long = format!("{text}{}", "a".repeat(4096));
        assert!(long.parse::<Handle>().is_err());
        assert!("a".repeat(20_000).parse::<Handle>().is_err());
        let deep = handle(b"/x", placed(0, &[1; 33], &[0; 33])).to_string();
        assert!(deep.parse::<Handle>().is_err());
    }
}
