//! Finds where a token, a service's value or a URL can begin, at memory speed: candidates for `tokens` and `urls`.
//!
//! Pure. It compares a step of 64 bytes at once, and then a few bytes around each possible beginning.

use super::issuers::{PREFIXES, is_word, words_in};
use super::layer::Layer;
use super::urls;
use super::view::{View, is_behind_escape};
use crate::sys::lanes::{self, Common, LANES, Lanes, Search};

/// Minimum length of a token, in bytes: shorter words are not examined.
pub(super) const BEGIN_MIN: usize = 15;

/// What can begin at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// A token or a service's value: a word of at least [`BEGIN_MIN`] token characters.
    Word,
    /// The authority of a URL, after [`urls::MARK`].
    Url,
}

/// The next position in `text` from `from` on at which something can begin.
pub(super) fn next(text: &[u8], from: usize, layer: &Layer) -> Option<(usize, Begin)> {
    lanes::search(Next { text, from, layer })
}

struct Next<'a> {
    text: &'a [u8],
    from: usize,
    layer: &'a Layer,
}

impl Search for Next<'_> {
    type Found = Option<(usize, Begin)>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Option<(usize, Begin)> {
        let Self { text, from, layer } = self;
        let mut marks = layer.marks_from(from);
        let (mut at, mut mark) = (from, marks.next());
        let mut at_end;
        let mut step = None;
        while at < text.len() {
            let window = match window_in(text, at) {
                Some(window) => window,
                None => {
                    at_end = window_at_end(text, at);
                    &at_end
                }
            };
            let (first, colons) = step.unwrap_or_else(|| tokens_in::<L>(window, 1));
            let (second, next_colons) = tokens_in::<L>(window, 3);
            step = Some((second, next_colons));
            let urls = colons & slashes_in::<L>(window, 1) & slashes_in::<L>(window, 2);
            let long = long_in(first, second);
            if long | urls != 0 {
                let (mut begins, is_near_escape) = begins_in::<L>(window);
                // Another word can begin after a sequence.
                while let Some(place) = mark.filter(|mark| *mark < at + STEP) {
                    begins |= place.checked_sub(at).map_or(0, |place| 1 << place);
                    mark = marks.next();
                }
                begins = begins & long | urls;
                while begins != 0 {
                    let place = begins.trailing_zeros() as usize;
                    begins &= begins - 1;
                    if urls >> place & 1 == 1 {
                        if urls::may_have_password(text, at + place) {
                            return Some((at + place, Begin::Url));
                        }
                        continue;
                    }
                    let around = window.get(LANES - AROUND + place..);
                    let around = around.and_then(<[u8]>::first_chunk);
                    if around.is_none_or(|around| may_be_wanted(around, is_near_escape))
                        && is_wanted(text, at + place, layer)
                    {
                        return Some((at + place, Begin::Word));
                    }
                }
            }
            at += STEP;
        }
        None
    }
}

/// Bytes that are examined in one step, one bit each.
const STEP: usize = 2 * LANES;

/// Bytes of a step, with the block before it and the next step.
const WINDOW: usize = LANES + 2 * STEP;

/// The window of the step at `at`, if the text has all of it.
#[inline(always)]
fn window_in(text: &[u8], at: usize) -> Option<&[u8; WINDOW]> {
    text.get(at.checked_sub(LANES)?..)?.first_chunk()
}

/// The window of the step at `at`, with zeros before the text, and behind it what can be a mark inside a token.
#[inline(never)]
fn window_at_end(text: &[u8], at: usize) -> [u8; WINDOW] {
    let mut window = [b'%'; WINDOW];
    let missing = LANES.saturating_sub(at);
    window[..missing].fill(0);
    for (byte, known) in window[missing..]
        .iter_mut()
        .zip(&text[at + missing - LANES..])
    {
        *byte = *known;
    }
    window
}

/// The block `index` of a `window`.
#[inline(always)]
fn block<L: Lanes>(window: &[u8; WINDOW], index: usize) -> L {
    L::new(&window.as_chunks().0[index])
}

#[inline(always)]
fn join(first: impl Lanes, second: impl Lanes) -> u64 {
    u64::from(first.bits()) | u64::from(second.bits()) << LANES
}

/// Of the block `index` and the next: the bytes that can belong to a token, and the colons. Some others are among the
/// former, but no blanks, quotes, brackets, colons and no percent sign.
#[inline(always)]
fn tokens_in<L: Lanes>(window: &[u8; WINDOW], index: usize) -> (u64, u64) {
    let (first, second) = (block::<L>(window, index), block::<L>(window, index + 1));
    let (first_colons, second_colons) = (first.is(b':'), second.is(b':'));
    let first = first.within(b'+', 0x7f).but(first_colons);
    let second = second.within(b'+', 0x7f).but(second_colons);
    (join(first, second), join(first_colons, second_colons))
}

