//! The words that a text can begin with, by its first characters: few texts must be compared with a word.
//!
//! Pure, and built by the compiler. Knows no meaning of a word.

/// Number of characters that are looked up.
const DEPTH: usize = 4;

/// Only the low five bits of a character count, which are the same in both cases of a letter.
const LETTERS: usize = 32;

pub(super) struct Prefixes {
    /// Bit set of the [`hash`]es of the words' beginnings.
    beginnings: [u32; 1 << (HASH_BITS - 5)],
    /// For each of the first characters, the rows of a table with a word that has it there, or ends before it: one bit
    /// each.
    rows: [[u128; LETTERS]; DEPTH],
}

const HASH_BITS: u32 = 12;

/// Hash of the first three characters of a text. With this factor, few words of ordinary text have the hash of a token's
/// beginning.
const fn hash(first: [u8; 4]) -> usize {
    let letters = u32::from_le_bytes(first) & 0x1f1f1f;
    (letters.wrapping_mul(0x561f_092b) >> (32 - HASH_BITS)) as usize
}

impl Prefixes {
    pub(super) const NONE: Self = Self {
        beginnings: [0; 1 << (HASH_BITS - 5)],
        rows: [[0; LETTERS]; DEPTH],
    };

    /// Adds a `word` of the `row`, which has at least two characters.
    pub(super) const fn add(&mut self, row: usize, word: &str) {
        let word = word.as_bytes();
        let mut letter = 0;
        while letter < LETTERS {
            let third = if word.len() > 2 {
                word[2]
            } else {
                letter as u8
            };
            let hash = hash([word[0], word[1], third, 0]);
            self.beginnings[hash / 32] |= 1 << (hash % 32);
            let mut at = 0;
            while at < DEPTH {
                if at >= word.len() || word[at] as usize % LETTERS == letter {
                    self.rows[at][letter] |= 1 << row;
                }
                at += 1;
            }
            letter += 1;
        }
    }

    /// False if no word begins with the first three characters of `text`: for nearly all texts.
    #[inline(always)]
    pub(super) fn may_begin(&self, text: &[u8; DEPTH]) -> bool {
        let hash = hash(*text);
        self.beginnings[hash / 32] >> (hash % 32) & 1 == 1
    }

    /// The rows that `text` can begin with.
    pub(super) fn rows(&self, text: &[u8]) -> u128 {
        match text.first_chunk() {
            Some(first) if !self.may_begin(first) => 0,
            Some(first) => self.rows_of(first),
            None => (0..)
                .zip(text)
                .fold(u128::MAX, |rows, (at, byte)| rows & self.row(at, *byte)),
        }
    }

    /// The rows whose words have each of the `first` characters at its place, or end before it.
    pub(super) fn rows_of(&self, first: &[u8; DEPTH]) -> u128 {
        let [first, second, third, fourth] = *first;
        self.row(0, first) & self.row(1, second) & self.row(2, third) & self.row(3, fourth)
    }

    #[inline(always)]
    fn row(&self, at: usize, byte: u8) -> u128 {
        self.rows[at][usize::from(byte) % LETTERS]
    }
}
