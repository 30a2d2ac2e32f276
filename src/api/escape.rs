//! JSON strings, written at memory speed: every byte of output goes through here on its way in, and again on its way out.
//!
//! Pure. Eight bytes are looked at at once, as in "Bit Twiddling Hacks" ("Determine if a word has a byte less than n").

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Adds `text` to `out` as a JSON string (RFC 8259, 7), with its quotes.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = find_special(rest) {
        out.extend_from_slice(&rest[..at]);
        escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The first byte that cannot stand in a string as it is: a quote, a backslash, a control character.
fn find_special(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<32>();
    // Most blocks have none: four words a branch.
    let plain = blocks.iter().take_while(|block| {
        let (words, _) = block.as_chunks::<8>();
        specials(words[0]) | specials(words[1]) | specials(words[2]) | specials(words[3]) == 0
    });
    let start = plain.count() * 32;
    let (words, _) = bytes[start..].as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // Only the lowest bit is exact: what it borrows can set those above it.
        let special = specials(*word);
        if special != 0 {
            return Some(start + number * 8 + special.trailing_zeros() as usize / 8);
        }
    }
    let tail = start + words.len() * 8;
    let is_special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    bytes[tail..]
        .iter()
        .position(is_special)
        .map(|at| tail + at)
}

/// The high bit of each byte of `word` that is special, and perhaps of some behind the first.
fn specials(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    let below = |x: u64, n: u64| x.wrapping_sub(ONES * n) & !x & HIGHS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | equal(b'"') | equal(b'\\')
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
            for start in 0..=8 {
                let text = format!("{}{text}{}", "a".repeat(start), "b".repeat(start));
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }
}
