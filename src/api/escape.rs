//! JSON strings, written at memory speed: every byte of output goes through here on its way in, and again on its way out.
//!
//! Pure. A block is looked at at once, for where its special characters are; what stands between two of them is copied whole.

use crate::sys::{BLOCK, unplain_in};

/// Adds `text` to `out` as a JSON string (RFC 8259, 7), with its quotes.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut written = 0;
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    for (number, block) in blocks.iter().chain([&last]).enumerate() {
        let mut special = unplain_in(block);
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
}
