//! A value that a report may show, and the only kind of value in it. The program's own values convert into it; foreign
//! values only through [`super::privacy::Privacy`]. Pure.

use log::Level;
use serde_json::{Number, Value};

use crate::api::{self, SessionId, Timestamp};
use crate::observe::LogRecord;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown(pub(super) Value);

impl Shown {
    pub(super) fn json(&self) -> &Value {
        &self.0
    }

    pub(super) fn object(entries: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let entries = entries.into_iter();
        Self(api::object(
            entries.map(|(key, value)| (key.to_owned(), value.0)),
        ))
    }

    /// A log record.
    pub(super) fn record(at: Timestamp, level: Level, fields: Vec<(&'static str, Self)>) -> Self {
        let fields = fields.into_iter();
        let fields = fields
            .map(|(name, value)| (name.to_owned(), value.0))
            .collect();
        Self(LogRecord { at, level, fields }.to_json())
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self(Value::String(text.into()))
    }
}

macro_rules! ours {
    ($($type:ty)*) => {$(
        impl From<$type> for Shown {
            fn from(value: $type) -> Self {
                Self(Value::from(value))
            }
        }
    )*};
}

ours! { Number bool u8 u32 i32 u64 i64 usize &'static str }

impl From<Timestamp> for Shown {
    fn from(at: Timestamp) -> Self {
        Self::text(at.to_string())
    }
}

impl From<SessionId> for Shown {
    fn from(id: SessionId) -> Self {
        Self::text(if id.is_uuid() {
            id.to_string()
        } else {
            "<session>".into()
        })
    }
}

/// An object of values that convert into [`Shown`]: `object! { "name": value }`.
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {
        $crate::cli::diagnostics::shown::Shown::object(vec![$(($name, ($value).into())),*])
    };
}
pub(super) use object;

impl FromIterator<Shown> for Shown {
    fn from_iter<I: IntoIterator<Item = Self>>(values: I) -> Self {
        Self(values.into_iter().map(|value| value.0).collect())
    }
}

impl<T: Into<Shown>> From<Option<T>> for Shown {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self(Value::Null), Into::into)
    }
}
