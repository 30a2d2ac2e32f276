//! Table of the forms in which languages and file formats assign a value to a name.
//!
//! Pure. Reads from the name to the beginning of its value; [`super::extent`] finds the value's end, and
//! [`super::value`] judges whether it is a secret.

use std::borrow::Cow;

use super::extent::{self, Extent, TYPE_MAX};
use super::names;
use super::tokens;
use super::value::{self, Name, Value, is_random};
use super::view::{More, View, is_blank, is_quote};
use super::{Looked, REDACTED, Secret, Undecided};

/// Connection between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// `=` and similar operators.
    Equals,
    Colon,
    /// The value is the string argument after the name's.
    Comma,
    /// The value is the text of an element with that name, or with an attribute of that value.
    Element,
    /// The value is the string argument of a function with that name.
    Call,
    /// The name is the value of a `name` field; the secret is the value of the listed field.
    Pair,
    /// White space, after an instruction that takes a name and a value. The instruction precedes the name; one word may
    /// stand between.
    Space,
    /// Like `Space`, for an instruction that is also an English word.
    Loose,
    /// The verb of a sentence.
    Is,
    /// White space only.
    Beside,
}

#[rustfmt::skip]
table! {
    /// The connections as written between name and value, each with a text with a secret and one without.
    FORMS, SAMPLES: (&str, Joint) =
    ("=", Joint::Equals; "export OPENAI_API_KEY=«8f14e45fceea167a5a36»", "token = lexer.next()"),
    (":", Joint::Colon; "db_password: «Winter4821!x»", "credential: ClientV1CredentialRecord"),
    (":=", Joint::Equals; "token := `«q7Hs2kLm9Zx4vBn1»`", "token := r.Header.Get(\"Authorization\")"),
    ("::=", Joint::Equals; "API_KEY ::= «q7Hs2kLm9Zx4vBn1»", "TOKEN ::= IDENT | NUMBER"),
    (":::=", Joint::Equals; "API_KEY :::= «q7Hs2kLm9Zx4vBn1»", "API_KEY :::= $(OTHER)"),
    ("?=", Joint::Equals; "API_KEY ?= «q7Hs2kLm9Zx4vBn1»", "API_KEY ?= changeme"),
    ("+=", Joint::Equals; "secret += '«q7Hs2kLm9Zx4vBn1»'", "token += next"),
    (".=", Joint::Equals; "$password .= \"«Winter4821!x»\";", "$token .= $char;"),
    ("=>", Joint::Equals; "'password' => '«Winter4821!x»',", "'token' => 'required|string',"),
    ("==", Joint::Equals; "if token == \"«q7Hs2kLm9Zx4vBn1»\" {", "if token == TOKEN_END {"),
    ("===", Joint::Equals; "apiKey === '«q7Hs2kLm9Zx4vBn1»'", "if (token === null) {"),
    ("?:", Joint::Colon; "apiKey?: string = '«q7Hs2kLm9Zx4vBn1»'", "interface A { token?: string }"),
    ("||=", Joint::Equals; "api_key ||= \"«q7Hs2kLm9Zx4vBn1»\"", "token ||= params[:token]"),
    ("??=", Joint::Equals; "apiKey ??= '«q7Hs2kLm9Zx4vBn1»'", "token ??= getToken()"),
    ("<-", Joint::Equals; "api_key <- \"«q7Hs2kLm9Zx4vBn1»\"", "token <- lexer.next"),
    ("|", Joint::Colon; "| db_password | «Winter4821!x» |", "| token | string | required |"),
    ("||", Joint::Colon; "apiKey || '«q7Hs2kLm9Zx4vBn1»'", "token || next_token"),
    (",", Joint::Comma; "System.setProperty(\"db.password\", \"«x7!winter4821»\");", "check(\"password\", \"token\")"),
    (">", Joint::Element; "<password>«hunter2horse»</password>", "<password>${db.password}</password>"),
    ("(", Joint::Call; "builder.api_key(\"«q7Hs2kLm9Zx4vBn1»\")", "get_token(\"github\")"),
    ("{", Joint::Call; "std::string token{\"«q7Hs2kLm9Zx4vBn1»\"};", "{token:\"keyword.other\"}"),
    ("value", Joint::Pair; "- name: DB_PASSWORD\n  value: «Winter4821!x»", "- name: DB_PASSWORD\n  valueFrom:"),
    ("-", Joint::Space; "tool --client-secret «q7Hs2kLm9Zx4vBn1» run", "tool --token-file /run/token run"),
    ("ENV", Joint::Space; "ENV API_TOKEN «q7Hs2kLm9Zx4vBn1»", "ENV TOKEN_PATH /run/token"),
    ("SetEnv", Joint::Space; "SetEnv API_TOKEN «q7Hs2kLm9Zx4vBn1»", "setenv TOKEN $1"),
    ("setx", Joint::Space; "setx API_KEY «q7Hs2kLm9Zx4vBn1» /M", "setx API_KEY %1"),
    ("set", Joint::Loose; "set -gx API_TOKEN «q7Hs2kLm9Zx4vBn1»", "set the token to null"),
    ("add", Joint::Loose; "vercel env add API_TOKEN «q7Hs2kLm9Zx4vBn1»", "git add token parser.rs"),
    ("login", Joint::Space; "machine api.test login bob password «q7Hs2kLm9Zx4»", "login and password required"),
    (LINE, Joint::Loose; "client\n  password «q7Hs2kLm9Zx4»\nend", "the\npassword field1\nis"),
    ("is", Joint::Is; "Your password is: «Winter4821;!x»", "the password is base64-encoded"),
    ("", Joint::Beside; "CREATE ROLE app PASSWORD '«Winter4821!x»';", "the token \"identifier\" is"),
}

