//! Counters and histograms of the metrics: atomics in tables of fixed size.
//!
//! Any thread increments them; counting never blocks, and allocates only for a new label. It knows no particular metric.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exposition::Distribution;

/// Label of the last place, which is shared when the table is full.
const OTHER: &str = "other";

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value for each value of a label. Labels are the program's own words or adapters' ids, never user text. Each label
/// takes a place when it first occurs; once the table is full, further labels share the last place.
#[derive(Debug)]
pub struct Labelled<T, const N: usize> {
    places: [OnceLock<Box<Place<T>>>; N],
}

/// A label that has occurred, with its value.
type Place<T> = (Cow<'static, str>, T);

impl<T: Default, const N: usize> Labelled<T, N> {
    /// An empty table.
    pub(super) const fn new() -> Self {
        Self {
            places: [const { OnceLock::new() }; N],
        }
    }

    /// The value for `label`.
    pub fn of(&self, label: impl Into<Cow<'static, str>>) -> &T {
        let label = label.into();
        let take = |label: &Cow<'static, str>| Box::new((label.clone(), T::default()));
        let (last, places) = self.places.split_last().expect("a table has a place");
        let mut places = places
            .iter()
            .map(|place| place.get_or_init(|| take(&label)));
        let place = places.find(|place| place.0 == label);
        &place
            .unwrap_or_else(|| last.get_or_init(|| take(&OTHER.into())))
            .1
    }

    /// The labels that have occurred, with their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.places
            .iter()
            .filter_map(|place| place.get().map(|place| (&*place.0, &place.1)))
    }
}

/// Upper bounds of the buckets in seconds: from a read of memory to the longest wait of a client.
const BOUNDS: [f64; 16] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
    60.0,
];

/// [`Durations`], for the next program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DurationsHandover {
    buckets: Vec<u64>,
    micros: u64,
}

#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Counter; BOUNDS.len() + 1],
    micros: Counter,
}

impl Durations {
    pub(super) const fn new() -> Self {
        Self {
            buckets: [const { Counter::new() }; BOUNDS.len() + 1],
            micros: Counter::new(),
        }
    }

    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS.partition_point(|&bound| bound < seconds);
        self.buckets[at].add(1);
        self.micros.add(took.as_micros() as u64);
    }

    pub(super) fn hand_over(&self) -> DurationsHandover {
        let Self { buckets, micros } = self;
        DurationsHandover {
            buckets: buckets.iter().map(Counter::get).collect(),
            micros: micros.get(),
        }
    }

    /// Adds the figures of the previous program, if its buckets are the same.
    pub(super) fn take_up(&self, handover: &DurationsHandover) {
        if handover.buckets.len() == self.buckets.len() {
            let buckets = self.buckets.iter().zip(&handover.buckets);
            buckets.for_each(|(bucket, count)| bucket.add(*count));
            self.micros.add(handover.micros);
        }
    }

    /// The current figures.
    pub(super) fn get(&self) -> Distribution {
        Distribution {
            bounds: &BOUNDS,
            counts: self.buckets.iter().map(Counter::get).collect(),
            sum: self.micros.get() as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_keeps_the_rest_together() {
        let table: Labelled<Counter, 3> = Labelled::new();
        for label in ["a", "b", "c", "d", "a"] {
            table.of(label).add(1);
        }
        let counts: Vec<_> = table
            .iter()
            .map(|(label, count)| (label, count.get()))
            .collect();
        assert_eq!(counts, [("a", 2), ("b", 1), (OTHER, 2)]);
    }

    #[test]
    fn a_duration_on_a_bound_is_in_its_bucket() {
        let durations = Durations::new();
        durations.observe(Duration::from_micros(100));
        durations.observe(Duration::from_micros(101));
        durations.observe(Duration::from_secs(61));
        let shown = durations.get();
        assert_eq!((shown.counts[0], shown.counts[1]), (1, 1));
        assert_eq!(shown.counts[BOUNDS.len()], 1);
        assert!((shown.sum - 61.000_201).abs() < 1e-9);
    }
}
