//! The pages of the manual: their names, and their text with the tables that the declarations fill in.
//!
//! Pure. Each page is a file beside this one.

use super::markdown::{Block, parse};
use super::terminal::Layout;
use super::{roff, tables};

/// A page of the manual.
pub(in crate::cli) struct Topic {
    /// The name behind `coven help`.
    pub name: &'static str,
    /// The section of the manual: 1 commands, 5 files, 7 others (man-pages(7)).
    section: u8,
    /// Its subject, as a phrase.
    pub about: &'static str,
    source: &'static str,
}

/// Declares the pages: name, section, subject. The file of the text has the page's name.
macro_rules! topics {
    ($($name:literal $section:literal $about:literal;)*) => {
        /// All pages.
        pub(in crate::cli) const TOPICS: &[Topic] = &[$(Topic {
            name: $name,
            section: $section,
            about: $about,
            source: include_str!(concat!($name, ".md")),
        }),*];
    };
}

topics! {
    "coven" 1 "run coding agents as supervised sessions";
    "harness" 5 "agents, their permissions and conversations, and manifests";
    "settings" 5 "settings, files, and what happens to your data";
    "api" 7 "the HTTP API on the Unix socket";
    "log" 7 "the daemon's log, and its events";
    "metrics" 7 "the daemon's metrics, for Prometheus";
    "doctor" 7 "the checks of coven doctor, and reports for who helps";
    "faults" 7 "what can go wrong, and what coven does then";
}

impl Topic {
    /// The page `name`: `api`, `coven-api`, `coven-api.7` or `coven-api(7)`.
    pub(in crate::cli) fn named(name: &str) -> Option<&'static Self> {
        let name = name.trim_end_matches([')']);
        let name = name.split(['(', '.']).next().unwrap_or(name);
        TOPICS
            .iter()
            .find(|topic| name == topic.name || name == topic.title())
    }

    /// Its text as it is written.
    #[cfg(test)]
    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    /// Its name for man(1).
    fn title(&self) -> String {
        match self.section {
            1 => self.name.to_owned(),
            _ => format!("coven-{}", self.name),
        }
    }

    /// The name of its file for man(1).
    pub(super) fn file(&self) -> String {
        format!("{}.{}", self.title(), self.section)
    }

    /// Its text for a terminal of `columns`.
    pub(in crate::cli) fn text(&self, columns: usize, is_styled: bool) -> String {
        let mut layout = Layout::new(columns, is_styled);
        let title = format!("**{}({})**: {}", self.title(), self.section, self.about);
        layout.hanging(0, "", &title);
        layout.blocks(&self.blocks());
        layout.finish()
    }

    /// Its text for man(1).
    pub(super) fn roff(&self) -> String {
        roff::page(&self.title(), self.section, self.about, &self.blocks())
    }

    fn blocks(&self) -> Vec<Block> {
        parse(&tables::filled(self.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::width;

    #[test]
    fn a_page_is_found_by_each_of_its_names() {
        for name in ["api", "coven-api", "coven-api.7", "coven-api(7)"] {
            assert_eq!(Topic::named(name).unwrap().name, "api", "{name}");
        }
        assert_eq!(Topic::named("coven.1").unwrap().name, "coven");
        assert!(Topic::named("ap").is_none() && Topic::named("coven-coven").is_none());
    }

    #[test]
    fn no_line_of_a_page_is_wider_than_the_terminal() {
        for topic in TOPICS {
            for columns in [80, 120] {
                for line in topic.text(columns, false).lines() {
                    // A word that is too long for a line stands alone.
                    let is_one_word = line.split_whitespace().nth(1).is_none();
                    let fits = width(line) <= columns || is_one_word;
                    assert!(fits, "{}, {columns}: {line}", topic.name);
                }
            }
        }
    }

    #[test]
    fn no_page_has_marks_that_are_not_closed_or_places_that_are_not_filled() {
        for topic in TOPICS {
            let text = topic.text(80, false);
            for mark in ["`", "**", "{{", "| ---"] {
                assert!(!text.contains(mark), "{mark} in {}:\n{text}", topic.name);
            }
        }
    }
}
