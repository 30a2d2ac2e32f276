//! Whether what is assigned to a name that says secret is one: `API_KEY=8f14e45f…` is, `token = lexer.next()` is not.
//!
//! Pure: a value and its surroundings in, a verdict out.

/// An assignment that a rule has found.
pub(super) struct Assignment<'a> {
    /// The name's word, the separator and the space around it.
    pub lead: &'a [u8],
    /// The value, with its quotes if it has some.
    pub value: &'a [u8],
    /// What follows it; `None` at the end of what is known.
    pub next: Option<u8>,
}

/// Words that stand where a value would.
const PLACEHOLDERS: &[&str] = &[
    "true",
    "false",
    "null",
    "none",
    "nil",
    "undefined",
    "string",
    "required",
    "optional",
    "changeme",
    "example",
    "redacted",
    "hidden",
    "masked",
    "secret",
    "password",
    "token",
    "unset",
    "empty",
    "missing",
    "invalid",
    "expired",
    "aws4-hmac-sha256",
];

/// Whether `assignment` gives a secret away.
pub(super) fn is_secret(assignment: &Assignment<'_>) -> bool {
    let (value, quoted) = unquoted(assignment.value);
    if is_placeholder(value) || is_place(value) {
        return false;
    }
    let kind = Shape::of(value);
    let password = is_password(assignment.lead);
    if quoted {
        is_secret_quoted(&kind, password)
    } else {
        is_secret_bare(assignment, &kind, password)
    }
}

fn is_secret_quoted(shape: &Shape, password: bool) -> bool {
    match (password, shape.spaces) {
        (true, 0) => shape.length >= 4,
        // A sentence about passwords has no digit, or many words.
        (true, spaces) => spaces <= 6 && shape.digits > 0 && shape.length >= 8 && shape.symbols > 0,
        (false, 0) => {
            shape.length >= 8 && (shape.digits > 0 && shape.letters > 0 || shape.length >= 24)
        }
        (false, _) => false,
    }
}

fn is_secret_bare(assignment: &Assignment<'_>, shape: &Shape, password: bool) -> bool {
    let spaced = assignment
        .lead
        .last()
        .is_some_and(|b| matches!(b, b' ' | b'\t'));
    // A call, an index, an argument of a call, the end of a statement: code.
    let in_code = matches!(
        assignment.next,
        Some(b'(' | b'[' | b')' | b'{' | b']' | b'<')
    ) || (spaced && matches!(assignment.next, Some(b';' | b',')));
    if in_code || shape.is_dotted_name {
        return false;
    }
    if shape.digits > 0 && shape.letters > 0 {
        let long = shape.length >= 20 && shape.is_mixed_case;
        let enough = if spaced && !password && !long { 2 } else { 1 };
        return shape.length >= if password { 6 } else { 8 } && shape.digits >= enough;
    }
    if shape.digits > 0 || spaced {
        return false;
    }
    // Letters alone, behind a `=` without spaces: in an environment or a query, not in a call.
    let shouted = assignment.lead.iter().any(u8::is_ascii_uppercase)
        && !assignment.lead.iter().any(u8::is_ascii_lowercase);
    let by_equals = assignment.lead.contains(&b'=');
    by_equals
        && !matches!(assignment.next, Some(b','))
        && shape.length >= 8
        && (password || shouted)
}

fn is_password(lead: &[u8]) -> bool {
    let lead = lead.to_ascii_lowercase();
    [b"pass".as_slice(), b"pwd"]
        .iter()
        .any(|word| lead.windows(word.len()).any(|window| window == *word))
}

/// What is inside a value's quotes, and whether it has some. In a string in a string they are escaped.
pub(super) fn unquoted(value: &[u8]) -> (&[u8], bool) {
    let value = value.strip_prefix(b"\\").unwrap_or(value);
    let Some((&quote, rest)) = value
        .split_first()
        .filter(|(first, _)| matches!(first, b'"' | b'\''))
    else {
        return (value, false);
    };
    let inner = rest.strip_suffix(&[quote]).unwrap_or(rest);
    (inner.strip_suffix(b"\\").unwrap_or(inner), true)
}

