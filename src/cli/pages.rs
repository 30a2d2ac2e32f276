//! Lists of the daemon's that come page by page, as iterators.
//!
//! It does not know what is listed.

use std::vec::IntoIter;

use super::CliError;

/// A page, and whether it is the last one.
type Page<T> = Result<(Vec<T>, bool), CliError>;

/// The items of all pages; one page of them is in memory. An error ends the list. One type for all lists of an item:
/// adapters of std's would put a copy of theirs into the program for each.
pub(super) struct Paged<'a, T> {
    next_page: Box<dyn FnMut() -> Page<T> + 'a>,
    page: IntoIter<T>,
    is_last: bool,
}

/// The items of the pages that `next_page` returns.
pub(super) fn paged<'a, T>(next_page: impl FnMut() -> Page<T> + 'a) -> Paged<'a, T> {
    Paged {
        next_page: Box::new(next_page),
        page: Vec::new().into_iter(),
        is_last: false,
    }
}

impl<T> Iterator for Paged<'_, T> {
    type Item = Result<T, CliError>;

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.page.next() {
                return Some(Ok(item));
            }
            if std::mem::replace(&mut self.is_last, true) {
                return None;
            }
            match (self.next_page)() {
                Ok((items, is_last)) => (self.page, self.is_last) = (items.into_iter(), is_last),
                Err(err) => return Some(Err(err)),
            }
        }
    }
}