/// The positions of a step with [`BEGIN_MIN`] token characters, of which the step has the `first` and the next the `second`.
#[inline(always)]
fn long_in(first: u64, second: u64) -> u64 {
    let one = u128::from(first) | u128::from(second) << STEP;
    let two = one & one >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    (eight & eight >> (BEGIN_MIN - 8)) as u64
}

/// The positions of a step with a slash `behind` bytes further on.
#[inline(always)]
fn slashes_in<L: Lanes>(window: &[u8; WINDOW], behind: usize) -> u64 {
    let (first, second) = (LANES + behind, 2 * LANES + behind);
    join(
        L::at(window, first).is(b'/'),
        L::at(window, second).is(b'/'),
    )
}

/// The first bytes of an escape whose last characters could belong to a word.
#[inline(always)]
fn escapes_in<L: Lanes>(block: L) -> L {
    block.is(b'\\').or(block.is(b'%'))
}

/// The positions of a step at which a word can begin, and whether an escape is near them.
#[inline(always)]
fn begins_in<L: Lanes>(window: &[u8; WINDOW]) -> (u64, bool) {
    let (first, second) = (block::<L>(window, 1), block::<L>(window, 2));
    let words = join(words_in(first), words_in(second));
    let joints = join(first.within(b'-', b'/'), second.within(b'-', b'/'));
    let last = window[LANES - 1];
    let behind_word = words << 1 | u64::from(is_word(last));
    let behind_joint = joints << 1 | u64::from(matches!(last, b'-'..=b'/'));
    // Only another word can begin behind a joint.
    let begins = !behind_word & (words | !behind_joint);
    let before = escapes_in(block::<L>(window, 0));
    let (first, second) = (escapes_in(first), escapes_in(second));
    if before.or(first).or(second).bits() == 0 {
        return (begins, false);
    }
    let escapes = u128::from(before.bits()) | u128::from(join(first, second)) << LANES;
    let behind_escape = (escapes << 2 | escapes << 3 | escapes << 4 | escapes << 6) >> LANES;
    (begins | behind_escape as u64, true)
}

/// Characters of the text before a service's value: operators, what may stand behind one, and ends of escapes.
const OPERATOR: u8 = 1;
const BETWEEN: u8 = 2;
const ESCAPE_END: u8 = 4;

#[inline(always)]
fn class(byte: u8) -> u8 {
    const CLASS: [u8; 256] = {
        let mut class = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            class[byte] = match byte as u8 {
                b'=' | b':' | b'>' | b',' | b'|' => OPERATOR,
                b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' | b'(' => BETWEEN,
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => ESCAPE_END,
                b';' => OPERATOR | ESCAPE_END,
                _ => 0,
            };
            byte += 1;
        }
        class
    };
    CLASS[usize::from(byte)]
}

/// Number of bytes before a word that tell whether it is wanted.
const AROUND: usize = 3;

/// False if no token and no service's value begins behind the first bytes of `around`: nearly all words end here, most at
/// the first comparison, which has no branches that the processor could not predict.
#[inline(always)]
fn may_be_wanted(around: &[u8; AROUND + 17], is_near_escape: bool) -> bool {
    let [third, second, last, word @ ..] = around;
    let Some(first) = word.first_chunk() else {
        return true;
    };
    let ends = OPERATOR | if is_near_escape { ESCAPE_END } else { 0 };
    let goes_on = ends | BETWEEN;
    let (is_last, is_second) = (class(*last), class(*second));
    let has_beginning = PREFIXES.may_begin(first);
    let is_digit = word[0].is_ascii_digit();
    let is_behind = (is_last & ends != 0) | (is_last & BETWEEN != 0) & (is_second & goes_on != 0);
    if !(has_beginning | is_digit | (word[6] == b'_') | (word[4] == b'Q') | is_behind) {
        return false;
    }
    let is_path = *last == b':' && (*second == b':' || word[0] == b'/');
    let is_arrow = *second == b'>' && *third == b'-';
    has_beginning && PREFIXES.rows_of(first) != 0
        || has_mark(word)
        || word[6] == b'_'
        || is_last & ends != 0 && !is_path
        || is_last & BETWEEN != 0
            && is_second & goes_on != 0
            && !is_arrow
            && (is_second & BETWEEN == 0 || class(*third) & goes_on != 0)
}

