//! Lists of the daemon's that come page by page, as iterators.
//!
//! It does not know what is listed.

use super::CliError;

/// The items of all pages; one page of them is in memory. `next_page` also tells whether its page is the last one. An error
/// ends the list.
pub(super) fn paged<T>(
    mut next_page: impl FnMut() -> Result<(Vec<T>, bool), CliError>,
) -> impl Iterator<Item = Result<T, CliError>> {
    let mut is_over = false;
    let pages = std::iter::from_fn(move || {
        if std::mem::replace(&mut is_over, true) {
            return None;
        }
        Some(next_page().map(|(items, is_last)| {
            is_over = is_last;
            items
        }))
    });
    pages.flat_map(|page| match page {
        Ok(items) => items.into_iter().map(Ok).collect(),
        Err(err) => vec![Err(err)],
    })
}
