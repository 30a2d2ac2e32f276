//! Prometheus' text format, version 0.0.4: families of samples, each with its help and type.
//!
//! Pure: names and numbers in, text out. It knows no metric.

use std::fmt::{Display, Write};

/// The format's media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label's name and value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// The text, as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// A family that is being written.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// The figures of a histogram at one moment.
#[derive(Debug)]
pub(super) struct Distribution<'a> {
    /// The buckets' upper bounds, in seconds, rising.
    pub bounds: &'a [f64],
    /// How many values are in each bucket and not in one before it; one more for those above all bounds.
    pub counts: &'a [u64],
    /// The sum of all values, in seconds.
    pub sum: f64,
}

impl Exposition {
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let text = &mut self.0;
        // A String takes every write.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text, name }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

impl Family<'_> {
    /// The only sample of a family without labels.
    pub(super) fn value(mut self, value: impl Display) {
        self.sample("", &[], value);
    }

    pub(super) fn labelled(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.sample("", labels, value);
    }

    pub(super) fn distribution(&mut self, labels: &[Label<'_>], values: &Distribution<'_>) {
        let mut total = 0;
        for (at, count) in values.counts.iter().enumerate() {
            total += count;
            let bound = values
                .bounds
                .get(at)
                .map_or("+Inf".into(), ToString::to_string);
            let labels = [labels, &[("le", bound.as_str())]].concat();
            self.sample("_bucket", &labels, total);
        }
        self.sample("_sum", labels, values.sum);
        self.sample("_count", labels, total);
    }

    fn sample(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.text, "{}{suffix}{labels} {value}", self.name);
    }
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

    #[test]
    fn a_labels_value_cannot_end_its_line() {
        let mut text = Exposition::default();
        text.gauge("x", "Help.").labelled(&[("a", "1\"\\\n2")], 3);
        let expected = "# HELP x Help.\n# TYPE x gauge\nx{a=\"1\\\"\\\\\\n2\"} 3\n";
        assert_eq!(String::from_utf8(text.into_bytes()).unwrap(), expected);
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_is_the_count() {
        let mut text = Exposition::default();
        let values = Distribution {
            bounds: &[0.5, 1.0],
            counts: &[1, 0, 2],
            sum: 7.5,
        };
        text.histogram("x", "Help.").distribution(&[], &values);
        let text = String::from_utf8(text.into_bytes()).unwrap();
        assert!(
            text.ends_with(
                "x_bucket{le=\"0.5\"} 1\nx_bucket{le=\"1\"} 1\nx_bucket{le=\"+Inf\"} 3\n\
                 x_sum 7.5\nx_count 3\n"
            ),
            "{text}"
        );
    }
}
