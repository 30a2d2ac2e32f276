//! Suggestions for a mistyped name.
//!
//! Pure; runs in the CLI and on connection threads. It does not know what is named.

/// The end of an error message: `; did you mean 'run'?`, or nothing.
pub fn did_you_mean(given: &str, names: &mut dyn Iterator<Item = String>) -> String {
    nearest(given, names).map_or_else(String::new, |meant| suggestion(&meant))
}

/// The end of an error, with what its text could have meant.
pub fn suggestion(meant: &str) -> String {
    format!("; did you mean '{meant}'?")
}

/// The one of `names` that starts with `given`, or differs from it in at most a third of its characters; by its last
/// word, too.
pub fn nearest(given: &str, names: &mut dyn Iterator<Item = String>) -> Option<String> {
    let length = given.chars().count();
    // All names are shorter: none can be similar.
    if length > 40 {
        return None;
    }
    let rated = names.filter_map(|name| {
        let word = name.rsplit(' ').next().unwrap_or(&name);
        let is_beginning = length > 2 && (word.starts_with(given) || name.starts_with(given));
        let edits = edits(given, word).min(edits(given, &name));
        (is_beginning || edits <= length / 3).then_some(((!is_beginning, edits), name))
    });
    rated
        .min_by_key(|(rating, _)| *rating)
        .map(|(_, name)| name)
}

/// Edit distance of `a` and `b`: inserted, deleted, replaced and swapped characters.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut counts = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                counts[i][j] = i + j;
                continue;
            }
            let replaced = counts[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let least = replaced.min(counts[i - 1][j] + 1).min(counts[i][j - 1] + 1);
            let is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let swapped = is_swap.then(|| counts[i - 2][j - 2] + 1);
            counts[i][j] = swapped.unwrap_or(least).min(least);
        }
    }
    counts[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_near_is_meant_and_another_is_not() {
        let meant = |given: &str| {
            let names = ["codex", "claude", "daemon stop", "--json", "作业"];
            nearest(given, &mut names.into_iter().map(str::to_owned))
        };
        for (given, near) in [
            ("codx", Some("codex")),
            ("ocdex", Some("codex")),
            ("Claude", Some("claude")),
            ("stpo", Some("daemon stop")),
            ("cla", Some("claude")),
            ("--jsno", Some("--json")),
            ("作业作", Some("作业")),
            ("gemini", None),
            ("co", None),
            ("", None),
        ] {
            assert_eq!(meant(given).as_deref(), near, "{given}");
        }
        assert_eq!(meant(&"codex".repeat(99)), None);
    }
}
