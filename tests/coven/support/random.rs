//! Chance that can be repeated. Also compiled into the crate's unit tests: there is one of it.

// Each of the two uses a part of it.
#![allow(dead_code)]

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same numbers everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True with probability 1/n.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A random element of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Bytes of any value.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Characters of every length in UTF-8, those of syntax and control characters more often than others.
    pub fn text(&mut self, length: usize) -> String {
        let ranges = [
            0x20..0x7f,
            0x00..0x80,
            0x80..0x800,
            0x800..0xd800,
            0x1_0000..0x1_1000,
        ];
        (0..length)
            .map(|_| {
                let range = ranges[self.below(ranges.len())].clone();
                let code = range.start + self.below((range.end - range.start) as usize) as u32;
                // Each range is free of surrogates.
                char::from_u32(code).unwrap_or(' ')
            })
            .collect()
    }
}

/// The numbers below `end` that a test tries: one in `stride`, from a place that `shift` decides. With `COVEN_TEST_ROUNDS` as
/// many times more, up to all.
pub fn sampled(end: usize, stride: usize, shift: usize) -> impl Iterator<Item = usize> {
    let stride = (stride / rounds(1).max(1)).max(1);
    (shift % stride..end).step_by(stride)
}

/// Number of rounds of a test: `usual`, multiplied by `COVEN_TEST_ROUNDS`.
pub fn rounds(usual: usize) -> usize {
    let factor = std::env::var("COVEN_TEST_ROUNDS").ok();
    usual * factor.and_then(|text| text.parse().ok()).unwrap_or(1)
}
