//! Splits a stream's bytes into output payloads: valid UTF-8 as text, never split within a character; everything else
//! exactly, as base64.
//!
//! Pure: bytes in, pieces out.

use crate::api::{OUTPUT_PAYLOAD_MAX, escaped_length, escaped_prefix};

/// Most JSON bytes of a payload's data; the rest is for the names around it, the stream, and the end of a base64 text.
const ROOM: usize = OUTPUT_PAYLOAD_MAX - 64;

/// Content of one output event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Valid UTF-8.
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Whether the rest of an incomplete character can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    More,
    End,
}

/// Splits `bytes` into pieces; also returns the number of bytes at the end that start an incomplete character: 0 if
/// nothing follows.
pub(super) fn split(bytes: &[u8], then: Then) -> (Vec<Piece<'_>>, usize) {
    let held = match then {
        Then::More => incomplete_tail(bytes),
        Then::End => 0,
    };
    let mut rest = &bytes[..bytes.len() - held];
    let mut pieces = Vec::new();
    // One check of all bytes: a stream with an invalid byte is probably no text at all.
    let is_text = str::from_utf8(rest).is_ok();
    while !rest.is_empty() {
        let max = if is_text {
            escaped_prefix(rest, ROOM)
        } else {
            bytes_prefix(rest)
        };
        let (piece, after) = rest.split_at(character_boundary(rest, max));
        pieces.push(match str::from_utf8(piece) {
            Ok(text) => Piece::Text(text),
            Err(_) => Piece::Bytes(piece),
        });
        rest = after;
    }
    (pieces, held)
}

/// Length of the prefix of `bytes` that fits into an event, as lossy text and as base64.
fn bytes_prefix(bytes: &[u8]) -> usize {
    // Counted in thirds of a JSON byte, since base64 turns three bytes into four.
    let mut room = ROOM * 3;
    let does_not_fit = |byte: &u8| {
        let likeness = match byte {
            // At most a replacement character (U+FFFD).
            0x80.. => 3,
            _ => escaped_length(*byte),
        };
        let rest = room.checked_sub(likeness * 3 + 4);
        room = rest.unwrap_or(0);
        rest.is_none()
    };
    bytes.iter().position(does_not_fit).unwrap_or(bytes.len())
}

/// Number of bytes (0 to 3) at the end of `bytes` that start an incomplete character.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - length..];
        if is_continuation(tail[0]) {
            continue;
        }
        // `error_len` is None exactly if more bytes could complete the character.
        let begins = str::from_utf8(tail)
            .is_err_and(|err| err.valid_up_to() == 0 && err.error_len().is_none());
        return if begins { length } else { 0 };
    }
    0
}