/// True if a token or a service's value can begin at `at`.
fn is_wanted(text: &[u8], at: usize, layer: &Layer) -> bool {
    (has_operator(text, at) || PREFIXES.rows(&text[at..]) != 0 || may_be_marked(text, at))
        && is_long_begin(text, at, layer)
}

fn is_long_begin(text: &[u8], at: usize, layer: &Layer) -> bool {
    const LONG: u32 = (1 << BEGIN_MIN) - 1;
    tokens_of(Common::at(text, at)).bits() & LONG == LONG && is_begin(text, at, layer)
}

/// Like [`is_in`] for [`TOKEN`], for each byte of a block.
#[inline(always)]
fn tokens_of<L: Lanes>(block: L) -> L {
    let joints = block.within(b'-', b'/').or(block.is(b'+'));
    let others = block.is(b'=').or(block.is(b'~'));
    words_in(block).or(joints).or(others)
}

/// True if an operator that may follow a service's name is before `at`.
#[inline(always)]
fn has_operator(text: &[u8], at: usize) -> bool {
    let Some((operator, start)) = operator_before(text, at) else {
        return false;
    };
    let before = character_before(text, start).map(|before| before.0);
    match operator {
        b':' => before != Some(b':') && text[at] != b'/',
        b'>' => before != Some(b'-'),
        _ => true,
    }
}

/// True if the token at `at` can be one with a mark inside: the mark, or an escape in its place, is at a possible
/// position.
pub(super) fn may_be_marked(text: &[u8], at: usize) -> bool {
    let word = text.get(at..).and_then(<[u8]>::first_chunk);
    word.is_none_or(|word| {
        has_mark(word) || word[6] == b'_' && word.iter().all(|byte| is_word(*byte))
    })
}

#[inline(always)]
fn has_mark(word: &[u8; 17]) -> bool {
    let is_mark = |byte: u8| matches!(byte, b'|' | b'%');
    word[0].is_ascii_digit() && (is_mark(word[15]) || is_mark(word[16])) || word[4..6] == *b"Q~"
}

/// The operator before `at`, and its beginning; quotes and blanks may follow it.
#[inline(always)]
pub(super) fn operator_before(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let mut end = at;
    loop {
        let (byte, start) = character_before(text, end)?;
        match class(byte) {
            BETWEEN => end = start,
            class => return (class & OPERATOR != 0).then_some((byte, start)),
        }
    }
}

/// The character before `end`, and its beginning; an escape is one character.
#[inline(always)]
pub(super) fn character_before(text: &[u8], end: usize) -> Option<(u8, usize)> {
    let last = end.checked_sub(1)?;
    match class(text[last]) & ESCAPE_END {
        0 => Some((text[last], last)),
        _ => Some(escape_before(text, end)),
    }
}

fn escape_before(text: &[u8], end: usize) -> (u8, usize) {
    /// Maximum length of an examined escape: `%252522`.
    const ESCAPE: usize = 8;
    let from = end.saturating_sub(ESCAPE);
    let block = Common::at(text, from);
    let begins = block.is(b'%').or(block.is(b'&')).or(block.is(b'\\'));
    let begins = begins.bits() & ((1 << (end - from)) - 1);
    if let Some(start) = begins.checked_ilog2()
        && let start = from + start as usize
        && let Ok(glyph) = View::new(&text[..end], true).glyph(start)
        && glyph.end == end
    {
        return (glyph.byte, start);
    }
    (text[end - 1], end - 1)
}

/// True if a word begins at `at`: after a non-word character, an escape, or an escape sequence.
pub(super) fn is_begin(text: &[u8], at: usize, layer: &Layer) -> bool {
    let Some(before) = at.checked_sub(1).map(|at| text[at]) else {
        return true;
    };
    !is_word(before) || layer.is_marked(at) || is_behind_escape(text, at)
}

#[cfg(test)]
mod tests {
    use super::super::issuers::{TOKEN, is_in};
    use super::*;

    #[test]
    fn the_characters_of_tokens_are_told_alike_one_by_one_and_in_a_block() {
        for byte in 0..=u8::MAX {
            let is_token = tokens_of(Common::at(&[byte], 0)).bits() & 1 == 1;
            assert_eq!(is_token, is_in(byte, TOKEN), "{byte:#x}");
            let is_in_word = words_in(Common::at(&[byte], 0)).bits() & 1 == 1;
            assert_eq!(is_in_word, is_word(byte), "{byte:#x}");
        }
    }
}
