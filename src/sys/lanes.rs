//! Compares 32 bytes at once: by the processor's vector instructions, or elsewhere in wide words.
//!
//! Pure, for each thread. Knows ranges of bytes, not their meaning.

use std::ops::BitOr;

/// Number of the bytes.
pub const LANES: usize = 32;

/// Bytes, or the results of a comparison of each.
#[derive(Clone, Copy)]
pub struct Lanes<H = Native>([H; 2]);

#[cfg(target_arch = "x86_64")]
type Native = std::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Native = u128;

/// Half of the bytes.
pub trait Half: Copy {
    fn new(bytes: &[u8; LANES / 2]) -> Self;
    fn within(self, first: u8, last: u8) -> Self;
    fn or(self, other: Self) -> Self;
    fn bits(self) -> u32;
}

/// The bytes at `at` in `text`, with zeros behind its end.
#[inline(always)]
pub fn at(text: &[u8], at: usize) -> Lanes {
    match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => Lanes::new(bytes),
        None => at_end(text.get(at..).unwrap_or_default()),
    }
}

fn at_end(text: &[u8]) -> Lanes {
    let mut bytes = [0; LANES];
    bytes[..text.len()].copy_from_slice(text);
    Lanes::new(&bytes)
}

impl<H: Half> Lanes<H> {
    #[inline(always)]
    pub fn new(bytes: &[u8; LANES]) -> Self {
        let (halves, _) = bytes.as_chunks();
        Self([H::new(&halves[0]), H::new(&halves[1])])
    }

    /// Whether each is from `first` to `last`, which are ASCII.
    #[inline(always)]
    pub fn within(self, first: u8, last: u8) -> Self {
        let [low, high] = self.0;
        Self([low.within(first, last), high.within(first, last)])
    }

    /// The results, one bit each.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        let [low, high] = self.0;
        low.bits() | high.bits() << (LANES / 2)
    }
}

impl<H: Half> BitOr for Lanes<H> {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self([self.0[0].or(other.0[0]), self.0[1].or(other.0[1])])
    }
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::*;

    impl super::Half for __m128i {
        #[inline(always)]
        fn new(bytes: &[u8; 16]) -> Self {
            // SAFETY: every x86-64 processor has SSE2 (System V ABI for AMD64, 1.1), and the load needs no alignment.
            unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
        }

        #[inline(always)]
        fn within(self, first: u8, last: u8) -> Self {
            // SAFETY: as in `new`.
            unsafe {
                let offset = _mm_sub_epi8(self, _mm_set1_epi8(first as i8));
                let most = _mm_set1_epi8((last - first) as i8);
                _mm_cmpeq_epi8(_mm_min_epu8(offset, most), offset)
            }
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            // SAFETY: as in `new`.
            unsafe { _mm_or_si128(self, other) }
        }

        #[inline(always)]
        fn bits(self) -> u32 {
            // SAFETY: as in `new`.
            unsafe { _mm_movemask_epi8(self) as u32 }
        }
    }
}

/// The results of a comparison are the high bits. No sum is carried into the next byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
impl Half for u128 {
    #[inline(always)]
    fn new(bytes: &[u8; LANES / 2]) -> Self {
        Self::from_le_bytes(*bytes)
    }

    #[inline(always)]
    fn within(self, first: u8, last: u8) -> Self {
        const ONES: u128 = u128::from_ne_bytes([1; 16]);
        const HIGH: u128 = 0x80 * ONES;
        let low = self & !HIGH;
        let is_least = low + ONES * Self::from(0x80 - first);
        let is_more = low + ONES * Self::from(0x7f - last);
        is_least & !is_more & !self & HIGH
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self | other
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        // The multiplication moves each bit to its place in the top byte.
        let bits = |high: u64| ((high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32;
        bits(self as u64) | bits((self >> 64) as u64) << 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within<H: Half>(bytes: &[u8; LANES], first: u8, last: u8) -> u32 {
        let lanes = Lanes::<H>::new(bytes);
        (lanes.within(first, last) | lanes.within(first, first)).bits()
    }

    #[test]
    fn every_byte_is_told_at_every_place_whatever_stands_beside_it() {
        let ranges = [(0, 0x1f), (b'"', b'"'), (b'a', b'z'), (b'+', 0x7f)];
        for (neighbour, place) in [b'a', 0x1f, 0x7f, 0x80, 0xff]
            .into_iter()
            .flat_map(|byte| (0..LANES).map(move |place| (byte, place)))
        {
            for byte in 0..=u8::MAX {
                let mut bytes = [neighbour; LANES];
                bytes[place] = byte;
                for (first, last) in ranges {
                    let is_within = |at: &usize| (first..=last).contains(&bytes[*at]);
                    let expected = (0..LANES)
                        .filter(is_within)
                        .fold(0, |bits, at| bits | 1 << at);
                    assert_eq!(within::<Native>(&bytes, first, last), expected);
                    assert_eq!(within::<u128>(&bytes, first, last), expected);
                }
            }
        }
        assert_eq!(at(b"text", 1).within(b'e', b'x').bits(), 0b111);
        assert_eq!(at(b"text", 9).within(0, 0).bits(), u32::MAX);
    }
}
