//! The table `meta`: what is known of the database itself, a JSON record a name.
//!
//! Runs on any thread, on whatever connection it has. It knows no record's content.

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::StoreError;

/// The record `name`; `None` if there is none, or one that another version wrote and this one cannot read.
pub(super) fn read<T: DeserializeOwned>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    let query = "SELECT value FROM meta WHERE name = ?1";
    let value: Option<String> = connection
        .query_row(query, [name], |row| row.get(0))
        .optional()?;
    Ok(value.and_then(|value| serde_json::from_str(&value).ok()))
}

/// Writes the record `name`.
///
/// # Errors
/// What SQLite says.
pub(super) fn write(
    connection: &Connection,
    name: &str,
    record: &impl Serialize,
) -> Result<(), StoreError> {
    let value = serde_json::to_string(record).map_err(std::io::Error::other)?;
    let set = "INSERT INTO meta (name, value) VALUES (?1, ?2)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection
        .prepare_cached(set)?
        .execute([name, value.as_str()])?;
    Ok(())
}

/// Removes the record `name`.
///
/// # Errors
/// What SQLite says.
pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), StoreError> {
    connection.execute("DELETE FROM meta WHERE name = ?1", [name])?;
    Ok(())
}
