//! A struct's fields as the columns of a table: declared once, from which SELECT, INSERT, UPDATE and decoding come; and
//! how the contract's types stand in a column.
//!
//! Runs on any thread, on whatever connection it has. It knows no table.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, ToSql};

use crate::api::{
    EndedBy, EventKind, LaunchOptions, LeftBehind, LeftProcess, SessionId, SessionStatus,
    Timestamp, Usage, Word,
};

/// What has a column for each field, of the field's name. [`columns!`] implements it.
pub(super) trait Columns: Sized {
    /// The columns' names, in one order.
    fn names() -> Vec<&'static str>;

    /// Decodes `row` from column `at` on, and moves `at` behind what it has decoded.
    fn read(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<Self>;

    /// The columns' values, in the order of their names.
    fn values(&self) -> Vec<&dyn ToSql>;

    /// Decodes a row of a query that selects the columns in that order.
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Self::read(row, &mut 0)
    }

    /// The columns' names and values.
    fn changes(&self) -> Vec<Change<'_>> {
        Self::names().into_iter().zip(self.values()).collect()
    }
}

/// A column's name, and the value that it gets.
pub(super) type Change<'a> = (&'static str, &'a dyn ToSql);

/// Whether the value is other than null.
pub(super) fn is_known((_, value): &Change<'_>) -> bool {
    let is_null = |value: ToSqlOutput<'_>| {
        matches!(
            value,
            ToSqlOutput::Owned(Value::Null) | ToSqlOutput::Borrowed(ValueRef::Null)
        )
    };
    !value.to_sql().is_ok_and(is_null)
}

/// Declares which of a struct's fields are columns. A field that is not mentioned does not compile.
///
/// `..group: Type` is a field whose own fields are columns, `no absent: value` one that has no column.
macro_rules! columns {
    ($type:ident { $($field:ident),+ $(,)? $(; ..$group:ident: $columns:ident)? $(; no $absent:ident: $value:expr)? }) => {
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
                    $($absent: $value,)?
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

/// The value of column `at`, which moves on.
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

impl FromSql for SessionStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(unreadable)
    }
}

impl FromSql for EndedBy {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(unreadable)
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

/// Structures that stand in one column, as JSON.
macro_rules! json_column {
    ($($type:ty),+) => {$(
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                serde_json::from_str(value.as_str()?).map_err(|err| unreadable(err.to_string()))
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

/// A process with its mark, which the contract does not show.
type LeftRow = (i32, String, String);

impl FromSql for LeftBehind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let Some(text) = value.as_str_or_null()? else {
            return Ok(Self::default());
        };
        let rows: Vec<LeftRow> =
            serde_json::from_str(text).map_err(|err| unreadable(err.to_string()))?;
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

/// Words that are written as they are declared.
macro_rules! word_to_sql {
    ($($type:ty),+) => {
        $(impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        })+
    };
}
word_to_sql!(SessionStatus, EndedBy, EventKind);

fn unreadable(reason: String) -> FromSqlError {
    FromSqlError::Other(reason.into())
}
