//! Scans blocks of 64 bytes for characters that JSON must escape, with SSE2 where available.
//!
//! Pure, called by every thread. It knows nothing else of JSON.

/// Bytes in a block: as many as the result has bits.
pub const BLOCK: usize = 64;

/// Sets bit `i` where byte `i` of `block` is a control character, a quote or a backslash: the characters that a JSON
/// string must escape (RFC 8259, 7).
pub fn unplain_in(block: &[u8; BLOCK]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2 (System V ABI for AMD64, 1.1).
    unsafe {
        sse2::unplain_in(block)
    }
    #[cfg(not(target_arch = "x86_64"))]
    words::unplain_in(block)
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };

    use super::BLOCK;

    #[target_feature(enable = "sse2")]
    pub(super) fn unplain_in(block: &[u8; BLOCK]) -> u64 {
        let (vectors, _) = block.as_chunks::<16>();
        let bits = vectors.iter().map(|bytes| u64::from(unplain(load(bytes))));
        bits.rev().fold(0, |all, bits| all << 16 | bits)
    }

    #[target_feature(enable = "sse2")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        let (words, _) = bytes.as_chunks::<8>();
        // The compiler turns this into one load.
        _mm_set_epi64x(i64::from_le_bytes(words[1]), i64::from_le_bytes(words[0]))
    }

    #[target_feature(enable = "sse2")]
    fn unplain(bytes: __m128i) -> u16 {
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        // The upper half of the 32 bits is zero: one bit for each of 16 bytes.
        _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash))) as u16
    }
}

/// The same for all other processors, eight bytes at a time.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use super::BLOCK;

    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const LOWS: u64 = !HIGHS;

    pub(super) fn unplain_in(block: &[u8; BLOCK]) -> u64 {
        let (words, _) = block.as_chunks::<8>();
        let bits = words
            .iter()
            .map(|word| gather(unplain(u64::from_le_bytes(*word))));
        bits.rev().fold(0, |all, bits| all << 8 | bits)
    }

    /// Sets the high bit of each matching byte. No addition carries into the next byte: both operands are below 0x80.
    fn unplain(word: u64) -> u64 {
        let below =
            |word: u64, n: u8| !(((word & LOWS) + ONES * u64::from(0x80 - n)) | word) & HIGHS;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        below(word, 0x20) | equal(b'"') | equal(b'\\')
    }

    /// Gathers the high bits of eight bytes into one byte: the multiplication moves each to its place in the top byte.
    fn gather(highs: u64) -> u64 {
        (highs >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_at_every_place_whatever_stands_beside_it() {
        for neighbour in [b'a', 0x1f, 0x7f, 0x80, 0xff] {
            for place in 0..BLOCK {
                for byte in 0..=u8::MAX {
                    let mut block = [neighbour; BLOCK];
                    block[place] = byte;
                    let is_unplain = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
                    let expected = (0..BLOCK)
                        .filter(|&at| is_unplain(&block[at]))
                        .fold(0, |bits, at| bits | 1 << at);
                    assert_eq!(unplain_in(&block), expected, "{byte:#x} at {place}");
                    assert_eq!(words::unplain_in(&block), expected, "{byte:#x} at {place}");
                }
            }
        }
    }
}