/// The largest position up to `max` that is not within a character.
fn character_boundary(bytes: &[u8], max: usize) -> usize {
    if bytes.len() <= max {
        return bytes.len();
    }
    // A character has at most three continuation bytes; a longer run is not UTF-8 and can be split anywhere.
    (0..=3)
        .map(|back| max - back)
        .find(|&at| !is_continuation(bytes[at]))
        .unwrap_or(max)
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Origin, Payload, Stream};
    use crate::random::{Random, rounds};

    /// The output for `bytes` that arrive in two reads, split at `at`.
    fn through(bytes: &[u8], at: usize) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let mut all_text = true;
        let mut carry = Vec::new();
        for (part, then) in [
            (&bytes[..at], Then::More),
            (&bytes[at..], Then::More),
            (&[][..], Then::End),
        ] {
            carry.extend_from_slice(part);
            let (pieces, held) = split(&carry, then);
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Piece::Bytes(bytes) => {
                        all_text = false;
                        out.extend_from_slice(bytes);
                    }
                }
            }
            carry.drain(..carry.len() - held);
        }
        (out, all_text)
    }

    #[test]
    fn a_character_is_never_split_wherever_the_reads_are() {
        let text = "aé€🦀\u{10ffff}z".as_bytes();
        for at in 0..=text.len() {
            assert_eq!(through(text, at), (text.to_vec(), true), "split at {at}");
        }
    }

    #[test]
    fn every_byte_of_anything_comes_out_in_order() {
        let junk: Vec<u8> = (0..=255u8)
            .chain("é\u{fffd}".bytes())
            .chain([0xf0, 0x9f])
            .collect();
        for at in 0..=junk.len() {
            assert_eq!(through(&junk, at).0, junk, "split at {at}");
        }
    }

    #[test]
    fn only_what_can_become_a_character_is_held_back() {
        assert_eq!(incomplete_tail("é".as_bytes()), 0);
        assert_eq!(incomplete_tail(b"a\xc3"), 1);
        assert_eq!(incomplete_tail(b"a\xf0\x9f\xa6"), 3);
        assert_eq!(incomplete_tail(b"\xff"), 0);
        assert_eq!(incomplete_tail(b"\x80\x80"), 0);
        assert_eq!(
            incomplete_tail(b"\xe0\x80"),
            0,
            "overlong: no third byte mends it"
        );
        assert_eq!(incomplete_tail(b""), 0);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "€".repeat(ROOM);
        let (pieces, held) = split(text.as_bytes(), Then::More);
        assert_eq!(held, 0);
        assert!(pieces.len() > 3);
        for piece in &pieces {
            assert!(matches!(piece, Piece::Text(text) if text.len() <= ROOM));
        }
    }

    /// Payload size of each piece of `bytes`.
    fn payloads(bytes: &[u8]) -> Vec<usize> {
        let (pieces, _) = split(bytes, Then::End);
        let origin = Origin {
            stream: Stream::Stderr,
            is_late: true,
        };
        let payload = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => Payload::text_to_json(text, origin).len(),
            Piece::Bytes(bytes) => Payload::bytes_to_json(bytes, origin).len(),
        };
        pieces.iter().map(payload).collect()
    }

    #[test]
    fn no_payload_is_over_its_bound_and_none_but_the_last_is_small() {
        let repeated = [
            "x",
            "\n",
            "\"",
            "\\",
            "\t",
            "\u{1b}[31m",
            "\0",
            "\u{7f}",
            "é",
            "€",
            "🦀",
            "x\0🦀\"",
        ];
        let mut kinds: Vec<Vec<u8>> = repeated
            .iter()
            .map(|text| text.repeat(200_000 / text.len()).into_bytes())
            .collect();
        for junk in [
            &b"\xff"[..],
            b"\xff\0",
            b"\xc3",
            b"\xff\n",
            b"\xf0\x9f",
            b"a\xff",
            b"\xff\x1b[0m",
        ] {
            kinds.push(junk.repeat(200_000 / junk.len()));
        }
        for bytes in kinds {
            let all = payloads(&bytes);
            assert!(
                all.iter().all(|&bytes| bytes <= OUTPUT_PAYLOAD_MAX),
                "{all:?}"
            );
            let (_, whole) = all.split_last().unwrap();
            assert!(
                whole.iter().all(|&bytes| bytes > OUTPUT_PAYLOAD_MAX / 3),
                "{all:?}"
            );
        }
    }

    #[test]
    fn any_mixture_stays_below_the_bound() {
        let mut random = Random::new(4);
        for _ in 0..rounds(30) {
            let mut bytes = Vec::new();
            while bytes.len() < 150_000 {
                let part = mixture(&mut random, bytes.len() % 2 == 0);
                bytes.extend(part.repeat(1 + random.below(9000)));
                bytes.push(b'\n');
            }
            assert!(
                payloads(&bytes)
                    .iter()
                    .all(|&bytes| bytes <= OUTPUT_PAYLOAD_MAX)
            );
        }
    }

    /// Text and invalid bytes, in pieces that meet within characters.
    fn mixture(random: &mut Random, has_junk: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..random.below(12) {
            let length = random.below(9);
            match random.below(4) {
                0 if has_junk => bytes.extend(random.bytes(length)),
                // The first bytes of a character, without the rest.
                1 if has_junk => bytes.extend(&"🦀".as_bytes()[..random.below(4)]),
                _ => bytes.extend(random.text(length).into_bytes()),
            }
        }
        bytes
    }

    #[test]
    fn any_bytes_come_out_whole_whichever_way_they_are_split() {
        let mut random = Random::new(1);
        for round in 0..rounds(3000) {
            let has_junk = round % 2 == 0;
            let bytes = mixture(&mut random, has_junk);
            for at in 0..=bytes.len() {
                let (out, all_text) = through(&bytes, at);
                assert_eq!(out, bytes, "split at {at}");
                assert!(has_junk || all_text, "{bytes:?} split at {at}");
            }
        }
    }

    #[test]
    fn any_bytes_come_out_whole_in_any_number_of_reads() {
        let mut random = Random::new(2);
        for round in 0..rounds(3000) {
            let has_junk = round % 2 == 0;
            let bytes = mixture(&mut random, has_junk);
            let (mut out, mut carry, mut rest) = (Vec::new(), Vec::new(), bytes.as_slice());
            while !rest.is_empty() || !carry.is_empty() {
                let (read, after) = rest.split_at(random.below(rest.len() + 1));
                carry.extend_from_slice(read);
                let then = match after {
                    [] => Then::End,
                    _ => Then::More,
                };
                let (pieces, held) = split(&carry, then);
                assert!(held <= 3 && (then == Then::More || held == 0), "{held}");
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                        Piece::Bytes(junk) => {
                            assert!(has_junk, "{bytes:?}");
                            assert!(str::from_utf8(junk).is_err());
                            out.extend_from_slice(junk);
                        }
                    }
                }
                carry.drain(..carry.len() - held);
                rest = after;
            }
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn long_bytes_are_cut_into_pieces_within_their_bounds() {
        let mut random = Random::new(3);
        for _ in 0..rounds(20) {
            let length = random.below(4 * ROOM);
            let is_text = random.one_in(2);
            let bytes = match is_text {
                true => random.text(length / 2).into_bytes(),
                false => random.bytes(length),
            };
            let (pieces, held) = split(&bytes, Then::More);
            let mut total = held;
            for piece in pieces {
                let length = match piece {
                    Piece::Text(text) => text.len(),
                    Piece::Bytes(bytes) => {
                        assert!(!is_text, "a character is cut");
                        bytes.len()
                    }
                };
                assert!((1..=ROOM).contains(&length), "{length}");
                total += length;
            }
            assert_eq!(total, bytes.len());
        }
    }
}
