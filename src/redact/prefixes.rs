//! The words that a text can begin with, by its first characters: few texts must be compared with a word.
//!
//! Pure, and built by the compiler. Knows no meaning of a word.

/// Number of characters that are looked up.
const DEPTH: usize = 4;

/// For each of the first characters, the rows of a table with a word that has it there, or ends before it: one bit each.
/// Only the low five bits of a character count, which are the same in both cases of a letter.
pub(super) struct Prefixes([[u128; 32]; DEPTH]);

impl Prefixes {
    pub(super) const NONE: Self = Self([[0; 32]; DEPTH]);

    /// Adds a `word` of the `row`.
    pub(super) const fn add(&mut self, row: usize, word: &str) {
        let word = word.as_bytes();
        let mut at = 0;
        while at < DEPTH {
            let mut letter = 0;
            while letter < 32 {
                if at >= word.len() || word[at] as usize & 31 == letter {
                    self.0[at][letter] |= 1 << row;
                }
                letter += 1;
            }
            at += 1;
        }
    }

    /// The rows that `text` can begin with: none for nearly all texts.
    #[inline(always)]
    pub(super) fn rows(&self, text: &[u8]) -> u128 {
        let row = |at: usize, byte: u8| self.0[at][usize::from(byte & 31)];
        match *text {
            [a, b, c, d, ..] => row(0, a) & row(1, b) & row(2, c) & row(3, d),
            _ => {
                let rows = text.iter().enumerate().map(|(at, byte)| row(at, *byte));
                rows.fold(u128::MAX, |all, rows| all & rows)
            }
        }
    }
}