/// Number of the first forms, which are operators.
const OPERATORS: usize = {
    let mut row = 0;
    while !matches!(FORMS[row].1, Joint::Pair) {
        row += 1;
    }
    row
};

/// The instruction of a name at the beginning of a line; the line ends after the value.
const LINE: &str = "\n";

/// Minimum length of a value that follows only a comma or a space, in bytes.
const VAGUE_MIN: usize = 16;

/// Maximum length of the text that is read before a name, in bytes.
const LEAD_MAX: usize = 64;

/// A name and its surroundings.
pub(super) struct Form<'a> {
    view: View<'a>,
    /// Range of the name.
    start: usize,
    end: usize,
    /// The view of the text before the name.
    lead: Cow<'a, [u8]>,
    /// Beginning of the value and its connection, once known.
    value_at: Option<(usize, Joint)>,
}

/// The secret that is assigned to the name between `start` and `end`; the text before it is available from `floor` on.
/// A name without meaning counts as `weakest`.
///
/// # Errors
///
/// [`Undecided`] if what follows decides.
pub(super) fn secret(
    view: View<'_>,
    floor: usize,
    (start, end): (usize, usize),
    weakest: Option<Name>,
) -> Looked {
    let Some(name) = names::strength(&view.text[start..end]).or(weakest) else {
        return Ok(None);
    };
    let mut form = Form {
        view,
        start,
        end,
        lead: view.seen(floor.max(start.saturating_sub(LEAD_MAX)), start),
        value_at: None,
    };
    let read = form.read().map_err(|_| form.undecided(name))?;
    Ok(read.and_then(|(joint, is_spaced, found)| form.judge(name, joint, is_spaced, &found)))
}

