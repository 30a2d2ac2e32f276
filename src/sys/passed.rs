//! Values that a process passes to the program that it executes next: descriptors, moments, and bytes in JSON.
//!
//! Called from every thread. It knows neither the document around the values nor their meaning.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::checked;

/// An open descriptor, by its number. Serializing it clears its close-on-exec flag: whatever the document names is open
/// in the next program. Dropping it does not close it: until the next program serves, the previous one can be executed
/// again with the same descriptors.
#[derive(Debug)]
pub struct Passed(RawFd);

impl Passed {
    /// Takes ownership of `fd`.
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        Self(fd.into().into_raw_fd())
    }

    /// The number of `fd`, which stays with its owner. Only for a document that another program reads.
    pub fn borrowed(fd: &impl AsFd) -> Self {
        Self(fd.as_fd().as_raw_fd())
    }

    /// The descriptor, close-on-exec again.
    pub fn take(self) -> OwnedFd {
        set_inherited(self.0, false);
        // SAFETY: the descriptor was owned by `new`, or is named by the document of the previous program, which checks
        // that it is open. A `Passed` is no copy of another.
        unsafe { OwnedFd::from_raw_fd(self.0) }
    }

    /// As [`Passed::take`], as a file.
    pub fn into_file(self) -> File {
        self.take().into()
    }

    /// A second, close-on-exec descriptor of the same file.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        // SAFETY: fcntl takes integers, and its descriptor is new and ours alone.
        unsafe { super::owned(libc::fcntl(self.0, libc::F_DUPFD_CLOEXEC, 3)) }
    }

    pub fn number(&self) -> RawFd {
        self.0
    }
}

impl Serialize for Passed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match set_inherited(self.0, true) {
            true => to.serialize_i32(self.0),
            false => Err(ser::Error::custom("a descriptor is not open")),
        }
    }
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = i32::deserialize(from)?;
        // SAFETY: fcntl takes integers.
        match checked(unsafe { libc::fcntl(number, libc::F_GETFD) }) {
            Ok(_) if number > 2 => Ok(Self(number)),
            _ => Err(de::Error::custom(format_args!(
                "descriptor {number} is not open"
            ))),
        }
    }
}

/// Sets or clears the close-on-exec flag of `fd`; false if `fd` is not open.
fn set_inherited(fd: RawFd, is_inherited: bool) -> bool {
    let flags = if is_inherited { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: fcntl takes integers.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).is_ok()
}

/// A moment of the monotonic clock, in microseconds: that clock goes on across `execve` (clock_gettime(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(i64);

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        let (now, micros) = (Instant::now(), super::monotonic_micros() as i64);
        let distance = |from: Instant, to: Instant| {
            i64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(i64::MAX)
        };
        Self(
            micros
                .saturating_add(distance(now, at))
                .saturating_sub(distance(at, now)),
        )
    }
}

impl From<Moment> for Instant {
    fn from(at: Moment) -> Self {
        let (now, micros) = (Self::now(), super::monotonic_micros() as i64);
        let distance = Duration::from_micros(at.0.abs_diff(micros));
        let moment = match at.0 >= micros {
            true => now.checked_add(distance),
            false => now.checked_sub(distance),
        };
        moment.unwrap_or(now)
    }
}

/// An [`Instant`] as a [`Moment`], for `#[serde(with)]`.
pub mod instant {
    use super::{Deserialize, Deserializer, Instant, Moment, Serialize, Serializer};

    pub fn serialize<S: Serializer>(at: &Instant, to: S) -> Result<S::Ok, S::Error> {
        Moment::from(*at).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
        Moment::deserialize(from).map(Instant::from)
    }
}

/// An optional [`Instant`], for `#[serde(with)]`.
pub mod optional_instant {
    use super::{Deserialize, Deserializer, Instant, Moment, Serialize, Serializer};

    pub fn serialize<S: Serializer>(at: &Option<Instant>, to: S) -> Result<S::Ok, S::Error> {
        at.map(Moment::from).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Instant>, D::Error> {
        Ok(Option::<Moment>::deserialize(from)?.map(Instant::from))
    }
}

/// True for a value that the document leaves out, for `#[serde(skip_serializing_if)]`: clients wait while it is written and
/// read, and of hundreds of sessions most values are these.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A table by names. Inserts one entry after the other: `collect` sorts first, and each type of entries has its own 6 kB of
/// sort.
pub fn table<K: Into<String>, V>(entries: impl Iterator<Item = (K, V)>) -> BTreeMap<String, V> {
    let mut table = BTreeMap::new();
    entries.for_each(|(name, value)| drop(table.insert(name.into(), value)));
    table
}

/// Bytes as base64, for `#[serde(with)]`.
pub mod bytes {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    /// # Errors
    /// Those of the deserializer, or the text is no base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(de::Error::custom)
    }
}

/// Bytes that are serialized as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "bytes")] pub Vec<u8>);

impl From<&Path> for Bytes {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&Bytes> for PathBuf {
    fn from(Bytes(path): &Bytes) -> Self {
        OsStr::from_bytes(path).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_instant_behind_a_round_trip() {
        let now = Instant::now();
        for at in [
            now,
            now + Duration::from_secs(3600),
            now - Duration::from_millis(20),
        ] {
            let text = serde_json::to_string(&Moment::from(at)).unwrap();
            let back = Instant::from(serde_json::from_str::<Moment>(&text).unwrap());
            let off = back.max(at) - back.min(at);
            assert!(off < Duration::from_millis(5), "{off:?}");
        }
    }

    #[test]
    fn a_descriptor_is_inherited_once_it_is_named_and_is_private_again_when_it_is_taken() {
        let flags = |fd: RawFd| {
            // SAFETY: fcntl takes integers.
            unsafe { libc::fcntl(fd, libc::F_GETFD) }
        };
        let passed = Passed::new(File::open("/dev/null").unwrap());
        let number = passed.number();
        assert_eq!(flags(number), libc::FD_CLOEXEC);
        let text = serde_json::to_string(&passed).unwrap();
        assert_eq!(flags(number), 0);
        let file = serde_json::from_str::<Passed>(&text).unwrap().into_file();
        assert_eq!(flags(number), libc::FD_CLOEXEC);
        drop(file);
        assert!(serde_json::from_str::<Passed>("1").is_err());
        assert!(serde_json::from_str::<Passed>("999999").is_err());
    }

    #[test]
    fn bytes_are_text_in_the_document() {
        let bytes = Bytes(vec![0, 255, 10]);
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(text, r#""AP8K""#);
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
    }
}