fn is_placeholder(value: &[u8]) -> bool {
    let starts = [
        b"$".as_slice(),
        b"<",
        b"%",
        b"{",
        b"@",
        b"process.env",
        b"os.environ",
        b"env.",
        b"ENV[",
        b"[REDACTED",
    ];
    let word = value.to_ascii_lowercase();
    starts.iter().any(|start| value.starts_with(start))
        || PLACEHOLDERS
            .iter()
            .any(|placeholder| word == placeholder.as_bytes())
        || value
            .iter()
            .all(|b| matches!(b, b'*' | b'.' | b'x' | b'X' | b'-' | b'_' | b'#'))
}

/// A path or a URL says where a secret is, and is none. A slash alone makes no path: one base64 value in 64 begins with one.
fn is_place(value: &[u8]) -> bool {
    let starts = [b"./".as_slice(), b"../", b"~/", b"file:", b"arn:"];
    starts.iter().any(|start| value.starts_with(start))
        || value.windows(3).any(|window| window == b"://")
        || (value.starts_with(b"/") && !value.split(|&b| b == b'/').any(is_random))
}

/// Long, of both cases, and with digits, as no name of a directory is.
fn is_random(segment: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| segment.iter().any(is);
    segment.len() >= 16
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && segment.iter().filter(|b| b.is_ascii_digit()).count() >= 2
        && segment
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'='))
}

/// What a value is made of.
struct Shape {
    length: usize,
    letters: usize,
    digits: usize,
    spaces: usize,
    symbols: usize,
    is_mixed_case: bool,
    /// `self.token`, `lexer.next`, `sha256.digest`: a name in code.
    is_dotted_name: bool,
}

impl Shape {
    fn of(value: &[u8]) -> Self {
        let count = |is: fn(&u8) -> bool| value.iter().filter(|b| is(b)).count();
        let letters = count(u8::is_ascii_alphabetic);
        let digits = count(u8::is_ascii_digit);
        let spaces = count(|b| matches!(b, b' ' | b'\t'));
        let segments = || value.split(|&b| b == b'.');
        let is_name = |segment: &[u8]| {
            let few_digits = segment.iter().filter(|b| b.is_ascii_digit()).count() <= 3;
            segment
                .first()
                .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
                && segment
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
                && few_digits
        };
        Self {
            length: value.len(),
            letters,
            digits,
            spaces,
            symbols: value.len() - letters - digits - spaces,
            is_mixed_case: value.iter().any(u8::is_ascii_uppercase)
                && value.iter().any(u8::is_ascii_lowercase),
            is_dotted_name: segments().count() > 1 && segments().all(is_name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(lead: &str, value: &str, next: Option<u8>) -> bool {
        is_secret(&Assignment {
            lead: lead.as_bytes(),
            value: value.as_bytes(),
            next,
        })
    }

    #[test]
    fn a_value_that_looks_made_up_is_a_secret() {
        assert!(verdict("API_KEY=", "8f14e45fceea167a", Some(b'\n')));
        assert!(verdict("token: ", "8f14e45fceea167a", Some(b'\n')));
        assert!(verdict("token\": ", "\"8f14e45fceea167a\"", Some(b',')));
        assert!(verdict("PASSWORD=", "correcthorse", Some(b'\n')));
        assert!(verdict(
            "API_KEY=",
            "\"/GIPM8Xq2LkV0aZ7bTnR5cYw\"",
            Some(b'\n')
        ));
        assert!(verdict("password=", "hunter2", Some(b'&')));
        assert!(verdict("password: ", "\"correcthorse\"", None));
        assert!(verdict("secret = ", "'aGVsbG8gd29ybGQh1'", None));
    }

    #[test]
    fn code_and_prose_are_not() {
        assert!(!verdict("token = ", "lexer.next", Some(b'(')));
        assert!(!verdict("token=", "token", Some(b',')));
        assert!(!verdict("password=", "password", Some(b')')));
        assert!(!verdict("token = ", "self.token", Some(b'\n')));
        assert!(!verdict("token: ", "expected", Some(b' ')));
        assert!(!verdict("token: ", "4096", Some(b'\n')));
        assert!(!verdict("PWD=", "/home/u/src2", Some(b'\n')));
        assert!(!verdict(
            "token=",
            "/var/run/secrets/kubernetes.io/serviceaccount/token2",
            None
        ));
        assert!(!verdict(
            "password: ",
            "\"must be at least 8 characters\"",
            None
        ));
        assert!(!verdict("API_KEY=", "$OPENAI_API_KEY", None));
        assert!(!verdict("API_KEY=", "<your-api-key-1>", None));
        assert!(!verdict("secret: ", "********", None));
        assert!(!verdict("token = ", "next_token_v2", Some(b';')));
    }
}
