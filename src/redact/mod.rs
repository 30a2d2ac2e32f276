//! Redaction: secrets out of events, the log and diagnostics, before they are stored or shown.
//!
//! Runs on whatever thread has the bytes. How a byte goes through it:
//!
//! 1. `stream` takes it, in writes that can be cut anywhere, and passes it on as soon as it is decided.
//! 2. `layer` sets escape sequences aside, and puts them back where they stood.
//! 3. `rules` finds a reason to look: a word of `names`, of a URL or a command, by a vectorised search; or, by
//!    `tokens`, a long word, as those are. Ordinary text has few, and passes at memory speed.
//! 4. There the `view` is read: the text without the escapes of JSON, shells, HTML and percent encoding.
//! 5. Tables tell what a secret is: `issuers` by the token's beginning, `headers`, `commands` and `forms`, in which
//!    a value is assigned to a name, by what stands around it. `extent` finds its end; `value` judges what was chosen by
//!    somebody.
//! 6. The secret's own bytes are replaced; one that goes on is swallowed as it comes.
//! 7. `known` has the values that the session was given in its environment, and goes before the rules where one stands.
//! 8. `own` takes the user's patterns out of what is left, line by line.

/// A table, and what its rows carry for the tests: a text with a secret, which stands in `«»`, and one without.
macro_rules! table {
    ($(#[$doc:meta])* $visible:vis $name:ident, $samples:ident: $row:ty =
     $(($($field:expr),+; $yes:literal, $no:literal)),* $(,)?) => {
        $(#[$doc])*
        $visible const $name: &[$row] = &[$(($($field),+)),*];
        #[cfg(test)]
        pub(super) const $samples: &[(&str, &str)] = &[$(($yes, $no)),*];
    };
}

mod arguments;
mod commands;
mod extent;
mod forms;
mod headers;
mod issuers;
mod known;
mod layer;
mod names;
mod own;
mod rules;
mod stream;
mod tokens;
mod value;
mod view;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use known::Known;
pub use own::BadPattern;
use own::Patterns;
pub use stream::Stream;

/// What begins the mark that stands in a secret's place, before its kind and `]`.
pub const REDACTED: &str = "[REDACTED:";

/// The kinds of secrets that are known by what stands around them.
#[rustfmt::skip]
const KINDS: &[&str] = &[
    "assignment", "authorization", "basic-auth", "cookie", "custom", known::KIND, "private-key", "url-password",
    "url-signature", "webhook",
];

/// The rules in force; those of a session know the values of its environment, too.
pub struct Redactor {
    shared: Arc<Shared>,
    /// The session's.
    known: Option<Known>,
    /// What is stored keeps its secrets; the log never does.
    stores_secrets: bool,
}

/// What is the same for all sessions.
struct Shared {
    /// The user's own patterns.
    own: RwLock<Option<Arc<Patterns>>>,
    /// When they were read last, in milliseconds since the epoch.
    own_read_at: AtomicI64,
    kinds: Vec<&'static str>,
    counts: Vec<AtomicU64>,
}

/// A secret that has been found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Secret {
    kind: &'static str,
    /// Where, in what was searched.
    range: Range<usize>,
    /// How it goes on if it reaches to the end of that.
    open: Open,
}

/// Of a secret that is not decided: what a pause takes out.
type Begun = Option<Secret>;

/// Whether, and until what, a secret goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    No,
    /// As long as the characters are of an alphabet.
    Word(u16),
    /// To the end of a value without quotes.
    Bare,
    /// To this quote.
    Quote {
        byte: u8,
        depth: u8,
    },
    /// To a quote, or the end of the line.
    Line,
    /// To the end of the line.
    Rest,
    /// To the end of the password in a URL.
    Url,
    /// To the end of the block.
    Key,
    /// To the end of a known value, of which so many characters have been.
    Known {
        needle: usize,
        matched: usize,
    },
}

/// Shows nothing: a value can be a secret.
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

    /// The same for a session that is `given` these variables, names and values, on purpose: their values are secrets of it.
    pub fn for_session<'a>(
        self: &Arc<Self>,
        given: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Arc<Self> {
        match Known::new(given) {
            Some(known) if !self.stores_secrets => Arc::new(Self {
                shared: Arc::clone(&self.shared),
                known: Some(known),
                stores_secrets: false,
            }),
            _ => Arc::clone(self),
        }
    }

    /// The same, with secrets in what is stored if `stores_secrets`.
    pub fn storing_secrets(self, stores_secrets: bool) -> Self {
        Self {
            stores_secrets,
            ..self
        }
    }

    /// `text` as it is stored.
    pub fn redact_stored(&self, text: String) -> String {
        if self.stores_secrets {
            return text;
        }
        match self.redact(&text) {
            Cow::Owned(redacted) => redacted,
            Cow::Borrowed(_) => text,
        }
    }

    /// Whether `text` cannot be stored as it is: an issuer's token stands in it, in whatever layer. Other secrets are guessed
    /// by their surroundings, which a path or an id does not have.
    pub fn holds_token(&self, text: &str) -> bool {
        !self.stores_secrets && tokens::is_token_in(text)
    }

    /// As [`Redactor::redact_stored`], of a text's beginning: all of it, or more than `length` bytes. No more is read than that
    /// takes, since what has been passed on does not depend on what follows.
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

    /// `text` with every secret in it replaced by `[REDACTED:<kind>]`.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut stream = Stream::default();
        let mut out = Vec::with_capacity(text.len());
        stream.push(self, text.as_bytes(), &mut out);
        stream.finish(self, &mut out);
        if out == text.as_bytes() {
            return Cow::Borrowed(text);
        }
        // Secrets begin and end at ASCII characters, but a user's pattern can cut one in two.
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// How many secrets of each kind have been taken out.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.shared.kinds.iter().zip(&self.shared.counts);
        let counts = counts.map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)));
        let mut found = BTreeMap::new();
        found.extend(counts.filter(|(_, count)| *count > 0));
        found
    }

    fn count(&self, kind: &str) {
        if let Ok(at) = self.shared.kinds.binary_search(&kind) {
            self.shared.counts[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod benign;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
