//! The table `meta`: one JSON record for each name, about the database itself.
//!
//! Runs on any thread, on the caller's connection. It does not know the records' content.

use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::find;
use super::schema::StoreError;

/// Reads the record `name`; `None` if it is absent, or if another version wrote a form that this one cannot parse.
pub(super) fn read<T: DeserializeOwned>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    let query = "SELECT value FROM meta WHERE name = ?1";
    let value: Option<String> = find(connection, query, [name])?;
    Ok(value.and_then(|value| crate::api::from_json(&value).ok()))
}

/// Writes the record `name`.
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
pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), StoreError> {
    connection.execute("DELETE FROM meta WHERE name = ?1", [name])?;
    Ok(())
}
