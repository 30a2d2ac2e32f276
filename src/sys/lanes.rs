//! Compares 32 bytes at once: by the processor's vector instructions, or elsewhere in wide words.
//!
//! Pure, for each thread. Knows ranges of bytes, not their meaning.

/// Number of the bytes.
pub const LANES: usize = 32;

/// Bytes, or the results of a comparison of each. Each function of it must be inlined: only code around it is compiled for
/// the instructions that it needs.
pub trait Lanes: Copy {
    fn new(bytes: &[u8; LANES]) -> Self;
    /// Whether each is from `first` to `last`, which are ASCII.
    fn within(self, first: u8, last: u8) -> Self;
    /// Whether each is `byte`, which is ASCII.
    fn is(self, byte: u8) -> Self;
    fn or(self, other: Self) -> Self;
    /// The results that `other` has not.
    fn but(self, other: Self) -> Self;
    /// The results, one bit each.
    fn bits(self) -> u32;

    /// The bytes at `at` in `text`, with zeros behind its end.
    #[inline(always)]
    fn at(text: &[u8], at: usize) -> Self {
        match text.get(at..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => Self::new(bytes),
            None => Self::new(&at_end(text.get(at..).unwrap_or_default())),
        }
    }
}

#[inline(never)]
fn at_end(text: &[u8]) -> [u8; LANES] {
    let mut bytes = [0; LANES];
    bytes[..text.len()].copy_from_slice(text);
    bytes
}

/// A search by comparisons; it must be inlined.
pub trait Search {
    type Found;

    fn run<L: Lanes>(self) -> Self::Found;
}

/// Runs `search` with the fastest comparisons that the processor has.
pub fn search<S: Search>(search: S) -> S::Found {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions.
        return unsafe { vector::run(search) };
    }
    search.run::<Common>()
}

/// What every processor of this kind has.
#[cfg(target_arch = "x86_64")]
pub type Common = [std::arch::x86_64::__m128i; 2];
#[cfg(not(target_arch = "x86_64"))]
pub type Common = [u128; 2];

/// Half of the bytes.
pub trait Half: Copy {
    fn new(bytes: &[u8; LANES / 2]) -> Self;
    fn within(self, first: u8, last: u8) -> Self;
    fn is(self, byte: u8) -> Self;
    fn or(self, other: Self) -> Self;
    fn but(self, other: Self) -> Self;
    fn bits(self) -> u32;
}

impl<H: Half> Lanes for [H; 2] {
    #[inline(always)]
    fn new(bytes: &[u8; LANES]) -> Self {
        let (halves, _) = bytes.as_chunks();
        [H::new(&halves[0]), H::new(&halves[1])]
    }

    #[inline(always)]
    fn within(self, first: u8, last: u8) -> Self {
        [self[0].within(first, last), self[1].within(first, last)]
    }

    #[inline(always)]
    fn is(self, byte: u8) -> Self {
        [self[0].is(byte), self[1].is(byte)]
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        [self[0].or(other[0]), self[1].or(other[1])]
    }

    #[inline(always)]
    fn but(self, other: Self) -> Self {
        [self[0].but(other[0]), self[1].but(other[1])]
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        self[0].bits() | self[1].bits() << (LANES / 2)
    }
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::*;

    use super::{Half, LANES, Lanes, Search};

    #[target_feature(enable = "avx2")]
    pub fn run<S: Search>(search: S) -> S::Found {
        search.run::<__m256i>()
    }

    /// The comparisons of one vector type, by its instructions.
    macro_rules! vector {
        ($trait:ident for $vector:ty, $bytes:expr, $load:ident, $all:ident, $subtract:ident, $least:ident, $equal:ident,
         $or:ident, $and_not:ident, $mask:ident) => {
            // SAFETY of each: every x86-64 processor has SSE2 (System V ABI for AMD64, 1.1), and only `run` uses the
            // vectors of AVX2. The load needs no alignment.
            impl $trait for $vector {
                #[inline(always)]
                fn new(bytes: &[u8; $bytes]) -> Self {
                    // SAFETY: above.
                    unsafe { $load(bytes.as_ptr().cast()) }
                }

                #[inline(always)]
                fn within(self, first: u8, last: u8) -> Self {
                    // SAFETY: above.
                    unsafe {
                        let offset = $subtract(self, $all(first as i8));
                        $equal($least(offset, $all((last - first) as i8)), offset)
                    }
                }

                #[inline(always)]
                fn is(self, byte: u8) -> Self {
                    // SAFETY: above.
                    unsafe { $equal(self, $all(byte as i8)) }
                }

                #[inline(always)]
                fn or(self, other: Self) -> Self {
                    // SAFETY: above.
                    unsafe { $or(self, other) }
                }

                #[inline(always)]
                fn but(self, other: Self) -> Self {
                    // SAFETY: above.
                    unsafe { $and_not(other, self) }
                }

                #[inline(always)]
                fn bits(self) -> u32 {
                    // SAFETY: above.
                    unsafe { $mask(self) as u32 }
                }
            }
        };
    }

    vector!(Half for __m128i, LANES / 2, _mm_loadu_si128, _mm_set1_epi8, _mm_sub_epi8, _mm_min_epu8, _mm_cmpeq_epi8,
        _mm_or_si128, _mm_andnot_si128, _mm_movemask_epi8);
    vector!(Lanes for __m256i, LANES, _mm256_loadu_si256, _mm256_set1_epi8, _mm256_sub_epi8, _mm256_min_epu8,
        _mm256_cmpeq_epi8, _mm256_or_si256, _mm256_andnot_si256, _mm256_movemask_epi8);
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
    fn is(self, byte: u8) -> Self {
        self.within(byte, byte)
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self | other
    }

    #[inline(always)]
    fn but(self, other: Self) -> Self {
        self & !other
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

    /// Three comparisons of `bytes`.
    struct Compare([u8; LANES], u8, u8);

    impl Search for Compare {
        type Found = [u32; 3];

        #[inline(always)]
        fn run<L: Lanes>(self) -> [u32; 3] {
            let Self(bytes, first, last) = self;
            let lanes = L::new(&bytes);
            let (within, is) = (lanes.within(first, last), lanes.is(first));
            [within.or(is).bits(), is.bits(), within.but(is).bits()]
        }
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
                    let set = |is: &dyn Fn(u8) -> bool| {
                        let places = (0..LANES).filter(|at| is(bytes[*at]));
                        places.fold(0, |bits, at| bits | 1 << at)
                    };
                    let within = set(&|byte| (first..=last).contains(&byte));
                    let is = set(&|byte| byte == first);
                    let expected = [within, is, within & !is];
                    assert_eq!(search(Compare(bytes, first, last)), expected);
                    assert_eq!(Compare(bytes, first, last).run::<Common>(), expected);
                    assert_eq!(Compare(bytes, first, last).run::<[u128; 2]>(), expected);
                }
            }
        }
        assert_eq!(<[u128; 2]>::at(b"text", 1).within(b'e', b'x').bits(), 0b111);
        assert_eq!(<[u128; 2]>::at(b"text", 9).within(0, 0).bits(), u32::MAX);
    }
}
