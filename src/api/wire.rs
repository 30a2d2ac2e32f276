//! Declares the structures of the wire: `wire!` gives serde the structure, and clients its [`Shape`].
//!
//! Pure data for every thread. It knows neither routes nor the form in which shapes are published.

use serde_json::Value;

use super::rules;

/// A type that crosses the socket.
pub trait Wire {
    const SHAPE: &'static Shape;
}

/// The JSON of a type.
#[derive(Debug)]
pub enum Shape {
    /// No query, or no body. A field of it is always null.
    Nothing,
    /// Any JSON value.
    Any,
    Boolean,
    Integer {
        min: i64,
        max: u64,
    },
    Number,
    Text,
    /// An RFC 3339 time.
    Time,
    /// An answer of plain text instead of JSON.
    Plain,
    /// One of these words, which spaces separate.
    Words(&'static str),
    /// One of those words, or a word of another release.
    Open(&'static Shape),
    /// A value, or null.
    Optional(&'static Shape),
    List(&'static Shape),
    /// An object whose names the client chooses.
    Map(&'static Shape),
    Object(Object),
}

/// A structure, as `wire!` declares it.
#[derive(Debug)]
pub struct Object {
    pub name: &'static str,
    pub doc: &'static str,
    /// For each field a line with its name and its description.
    pub lines: &'static str,
    pub fields: &'static [WireField],
    /// JSON Schema keywords that relate its fields; empty if there are none.
    pub keywords: &'static str,
    /// serde's attributes of the structure.
    pub traits: Traits,
}

/// A field without its name: the line of [`Object::lines`] with the same number has it.
#[derive(Debug, Clone, Copy)]
pub struct WireField {
    pub shape: &'static Shape,
    /// serde's attributes of the field.
    pub traits: Traits,
    /// Number of its rule in `rules::KEYWORDS`, if any.
    pub rule: Option<u8>,
}

/// The meaning of serde's attributes, read from their text.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// Names are written in camelCase.
    pub is_camel: bool,
    /// The field can be missing in a request.
    pub has_default: bool,
    /// The field can be missing in an answer.
    pub can_be_left_out: bool,
    /// Its fields stand among those of the structure.
    pub is_flat: bool,
    /// The field never crosses the socket.
    pub is_hidden: bool,
}

impl Traits {
    pub const fn read(attributes: &str) -> Self {
        Self {
            is_camel: contains(attributes, "camelCase"),
            has_default: contains(attributes, "default"),
            can_be_left_out: contains(attributes, "skip_serializing"),
            is_flat: contains(attributes, "flatten"),
            is_hidden: contains(attributes, "skip;"),
        }
    }
}

impl WireField {
    pub const fn new(shape: &'static Shape, attributes: &str) -> Self {
        Self {
            shape,
            traits: Traits::read(attributes),
            rule: rules::number(attributes),
        }
    }
}

impl Object {
    /// The fields with their names and descriptions.
    pub fn fields(&self) -> impl Iterator<Item = (String, &'static str, &'static WireField)> {
        let is_camel = self.traits.is_camel;
        self.lines
            .lines()
            .zip(self.fields)
            .map(move |(line, field)| {
                let (name, doc) = line.split_once(' ').unwrap_or((line, ""));
                let name = match is_camel {
                    true => camel(name),
                    false => name.to_owned(),
                };
                (name, doc.trim_start(), field)
            })
    }
}

/// serde's camelCase of a field's name.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name += &initial.to_ascii_uppercase();
        name += rest;
        name
    })
}

/// `str::contains` for constants.
pub(super) const fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    let mut start = 0;
    while start + part.len() <= text.len() {
        let mut same = 0;
        while same < part.len() && text[start + same] == part[same] {
            same += 1;
        }
        if same == part.len() {
            return true;
        }
        start += 1;
    }
    false
}

/// Declares structures for serde together with their [`Shape`]s, so that neither has a field that the other lacks. JSON
/// Schema keywords that relate its fields can follow each.
macro_rules! wire {
    ($(
        $(#[doc = $doc:literal])*
        #[derive($($derive:ident),+)]
        $(#[serde($($whole:tt)*)])*
        pub struct $name:ident {
            $(
                $(#[doc = $text:literal])*
                $(#[serde($($rule:tt)*)])*
                pub $field:ident: $type:ty,
            )+
        }
        $($keywords:literal)?
    )+) => {$(
        $(#[doc = $doc])*
        #[derive($($derive),+)]
        $(#[serde($($whole)*)])*
        pub struct $name {
            $(
                $(#[doc = $text])*
                $(#[serde($($rule)*)])*
                pub $field: $type,
            )+
        }

        impl $crate::api::wire::Wire for $name {
            const SHAPE: &'static $crate::api::wire::Shape =
                &$crate::api::wire::Shape::Object($crate::api::wire::Object {
                    name: stringify!($name),
                    doc: concat!($($doc,)* ""),
                    lines: concat!($(stringify!($field), $($text,)* "\n",)+),
                    fields: &[$(
                        $crate::api::wire::WireField::new(
                            <$type as $crate::api::wire::Wire>::SHAPE,
                            concat!($(stringify!($($rule)*), ";",)* ""),
                        ),
                    )+],
                    keywords: concat!($($keywords)?),
                    traits: $crate::api::wire::Traits::read(
                        concat!($(stringify!($($whole)*), ";",)* ""),
                    ),
                });
        }
    )+};
}
pub(crate) use wire;

/// Gives types the shape of another type, or a shape of their own.
macro_rules! shapes {
    ($($type:ty: $shape:expr;)+) => {
        $(impl Wire for $type {
            const SHAPE: &'static Shape = &$shape;
        })+
    };
}

shapes! {
    (): Shape::Nothing;
    Value: Shape::Any;
    bool: Shape::Boolean;
    i32: Shape::Integer { min: i32::MIN as i64, max: i32::MAX as u64 };
    i64: Shape::Integer { min: i64::MIN, max: i64::MAX as u64 };
    u32: Shape::Integer { min: 0, max: u32::MAX as u64 };
    u64: Shape::Integer { min: 0, max: u64::MAX };
    usize: Shape::Integer { min: 0, max: u64::MAX };
    f64: Shape::Number;
    String: Shape::Text;
    super::SessionId: Shape::Text;
    super::Timestamp: Shape::Time;
    super::Text: Shape::Plain;
    super::Labels: Shape::List(String::SHAPE);
    super::LeftBehind: Shape::List(super::LeftProcess::SHAPE);
    super::Variables: Shape::Map(String::SHAPE);
}

impl<T: Wire> Wire for Option<T> {
    const SHAPE: &'static Shape = &Shape::Optional(T::SHAPE);
}

impl<T: Wire> Wire for Vec<T> {
    const SHAPE: &'static Shape = &Shape::List(T::SHAPE);
}

impl<T: Wire> Wire for super::Word<T> {
    const SHAPE: &'static Shape = &Shape::Open(T::SHAPE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_serde_writes_them() {
        for (name, written) in [("id", "id"), ("after_event_id", "afterEventId")] {
            assert_eq!(camel(name), written);
        }
    }

    #[test]
    fn attributes_are_read_whole() {
        let hidden = Traits::read("skip;");
        assert!(hidden.is_hidden && !hidden.can_be_left_out);
        let optional = Traits::read("default, skip_serializing_if = \"Option::is_none\";");
        assert!(optional.has_default && optional.can_be_left_out && !optional.is_hidden);
        assert!(!contains("ab", "abc") && contains("abc", "bc") && contains("", ""));
    }
}
