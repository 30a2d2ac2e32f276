//! Tables in tests, as texts. Also compiled into the crate's unit tests: there is one of it.

// Each of the two uses a part of it.
#![allow(dead_code)]

/// The rows of a table, a line each, as `given -> expected`. Lines that begin with `#` are comments.
pub fn rows(table: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = table.lines().map(str::trim);
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| {
        let (given, expected) = row.split_once("->").unwrap_or_else(|| panic!("{row}"));
        (given.trim_end(), expected.trim_start())
    })
}

/// The words of a command line: `''` is an empty one, and `_` is a space within a word.
pub fn words(line: &str) -> Vec<String> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    words
        .map(|word| word.replace("''", "").replace('_', " "))
        .collect()
}
