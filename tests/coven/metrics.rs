//! The metrics, read by a parser of the text format that shares no code with what writes it.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use crate::support::*;

/// A sample's name and labels.
type Key = (String, BTreeMap<String, String>);

/// The parsed metrics page.
struct Page {
    types: BTreeMap<String, String>,
    samples: BTreeMap<Key, f64>,
    text: String,
}

impl Page {
    fn of(coven: &Coven) -> Self {
        let answer = coven.get("/api/v1/metrics");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(METRICS_TYPE));
        Self::parse(&answer.text())
    }

    /// Strict: HELP, TYPE, then all samples of the family, once each.
    fn parse(text: &str) -> Self {
        let mut types = BTreeMap::new();
        let mut helped = HashSet::new();
        let mut samples = BTreeMap::new();
        let mut current = String::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current, "TYPE follows HELP: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None);
            } else {
                let (key, value) = sample(line);
                let family = match types[&current].as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .iter()
                        .find_map(|suffix| key.0.strip_suffix(suffix))
                        .unwrap_or_else(|| panic!("{line}")),
                    _ => &key.0,
                };
                assert_eq!(family, current, "{line}");
                assert!(value >= 0.0, "{line}");
                assert_eq!(samples.insert(key, value), None, "twice: {line}");
            }
        }
        let text = text.to_owned();
        Self {
            types,
            samples,
            text,
        }
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let key = (name.to_owned(), labels.collect());
        self.samples.get(&key).copied().unwrap_or(0.0)
    }
}

/// `name{label="value",…} number`
fn sample(line: &str) -> (Key, f64) {
    let name_end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(name_end);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(name.starts_with("coven_") && name.chars().all(is_name));
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().unwrap().1 {
                        'n' => value.push('\n'),
                        c @ ('"' | '\\') => value.push(c),
                        c => panic!("\\{c} in {line}"),
                    },
                    (_, c) => value.push(c),
                }
            };
            assert_eq!(labels.insert(label.to_owned(), value), None, "{line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    let number = rest.strip_prefix(' ').unwrap().parse().unwrap();
    ((name.to_owned(), labels), number)
}

/// The types of the metrics that coven-metrics(7) names.
fn documented(page: &str) -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    let mut name = None;
    for word in page.split_whitespace() {
        let word = word.trim_matches(['(', ')', ',']);
        if word.starts_with("coven_") {
            name = Some(word);
        } else if ["gauge", "counter", "histogram"].contains(&word)
            && let Some(name) = name.take()
        {
            types.insert(name.to_owned(), word.to_owned());
        }
    }
    types
}

#[test]
fn the_metrics_are_prometheus_text_with_every_family_of_the_manual_once() {
    let coven = Coven::start();
    let id = coven.launch("hello", "x");
    coven.events_to_end(&id);
    let page = Page::of(&coven);
    let manual = coven.cli(["help", "metrics"]).out;
    assert_eq!(page.types, documented(&manual));
    let plain = [
        "coven_uptime_seconds",
        "coven_store_size_bytes",
        "coven_store_free_disk_bytes",
        "coven_process_resident_memory_bytes",
        "coven_process_open_fds",
        "coven_process_threads",
        "coven_store_commits_total",
    ];
    for name in plain {
        assert!(page.value(name, &[]) > 0.0, "{name}");
    }
}

#[test]
fn a_histograms_buckets_rise_and_the_last_is_its_count() {
    let coven = Coven::start();
    let id = coven.launch("hello", "x");
    coven.events_to_end(&id);
    let page = Page::of(&coven);
    let mut series: BTreeMap<Key, Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), value) in &page.samples {
        if let Some(family) = name.strip_suffix("_bucket") {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap().parse().unwrap();
            let key = (family.to_owned(), labels);
            series.entry(key).or_default().push((bound, *value));
        }
    }
    assert!(series.len() >= 3, "{}", page.text);
    for ((family, labels), mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{buckets:?}");
        let count = page.samples[&(format!("{family}_count"), labels)];
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{family}");
    }
    let commits = page.value("coven_store_commit_duration_seconds_count", &[]);
    assert_eq!(commits, page.value("coven_store_commits_total", &[]));
}

