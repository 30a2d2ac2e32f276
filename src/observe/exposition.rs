//! Writes Prometheus' text format, version 0.0.4: metric families with help, type and samples.
//!
//! Pure: names and numbers in, text out. It knows no particular metric.

use std::fmt::{Display, Write};

use crate::api::words;

/// The format's media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

words! {
    /// Type of a family's samples.
    pub enum MetricType {
        /// A number that only grows while the daemon runs.
        Counter = "counter",
        /// A current value.
        Gauge = "gauge",
        /// Counts of durations, by bucket.
        Histogram = "histogram",
    }
}

/// Declaration of a family.
#[derive(Debug)]
pub struct MetricFamily {
    pub metric_type: MetricType,
    /// The name; a counter's ends in `_total`.
    pub name: &'static str,
    /// The labels of each sample; a histogram's buckets also have `le`.
    pub labels: &'static [&'static str],
    /// Its meaning, in one sentence.
    pub help: &'static str,
}

/// The text written so far.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// The samples of the family that is being written.
pub(super) struct Samples<'a> {
    text: &'a mut String,
    family: &'a MetricFamily,
}

/// Figures of a histogram at one moment.
#[derive(Debug)]
pub(super) struct Distribution {
    /// Upper bounds of the buckets in seconds, ascending.
    pub bounds: &'static [f64],
    /// Number of values in each bucket, without earlier ones; the last is for values above all bounds.
    pub counts: Vec<u64>,
    /// Sum of all values, in seconds.
    pub sum: f64,
}

impl Exposition {
    /// Writes a family with the samples that `show` writes; omits it if `show` returns `None`.
    pub(super) fn family(
        &mut self,
        family: &MetricFamily,
        show: impl FnOnce(&mut Samples<'_>) -> Option<()>,
    ) {
        let text = &mut self.0;
        let begin = text.len();
        let (name, help, metric_type) = (family.name, family.help, family.metric_type);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {metric_type}");
        if show(&mut Samples { text, family }).is_none() {
            self.0.truncate(begin);
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

impl Samples<'_> {
    /// Writes the only sample of a family without labels.
    pub(super) fn value(&mut self, value: impl Display) -> Option<()> {
        self.labelled([(&[] as &[&str], value)])
    }

    /// Writes one sample for each value of the labels.
    pub(super) fn labelled<L: AsRef<str>>(
        &mut self,
        samples: impl IntoIterator<Item = (impl AsRef<[L]>, impl Display)>,
    ) -> Option<()> {
        for (labels, value) in samples {
            self.sample("", &self.named(labels.as_ref()), value);
        }
        Some(())
    }

    /// Writes one histogram for each value of the labels.
    pub(super) fn distributions<L: AsRef<str>>(
        &mut self,
        samples: impl IntoIterator<Item = (impl AsRef<[L]>, Distribution)>,
    ) -> Option<()> {
        for (labels, values) in samples {
            let labels = self.named(labels.as_ref());
            let mut total = 0;
            for (at, count) in values.counts.iter().enumerate() {
                total += count;
                let bound = values.bounds.get(at);
                let bound = bound.map_or("+Inf".into(), ToString::to_string);
                let le = [labels.as_slice(), &[label("le", &bound)]].concat();
                self.sample("_bucket", &le, total);
            }
            self.sample("_sum", &labels, values.sum);
            self.sample("_count", &labels, total);
        }
        Some(())
    }

    fn named<L: AsRef<str>>(&self, values: &[L]) -> Vec<String> {
        let names = self.family.labels;
        debug_assert_eq!(names.len(), values.len(), "{}", self.family.name);
        let labels = names.iter().zip(values);
        labels
            .map(|(name, value)| label(name, value.as_ref()))
            .collect()
    }

    fn sample(&mut self, suffix: &str, labels: &[String], value: impl Display) {
        let labels = match labels {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.text, "{}{suffix}{labels} {value}", self.family.name);
    }
}

fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", escaped(value))
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(
        labels: &'static [&'static str],
        show: impl FnOnce(&mut Samples<'_>) -> Option<()>,
    ) -> String {
        let family = MetricFamily {
            metric_type: MetricType::Gauge,
            name: "x",
            labels,
            help: "Help.",
        };
        let mut page = Exposition::default();
        page.family(&family, show);
        String::from_utf8(page.into_bytes()).unwrap()
    }

    #[test]
    fn a_labels_value_cannot_end_its_line() {
        let text = page(&["a"], |out| out.labelled([(["1\"\\\n2"], 3)]));
        let expected = "# HELP x Help.\n# TYPE x gauge\nx{a=\"1\\\"\\\\\\n2\"} 3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_family_without_figures_is_left_out() {
        assert_eq!(page(&[], |_| None), "");
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_is_the_count() {
        let values = Distribution {
            bounds: &[0.5, 1.0],
            counts: vec![1, 0, 2],
            sum: 7.5,
        };
        let text = page(&[], |out| out.distributions([(&[] as &[&str], values)]));
        assert!(
            text.ends_with(
                "x_bucket{le=\"0.5\"} 1\nx_bucket{le=\"1\"} 1\nx_bucket{le=\"+Inf\"} 3\n\
                 x_sum 7.5\nx_count 3\n"
            ),
            "{text}"
        );
    }
}