impl Form<'_> {
    /// At a pause the value is removed if only a value can stand there and the name is strong enough, or if it already
    /// looks like a secret.
    fn undecided(&self, name: Name) -> Undecided {
        let place = self.value_at.or_else(|| self.beside(name));
        let begun = place.and_then(|(at, joint)| {
            Some((joint, extent::begun(self.view, at, self.is_alone(joint))?))
        });
        let Some((joint, known)) = begun else {
            return Undecided::Unknown;
        };
        let is_value = known.is_quoted || !extent::may_be_wrapper(self.view, known.start);
        let is_certain = match joint {
            // A type can precede the value.
            Joint::Colon if known.end - known.start <= TYPE_MAX => {
                is_value && self.type_end(known.start).is_ok()
            }
            Joint::Equals | Joint::Colon | Joint::Pair | Joint::Space => is_value,
            Joint::Element => true,
            Joint::Comma => is_quote(self.before()) && known.is_quoted,
            Joint::Call | Joint::Loose | Joint::Is | Joint::Beside => false,
        };
        let is_telling =
            name > Name::Weak && is_certain || self.judge(name, joint, true, &known).is_some();
        Undecided::known(known.secret("assignment"), is_telling)
    }

    /// The word behind the name and a space, if it can be the beginning of a token: in text it has a digit.
    fn beside(&self, name: Name) -> Option<(usize, Joint)> {
        let at = self.view.skip(self.end, is_blank).ok()?;
        let is_text = self.before().is_ascii_whitespace();
        let is_token = !is_text || self.view.text[at..].iter().any(u8::is_ascii_digit);
        (name == Name::Secret && at > self.end && is_token).then_some((at, Joint::Beside))
    }

    fn judge(&self, name: Name, joint: Joint, is_spaced: bool, found: &Extent) -> Option<Secret> {
        let text = self.view.seen(found.start, found.end);
        let is_vague = matches!(joint, Joint::Comma | Joint::Call | Joint::Beside);
        let value = Value {
            // Arguments and words can also be names.
            name: if is_vague {
                name.min(Name::Secret)
            } else {
                name
            },
            text: &text,
            is_quoted: found.is_quoted,
            is_spaced,
            is_setting: joint == Joint::Equals && !is_spaced || joint == Joint::Element,
            next: found.next,
        };
        let is_number = is_quote(self.before())
            && !found.is_quoted
            && text
                .iter()
                .all(|byte| byte.is_ascii_digit() || is_one_of!(*byte, b"+-.eE"));
        let own_name = &self.view.text[self.start..self.end];
        let is_basic = value::is_basic(own_name, &text);
        // Excludes versions, types and calls.
        let is_token = text.len() >= VAGUE_MIN
            && is_random(&text)
            && text.iter().filter(|byte| byte.is_ascii_digit()).count() > 2
            && !text.iter().any(|byte| is_one_of!(*byte, b".:+,=("));
        let is_clear = match joint {
            Joint::Call => !text.contains(&b':'),
            Joint::Beside if value.is_quoted => name > Name::Weak,
            Joint::Beside => name == Name::Secret && is_token,
            Joint::Comma => is_token || value.is_quoted && is_quote(self.before()),
            _ => true,
        };
        let is_secret = is_clear && value::is_secret(&value) || joint != Joint::Comma && is_basic;
        let is_itself = text.eq_ignore_ascii_case(own_name);
        let kind = || match is_basic {
            true => "basic-auth",
            false => tokens::kind(&text).unwrap_or("assignment"),
        };
        (is_secret && !is_number && !is_itself).then(|| found.secret(kind()))
    }

    /// The connection, whether space precedes the value, and the value.
    fn read(&mut self) -> Result<Option<(Joint, bool, Extent)>, More> {
        let view = self.view;
        let Some((mut joint, behind)) = self.joint()? else {
            return Ok(None);
        };
        self.value_at = Some((behind, joint));
        let mut at = match joint {
            Joint::Element | Joint::Call => view.skip(behind, |byte| byte.is_ascii_whitespace())?,
            _ => view.skip(behind, is_blank)?,
        };
        if view.has(at, REDACTED.as_bytes())? {
            return Ok(None);
        }
        let mut is_spaced = at > behind
            || view
                .text
                .get(behind.wrapping_sub(2))
                .is_some_and(|byte| is_blank(*byte));
        self.value_at = Some((at, joint));
        if joint == Joint::Colon {
            if let Some(behind) = self.type_end(at)? {
                (joint, is_spaced) = (Joint::Equals, true);
                self.value_at = Some((behind, joint));
                at = view.skip(behind, is_blank)?;
            }
            at = self.block_scalar(at)?;
            self.value_at = Some((at, joint));
        }
        if joint == Joint::Element {
            return Ok(Some((joint, is_spaced, extent::element(view, at)?)));
        }
        at = extent::unwrapped(view, at)?;
        let is_string = is_quote(view.glyph(at)?.byte);
        self.value_at = Some((at, joint));
        let found = Extent::read(view, at, self.is_alone(joint))?;
        let ends_line = is_quote(found.next) || matches!(found.next, b'\n' | b'\r');
        if joint == Joint::Loose && !ends_line && self.setter().is_some_and(|row| row.0 == LINE) {
            joint = Joint::Beside;
        }
        let is_read = is_string || joint != Joint::Call;
        Ok(is_read.then_some((joint, is_spaced, found)))
    }

    /// True if no separator of a list ends an unquoted value.
    fn is_alone(&self, joint: Joint) -> bool {
        self.before().is_ascii_whitespace()
            || is_quote(self.before())
            || matches!(joint, Joint::Space | Joint::Loose)
    }

    /// The last byte before the name.
    fn before(&self) -> u8 {
        self.lead.last().copied().unwrap_or(b'\n')
    }

    /// The connection, and the possible beginning of the value.
    fn joint(&self) -> Result<Option<(Joint, usize)>, More> {
        let view = self.view;
        let mut behind = self.end;
        let glyph = view.glyph(behind)?;
        let is_quoted = is_quote(glyph.byte) && glyph.end > behind;
        if is_quoted {
            behind = glyph.end;
        }
        behind = self.index_end(behind)?;
        let at = view.skip(behind, is_blank)?;
        let (form, joint, end) = self.operator(at)?;
        let is_element = at == behind && (is_quoted || self.lead.ends_with(b"<"));
        match joint {
            None | Some(Joint::Comma) if self.is_named() => self.pair_end(behind),
            None if at == behind || self.is_verb() => Ok(None),
            None => self.behind_space(at, is_quoted),
            // `A|B` is a type.
            Some(_) if at == behind && form == "|" => Ok(None),
            Some(Joint::Call) if is_quoted || at > behind || self.is_verb() => {
                Ok(self.go_type(at)?.map(|at| (Joint::Equals, at)))
            }
            Some(Joint::Element) if !is_element => Ok(Some((Joint::Comma, end))),
            Some(joint) => Ok(Some((joint, end))),
        }
    }

    /// Like [`Self::joint`], for white space as the connection; up to `at`.
    fn behind_space(&self, at: usize, is_quoted: bool) -> Result<Option<(Joint, usize)>, More> {
        let is_string = is_quote(self.view.glyph(at)?.byte);
        if let Some((word, joint)) = self.setter()
            && !(word == LINE && is_string)
        {
            return Ok(Some((joint, at)));
        }
        if is_quoted || is_string {
            return Ok((!is_quoted).then_some((Joint::Beside, at)));
        }
        if let Some(at) = self.verb_end(at)? {
            return Ok(Some((Joint::Is, at)));
        }
        Ok(Some(match self.go_type(at)? {
            Some(at) => (Joint::Equals, at),
            None => (Joint::Beside, at),
        }))
    }

    /// True if the name is only a verb for handing something over: `pass "x"`, `shouldPass("x")`.
    fn is_verb(&self) -> bool {
        let name = &self.view.text[self.start..self.end];
        let has = |part: &str| memchr::memmem::find(name, part.as_bytes()).is_some();
        has("ass") && !has("assw") && !has("assp") && !has("assc")
    }

    /// End of an index or a length around the name: `["name"]`, `{name}`, `name[64]`.
    fn index_end(&self, from: usize) -> Result<usize, More> {
        let glyph = self.view.glyph(from)?;
        match glyph.byte {
            b']' | b'}' => Ok(glyph.end),
            b'[' => {
                let end = self.view.skip(glyph.end, |byte| byte.is_ascii_digit())?;
                let last = self.view.glyph(end)?;
                Ok(if last.byte == b']' { last.end } else { from })
            }
            _ => Ok(from),
        }
    }

    /// The operator at `at`: its row in [`FORMS`], and its end. Another operator's beginning is none.
    fn operator(&self, at: usize) -> Result<(&'static str, Option<Joint>, usize), More> {
        let view = self.view;
        let first = view.glyph(at)?.byte;
        let mut found = ("", None, at);
        if first.is_ascii_alphanumeric() {
            return Ok(found);
        }
        for (form, joint) in &FORMS[..OPERATORS] {
            if form.as_bytes()[0] == first
                && form.len() > found.0.len()
                && let Some(end) = view.expect(at, form)?
            {
                found = (form, Some(*joint), end);
            }
        }
        let goes_on = !matches!(first, b',' | b'(' | b'{' | b'<' | b'>')
            && !found.0.ends_with('>')
            && is_one_of!(view.glyph(found.2)?.byte, b"=:?+.|");
        Ok(if goes_on { ("", None, at) } else { found })
    }

    /// True if the name is itself the value of a name: `name: NAME`, `key="NAME"`.
    fn is_named(&self) -> bool {
        let is_between = |byte: &u8| is_blank(*byte) || is_quote(*byte);
        let end = |text: &[u8]| text.iter().rposition(|byte| !is_between(byte));
        let Some(joint) = end(&self.lead).filter(|at| matches!(self.lead[*at], b':' | b'=')) else {
            return false;
        };
        let name = end(&self.lead[..joint]).map_or(&[][..], |last| &self.lead[..=last]);
        let name = name.to_ascii_lowercase();
        [b"name".as_slice(), b"key", b"variable"]
            .iter()
            .any(|word| name.ends_with(word))
    }

    /// Beginning of the value of `value:` after `name: NAME`.
    fn pair_end(&self, from: usize) -> Result<Option<(Joint, usize)>, More> {
        let view = self.view;
        let at = view.skip(from, |byte| {
            byte.is_ascii_whitespace() || byte == b',' || is_quote(byte)
        })?;
        for (word, joint) in FORMS[OPERATORS..].iter().filter(|row| row.1 == Joint::Pair) {
            if let Some(end) = view.expect(at, word)? {
                let at = view.skip(end, |byte| is_quote(byte) || is_blank(byte))?;
                let glyph = view.glyph(at)?;
                return Ok(matches!(glyph.byte, b':' | b'=').then_some((*joint, glyph.end)));
            }
        }
        Ok(None)
    }

    /// The instruction that takes the name and a value: its row in [`FORMS`].
    fn setter(&self) -> Option<(&'static str, Joint)> {
        let line = self
            .lead
            .rsplit(|byte| is_one_of!(*byte, b"\n\r>"))
            .next()?;
        let mut words = line
            .split(|byte| byte.is_ascii_whitespace() || is_quote(*byte))
            .filter(|word| !word.is_empty() && !word.starts_with(b"-"))
            .rev();
        let words = match self.view.text[self.start] {
            b'-' => [Some(&b"-"[..]), None],
            _ if self.before() > b' ' && self.before() != b'>' => return None,
            _ => [words.next().or(Some(LINE.as_bytes())), words.next()],
        };
        let mut rows = FORMS[OPERATORS..]
            .iter()
            .filter(|row| matches!(row.1, Joint::Space | Joint::Loose));
        let found = rows.find(|row| {
            let is_word = |word: &&[u8]| {
                word.len() == row.0.len() && word.eq_ignore_ascii_case(row.0.as_bytes())
            };
            words.iter().flatten().any(is_word)
        });
        found.copied()
    }

    /// End of the `=` after a type: `name: &str = …`.
    fn type_end(&self, from: usize) -> Result<Option<usize>, More> {
        let (mut at, mut before) = (from, 0);
        for _ in 0..TYPE_MAX {
            let glyph = self.view.glyph(at)?;
            if glyph.byte == b'=' && before == b' ' {
                let next = self.view.glyph(glyph.end)?;
                return Ok((!matches!(next.byte, b'=' | b'>')).then_some(glyph.end));
            }
            let is_type = match glyph.byte {
                // A lifetime.
                b'\'' => matches!(before, b'&' | b'<'),
                byte => byte.is_ascii_alphanumeric() || is_one_of!(byte, b"_&<>[]|?.:*{}; "),
            };
            if !is_type || glyph.end == at {
                return Ok(None);
            }
            (at, before) = (glyph.end, glyph.byte);
        }
        Ok(None)
    }

    /// End of the verb that begins at `from`, including a colon.
    fn verb_end(&self, from: usize) -> Result<Option<usize>, More> {
        let mut rows = FORMS[OPERATORS..].iter().filter(|row| row.1 == Joint::Is);
        let Some(end) = rows.find_map(|row| self.view.expect(from, row.0).transpose()) else {
            return Ok(None);
        };
        let end = end?;
        let at = self.view.skip(end, |byte| byte == b':' || is_blank(byte))?;
        Ok((at > end).then_some(at))
    }

    /// Like [`Self::type_end`], for a type that follows its name without a colon: a string must follow.
    fn go_type(&self, from: usize) -> Result<Option<usize>, More> {
        let first = self.view.glyph(from)?.byte;
        if !first.is_ascii_alphabetic() && !matches!(first, b'[' | b'*' | b'{') {
            return Ok(None);
        }
        let Some(end) = self.type_end(from)? else {
            return Ok(None);
        };
        let at = self.view.skip(end, is_blank)?;
        Ok(is_quote(self.view.glyph(at)?.byte).then_some(end))
    }

    /// After `name: |` the value is the next line.
    fn block_scalar(&self, from: usize) -> Result<usize, More> {
        let at = self.view.skip(from, |byte| is_one_of!(byte, b"|>-+ \t"))?;
        let is_scalar = matches!(self.view.glyph(from)?.byte, b'|' | b'>')
            && matches!(self.view.glyph(at)?.byte, b'\n' | b'\r');
        match is_scalar {
            true => self.view.skip(at, |byte| byte.is_ascii_whitespace()),
            false => Ok(from),
        }
    }
}
