//! Maps a struct's fields to table columns: one declaration yields SELECT, INSERT, UPDATE and decoding. Also converts
//! the wire contract's types to and from columns.
//!
//! Runs on any thread, on the caller's connection. It knows no table.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, ToSql};

use crate::api::{
    EndedBy, EventKind, LaunchOptions, LeftBehind, LeftProcess, SessionId, SessionStatus,
    Timestamp, Usage, Word,
};

/// A struct with one column for each field, named like the field. [`columns!`] implements it.
pub(super) trait Columns: Sized {
    /// The columns' names, in declaration order.
    fn names() -> Vec<&'static str>;

    /// Decodes `row` from column `at` on, and advances `at` past the decoded columns.
    fn read(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<Self>;

    /// The columns' values, in the order of their names.
    fn values(&self) -> Vec<&dyn ToSql>;

    /// Decodes a row of a query that selects exactly these columns.
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Self::read(row, &mut 0)
    }

    fn changes(&self) -> Vec<Change<'_>> {
        Self::names().into_iter().zip(self.values()).collect()
    }
}

/// A column's name and its new value.
pub(super) type Change<'a> = (&'static str, &'a dyn ToSql);

/// True if the value is not NULL.
pub(super) fn is_known((_, value): &Change<'_>) -> bool {
    let is_null = |value: ToSqlOutput<'_>| {
        matches!(
            value,
            ToSqlOutput::Owned(Value::Null) | ToSqlOutput::Borrowed(ValueRef::Null)
        )
    };
    !value.to_sql().is_ok_and(is_null)
}

/// Declares which fields of a struct are columns. A forgotten field is a compile error.
///
/// `..group: Type` flattens the columns of a nested struct; `no absent` is a field without a column, which is `None`.
macro_rules! columns {
    ($type:ident { $($field:ident),+ $(,)? $(; ..$group:ident: $columns:ident)? $(; no $($absent:ident),+)? }) => {
        impl $crate::store::columns::Columns for $type {
            fn names() -> Vec<&'static str> {
                let names = vec![$(stringify!($field)),+];
                $(let names = [names, $columns::names()].concat();)?
                names
            }

            fn read(row: &rusqlite::Row<'_>, at: &mut usize) -> rusqlite::Result<Self> {
                Ok(Self {
                    $($field: $crate::store::columns::next(row, at)?,)+
                    $($group: $columns::read(row, at)?,)?
                    $($($absent: None,)+)?
                })
            }

            fn values(&self) -> Vec<&dyn rusqlite::ToSql> {
                let values: Vec<&dyn rusqlite::ToSql> = vec![$(&self.$field),+];
                $(let values = [values, self.$group.values()].concat();)?
                values
            }
        }
    };
}
pub(super) use columns;

/// Reads column `at`, and advances `at`.
pub(super) fn next<T: FromSql>(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<T> {
    *at += 1;
    row.get(*at - 1)
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_millis)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_millis().into())
    }
}

impl FromSql for SessionId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::given(value.as_str()?).map_err(unreadable)
    }
}

impl ToSql for SessionId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl<T: FromStr> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self::read(value.as_str()?.to_owned()))
    }
}

impl<T: Display> ToSql for Word<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

/// Stores a structure as JSON in one column.
macro_rules! json_column {
    ($($type:ty),+) => {$(
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                crate::api::from_json(value.as_str()?).map_err(|err| unreadable(err.to_string()))
            }
        }

        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                // Cannot fail: they are structures of strings, numbers and lists of them.
                let json = serde_json::to_string(self).expect("a column is plain data");
                Ok(json.into())
            }
        }
    )+};
}
json_column!(LaunchOptions, Usage);

/// A left process with its mark; the wire contract does not show the mark.
type LeftRow = (i32, String, String);

impl FromSql for LeftBehind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let Some(text) = value.as_str_or_null()? else {
            return Ok(Self::default());
        };
        let rows: Vec<LeftRow> =
            crate::api::from_json(text).map_err(|err| unreadable(err.to_string()))?;
        let process = |(pid, name, mark)| LeftProcess { pid, name, mark };
        Ok(Self(rows.into_iter().map(process).collect()))
    }
}

impl ToSql for LeftBehind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        if self.0.is_empty() {
            return Ok(ToSqlOutput::Owned(Value::Null));
        }
        let row = |left: &LeftProcess| (left.pid, left.name.clone(), left.mark.clone());
        let rows: Vec<LeftRow> = self.0.iter().map(row).collect();
        // Cannot fail: they are numbers and strings.
        let json = serde_json::to_string(&rows).expect("processes are plain data");
        Ok(json.into())
    }
}

/// Stores a word under its declared name.
macro_rules! word_column {
    ($($type:ty),+) => {$(
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(unreadable)
            }
        }

        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
    )+};
}
word_column!(SessionStatus, EndedBy, EventKind);

fn unreadable(reason: String) -> FromSqlError {
    FromSqlError::Other(reason.into())
}
