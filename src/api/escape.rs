//! Writes JSON strings at memory speed: every byte of output is escaped once when it is stored, and again when it is
//! read.
//!
//! Pure. It scans blocks for special characters, and copies everything between them.

use crate::sys::lanes::{Common, LANES, Lanes};

/// Bytes in a block: as many as its bit set has bits.
const BLOCK: usize = 64;

/// Appends `text` to `out` as a JSON string with quotes (RFC 8259, 7).
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut written = 0;
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    for (number, block) in blocks.iter().chain([&last]).enumerate() {
        let mut special = special_in(block);
        while special != 0 {
            let at = number * BLOCK + special.trailing_zeros() as usize;
            out.extend_from_slice(&bytes[written..at]);
            escape(out, bytes[at]);
            written = at + 1;
            special &= special - 1;
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Length of the longest prefix of `text` that needs at most `most` bytes in a JSON string, without quotes. Bytes above
/// ASCII count as one: the prefix may end within a character.
pub fn escaped_prefix(text: &[u8], most: usize) -> usize {
    let mut room = most;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let mut fitting = 0;
    for block in blocks {
        let mut length = BLOCK;
        let mut special = special_in(block);
        while special != 0 {
            length += escaped_length(block[special.trailing_zeros() as usize]) - 1;
            special &= special - 1;
        }
        let Some(rest) = room.checked_sub(length) else {
            break;
        };
        room = rest;
        fitting += BLOCK;
    }
    for byte in &text[fitting..] {
        let Some(rest) = room.checked_sub(escaped_length(*byte)) else {
            break;
        };
        room = rest;
        fitting += 1;
    }
    fitting
}

/// The bytes of `block` that a JSON string must escape (RFC 8259, 7), one bit each.
#[inline(always)]
fn special_in(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks::<LANES>();
    parts.iter().rev().fold(0, |all, part| {
        let part = Common::new(part);
        let special = part.within(0, 0x1f).or(part.is(b'"')).or(part.is(b'\\'));
        all << LANES | u64::from(special.bits())
    })
}

/// Number of bytes that `byte` needs in a JSON string.
pub fn escaped_length(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digits = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&digits);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_json_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_string_is_what_serde_json_makes_of_it_wherever_its_characters_stand() {
        let all: String = (0..0x100).filter_map(char::from_u32).collect();
        let texts = [
            all.as_str(),
            "",
            "plain",
            "é🦀\u{7f}\u{80}\u{2028}",
            "\\\"\n\r\t\u{8}\u{c}\0\u{1f}",
        ];
        for text in texts {
            for start in 0..=BLOCK {
                let text = format!("{}{text}{}", "a".repeat(start), "b".repeat(start));
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }

    #[test]
    fn the_longest_prefix_that_fits_is_found_wherever_its_specials_stand() {
        let all: String = (0..0x80).filter_map(char::from_u32).collect();
        for start in 0..=BLOCK {
            let text = format!("{}{all}é\n🦀{all}", "a".repeat(start));
            let whole = written(&text).len() - 2;
            for most in 0..=whole + 1 {
                let at = escaped_prefix(text.as_bytes(), most);
                let length = |bytes: &[u8]| {
                    bytes
                        .iter()
                        .map(|&byte| escaped_length(byte))
                        .sum::<usize>()
                };
                assert!(length(&text.as_bytes()[..at]) <= most);
                let is_longest = at == text.len() || length(&text.as_bytes()[..=at]) > most;
                assert!(is_longest, "{most} of {start}");
                if text.is_char_boundary(at) {
                    assert_eq!(
                        written(&text[..at]).len() - 2,
                        length(&text.as_bytes()[..at])
                    );
                }
            }
        }
    }
}
