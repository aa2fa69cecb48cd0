//! A tree of labelled values, shown to a person or as JSON.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// One value of an outline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outline {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Items in order.
    List(Vec<Outline>),
    /// Labelled values, in the order in which they are shown.
    Section(Vec<(String, Outline)>),
}

impl From<&str> for Outline {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Outline {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Outline {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Outline {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Outline {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Outline {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&serde_json::Value> for Outline {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::from("null"),
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => {
                number.as_i64().map_or_else(|| Self::Text(number.to_string()), Self::Number)
            }
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(members) => Self::Section(
                members.iter().map(|(key, value)| (key.clone(), value.into())).collect(),
            ),
        }
    }
}

/// A section under construction.
#[derive(Debug, Default)]
pub(super) struct Section(Vec<(String, Outline)>);

impl Section {
    pub(super) fn with(mut self, label: &str, value: impl Into<Outline>) -> Self {
        self.0.push((label.to_owned(), value.into()));
        self
    }

    pub(super) fn maybe(self, label: &str, value: Option<impl Into<Outline>>) -> Self {
        match value {
            Some(value) => self.with(label, value),
            None => self,
        }
    }
}

impl From<Section> for Outline {
    fn from(section: Section) -> Self {
        Self::Section(section.0)
    }
}

impl Serialize for Outline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(items) => serializer.collect_seq(items),
            Self::Section(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (label, value) in entries {
                    map.serialize_entry(label, value)?;
                }
                map.end()
            }
        }
    }
}

/// Indented lines; control characters, which a terminal might obey, are shown as `\u{..}`.
impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Outline {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Self::Section(entries) => entries.iter().try_for_each(|(label, value)| {
                write!(f, "{:depth$}{}:", "", harmless(label), depth = depth * 2)?;
                value.write_value(f, depth)
            }),
            Self::List(items) => items.iter().try_for_each(|item| {
                write!(f, "{:depth$}-", "", depth = depth * 2)?;
                item.write_value(f, depth)
            }),
            leaf => leaf.write_value(f, depth),
        }
    }

    fn write_value(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Self::Text(text) => writeln!(f, " {}", harmless(text)),
            Self::Number(number) => writeln!(f, " {number}"),
            Self::Flag(flag) => writeln!(f, " {}", if *flag { "yes" } else { "no" }),
            Self::List(_) | Self::Section(_) => {
                writeln!(f)?;
                self.write(f, depth + 1)
            }
        }
    }
}

fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tree_for_people_and_for_programs() {
        let inner = Section::default().with("up", true).with("count", 3_u32);
        let list = Outline::List(vec!["a".into(), "b\u{1b}[2J".into()]);
        let tree: Outline = Section::default().with("key", inner).with("list", list).into();
        let text = "key:\n  up: yes\n  count: 3\nlist:\n  - a\n  - b\\u{1b}[2J\n";
        assert_eq!(tree.to_string(), text);
        let json = serde_json::to_string(&tree).unwrap();
        assert_eq!(json, r#"{"key":{"up":true,"count":3},"list":["a","b\u001b[2J"]}"#);
    }
}