#[test]
fn counters_move_with_a_launch_a_failed_launch_and_a_request() {
    let coven = Coven::start();
    coven.harness(
        "two",
        "echo out; echo error >&2; echo token=ghp_0123456789abcdefghijABCDEFGHIJ012345",
    );
    let before = Page::of(&coven);
    let id = coven.launch("two", "x");
    let events = coven.events_to_end(&id);
    coven.try_launch("nobody", "x", json!({})).error();
    coven.get(&format!("/api/v1/sessions/{id}"));
    coven.get(&format!("/sessions/{}", external_id(3)));
    coven.get("/api/v1/nowhere/at/all");
    let after = Page::of(&coven);
    let moved = |name: &str, labels: &[(&str, &str)]| {
        after.value(name, labels) - before.value(name, labels)
    };
    assert_eq!(moved("coven_launches_total", &[]), 1.0);
    let invalid = [("code", "invalid_request")];
    assert_eq!(moved("coven_launch_failures_total", &invalid), 1.0);
    let requests = |route, status| {
        let labels = [("route", route), ("status", status)];
        moved("coven_http_requests_total", &labels)
    };
    assert_eq!(requests("POST /sessions", "201"), 1.0);
    assert_eq!(requests("POST /sessions", "400"), 1.0);
    assert_eq!(requests("GET /sessions/:id", "200"), 1.0);
    assert_eq!(requests("GET /sessions/:id", "404"), 1.0);
    assert_eq!(requests("unknown", "404"), 1.0);
    assert_eq!(requests("GET /metrics", "200"), 1.0, "the one before this");
    let route = [("route", "GET /sessions/:id")];
    assert_eq!(
        moved("coven_http_request_duration_seconds_count", &route),
        2.0
    );
    for kind in ["status", "output", "exit"] {
        let written = kinds(&events).iter().filter(|is| **is == kind).count();
        let labels = [("kind", kind)];
        assert_eq!(moved("coven_events_written_total", &labels), written as f64);
    }
    let stderr = [("stream", "stderr")];
    assert_eq!(moved("coven_output_bytes_total", &stderr), 6.0);
    let ended = [("status", "completed"), ("harness", "two")];
    assert_eq!(moved("coven_sessions", &ended), 1.0);
    let redacted: f64 = after
        .samples
        .iter()
        .filter(|((name, _), _)| name == "coven_redactions_total")
        .map(|(_, value)| value)
        .sum();
    assert!(redacted >= 1.0, "{}", after.text);
}

#[test]
fn the_longest_silence_of_each_harness_is_shown_while_a_session_of_it_runs() {
    let coven = Coven::start();
    coven.harness("quiet", "echo ready; exec sleep 1000");
    let ids = ["x", "y"].map(|prompt| coven.launch("quiet", prompt));
    for id in &ids {
        coven.wait_for_output(id, "ready");
    }
    let page = Page::of(&coven);
    let silence = page.value("coven_session_silence_seconds", &[("harness", "quiet")]);
    let uptime = page.value("coven_uptime_seconds", &[]);
    assert!((0.0..=uptime).contains(&silence), "{silence} of {uptime}");
    for id in &ids {
        assert_eq!(coven.kill_session(id).status, 202);
    }
    let page = Page::of(&coven);
    assert!(!page.text.contains("coven_session_silence_seconds{"));
}

#[test]
fn nothing_of_a_prompt_a_path_or_a_session_is_in_the_metrics() {
    let coven = Coven::start();
    let id = coven.launch("hello", "an unmistakable prompt");
    coven.events_to_end(&id);
    let odd = json!({ "harness": "/srv/\"odd\"\nname", "title": "an unmistakable title" });
    coven.register(&external_id(5), odd);
    coven.get("/api/v1/unmistakable/path");
    let page = Page::of(&coven);
    let home = coven.home().display().to_string();
    let external = external_id(5);
    for planted in ["unmistakable", "odd", &home, &id, &external] {
        assert!(!page.text.contains(planted), "{planted}\n{}", page.text);
    }
    let other = [("status", "running"), ("harness", "other")];
    assert_eq!(page.value("coven_sessions", &other), 1.0);
}

#[test]
fn the_verb_prints_the_page_and_says_so_when_there_is_no_daemon() {
    let coven = Coven::start();
    let printed = coven.cli(["metrics"]);
    assert_eq!(printed.code, 0, "{printed:?}");
    assert_eq!(
        Page::parse(&printed.out).types,
        Page::of(&coven).types,
        "the same families"
    );
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let refused = coven.cli(["metrics"]);
    assert_eq!((refused.code, refused.out.as_str()), (3, ""), "{refused:?}");
    assert!(refused.err.contains("daemon_not_running"), "{refused:?}");
}
