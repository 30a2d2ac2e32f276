//! Redaction: removes secrets from events, the log and diagnostics before they are stored or shown.
//!
//! Runs on the thread that has the bytes. Steps for each byte:
//!
//! 1. `stream` accepts writes that may be cut anywhere, and passes bytes on as soon as they are decided.
//! 2. `layer` sets escape sequences aside, and reinserts them at their places.
//! 3. `rules` finds candidates: a word of `names`, of a URL or of a command, by a vectorised search; or a long word
//!    that `tokens` finds. Ordinary text has few candidates, and passes at memory speed.
//! 4. Each candidate is read through the `view`: the text without the escapes of JSON, shells, HTML and percent
//!    encoding.
//! 5. Tables recognise a secret: `issuers` by the beginning of the token; `headers`, `commands` and `forms`
//!    (assignments of a value to a name) by its surroundings. `extent` finds its end; `value` judges values that a
//!    person may have chosen.
//! 6. The secret's bytes are replaced; the rest of one that continues is dropped as it arrives.
//! 7. `known` holds the values of the session's given environment variables; it takes precedence over the rules.
//! 8. `own` applies the user's patterns to the remaining text, line by line.

/// Declares a table and the samples of its rows for the tests: a text with a secret, marked by `«»`, and one without.
macro_rules! table {
    ($(#[$doc:meta])* $visible:vis $name:ident, $samples:ident: $row:ty =
     $(($($field:expr),+; $yes:literal, $no:literal)),* $(,)?) => {
        $(#[$doc])*
        $visible const $name: &[$row] = &[$(($($field),+)),*];
        #[cfg(test)]
        pub(super) const $samples: &[(&str, &str)] = &[$(($yes, $no)),*];
    };
}

/// True if a byte is one of these characters.
macro_rules! is_one_of {
    ($byte:expr, $characters:literal) => {{
        const SET: [u64; 4] = crate::redact::view::set($characters);
        let byte: u8 = $byte;
        SET[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }};
}

mod arguments;
mod begins;
mod commands;
mod extent;
mod forms;
mod handover;
mod headers;
mod issuers;
mod known;
mod layer;
mod names;
mod own;
mod prefixes;
mod rules;
mod stream;
mod tokens;
mod urls;
mod value;
mod view;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use serde::{Deserialize, Serialize};

pub use handover::StreamHandover;
use known::Known;
pub use own::BadPattern;
use own::Patterns;
pub use stream::Stream;
use view::{More, Quote};

/// Beginning of the mark that replaces a secret; its kind and `]` follow.
pub const REDACTED: &str = "[REDACTED:";

/// Maximum length of a secret that is read before a decision, in bytes: the rest is dropped as it arrives.
const REACH: usize = 2048;

/// Maximum length of a possible secret that is held at a pause, in bytes.
const POSSIBLE_MAX: usize = 64;

/// Kinds of secrets that are recognised by their surroundings.
#[rustfmt::skip]
const KINDS: &[&str] = &[
    "assignment", "authorization", "basic-auth", "cookie", "custom", known::KIND, "private-key", "url-password",
    "url-signature", "webhook",
];

/// The active rules; those of a session include the values of its environment.
pub struct Redactor {
    shared: Arc<Shared>,
    /// The given values of the session.
    known: Option<Known>,
    /// True if secrets are stored unchanged; the log is always redacted.
    stores_secrets: bool,
}

/// The part that all sessions share.
struct Shared {
    /// The user's own patterns.
    own: RwLock<Option<Arc<Patterns>>>,
    /// Time at which they were last read, in milliseconds since the epoch.
    own_read_at: AtomicI64,
    kinds: Vec<&'static str>,
    counts: Vec<AtomicU64>,
}

/// A found secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Secret {
    kind: &'static str,
    /// Its range in the searched text.
    range: Range<usize>,
    /// Its continuation if it reaches the end of the text.
    open: Open,
}

impl Secret {
    fn new(kind: &'static str, range: Range<usize>, open: Open) -> Self {
        Self { kind, range, open }
    }
}

/// Later text decides about a candidate.
#[derive(Debug)]
enum Undecided {
    /// Nothing of it can be secret yet.
    Unknown,
    /// A secret can begin at this position. A pause does not pass on a short text from there.
    Possible(usize),
    /// A pause removes this part.
    Begun(Secret),
}

impl Undecided {
    /// The known part of a `secret` is begun if it `is_telling`.
    fn known(secret: Secret, is_telling: bool) -> Self {
        match is_telling {
            true => Self::Begun(secret),
            false => Self::Possible(secret.range.start),
        }
    }
}

impl From<More> for Undecided {
    fn from(_: More) -> Self {
        Self::Unknown
    }
}

/// Result for a candidate.
type Looked = Result<Option<Secret>, Undecided>;

/// Condition for the end of a secret that continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Open {
    No,
    /// Until a character outside the alphabet.
    Word(u16),
    /// Until the end of an unquoted value; one that is alone can contain separators.
    Bare {
        is_alone: bool,
    },
    /// Until this quote.
    Quote(Quote),
    /// Until a quote or the end of the line.
    Line,
    /// Until the end of the line.
    Rest,
    /// Until the end of the URL's password.
    Url,
    /// Until the end of the block.
    Key,
    /// Until the end of a known value; `matched` characters of it have been read.
    Known {
        needle: usize,
        matched: usize,
    },
}

/// Prints nothing: a value can be a secret.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    fn with_own(own: Option<Patterns>) -> Self {
        let mut kinds: Vec<_> = issuers::kinds().chain(KINDS.iter().copied()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Self {
            shared: Arc::new(Shared {
                own: RwLock::new(own.map(Arc::new)),
                own_read_at: AtomicI64::new(0),
                counts: kinds.iter().map(|_| AtomicU64::new(0)).collect(),
                kinds,
            }),
            known: None,
            stores_secrets: false,
        }
    }

    /// A redactor for a session with these explicitly `given` variables: it removes their values, too.
    pub fn for_session<'a>(
        self: &Arc<Self>,
        given: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Arc<Self> {
        self.with_known(Known::new(given))
    }

    fn with_known(self: &Arc<Self>, known: Option<Known>) -> Arc<Self> {
        match known {
            Some(known) if !self.stores_secrets => Arc::new(Self {
                shared: Arc::clone(&self.shared),
                known: Some(known),
                stores_secrets: false,
            }),
            _ => Arc::clone(self),
        }
    }

    /// The same redactor, which keeps secrets in stored text if `stores_secrets`.
    pub fn storing_secrets(self, stores_secrets: bool) -> Self {
        Self {
            stores_secrets,
            ..self
        }
    }

    /// `text` as it may be stored.
    pub fn redact_stored(&self, text: String) -> String {
        if self.stores_secrets {
            return text;
        }
        match self.redact(&text) {
            Cow::Owned(redacted) => redacted,
            Cow::Borrowed(_) => text,
        }
    }

    /// True if `text` contains an issuer's token in any layer, so that it cannot be stored unchanged. Other secrets are
    /// recognised by surroundings that a path or an id does not have.
    pub fn holds_token(&self, text: &str) -> bool {
        !self.stores_secrets && tokens::is_token_in(text)
    }

    /// Like [`Redactor::redact_stored`], for the beginning of a text: all of it, or more than `length` bytes. Reads no
    /// more than necessary, since output does not depend on later input.
    pub fn redact_stored_beginning(&self, text: &str, length: usize) -> String {
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        for piece in text.as_bytes().chunks(stream::PIECE_MAX) {
            stream.push_stored(self, piece, &mut out);
            if out.len() > length {
                return String::from_utf8_lossy(&out).into_owned();
            }
        }
        stream.finish(self, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// `text` with each secret replaced by `[REDACTED:<kind>]`.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut stream = Stream::default();
        let mut out = Vec::with_capacity(text.len());
        stream.push(self, text.as_bytes(), &mut out);
        stream.finish(self, &mut out);
        if out == text.as_bytes() {
            return Cow::Borrowed(text);
        }
        // Secrets begin and end at ASCII characters, but a user's pattern can split a character.
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// Number of removed secrets of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.shared.kinds.iter().zip(&self.shared.counts);
        let counts = counts.map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)));
        let mut found = BTreeMap::new();
        found.extend(counts.filter(|(_, count)| *count > 0));
        found
    }

    /// Counts `more` removed secrets of a kind.
    fn count(&self, kind: &str, more: u64) {
        if let Ok(at) = self.shared.kinds.binary_search(&kind) {
            self.shared.counts[at].fetch_add(more, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod benign;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
