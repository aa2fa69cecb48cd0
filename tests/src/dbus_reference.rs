//! `docs/dbus.md`, written from the interface's XML: whatever is said there is said once.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where it is written to.
pub fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dbus.md")
}

/// The document for these introspection data and the comments in them.
pub fn render(xml: &str) -> String {
    let mut page = String::from(
        "# D-Bus interface of signetd\n\n\
         Written from [`daemon/dbus/org.signet.Presence1.xml`](../daemon/dbus/org.signet.Presence1.xml) \
         by `cargo run -p signet-tests --bin dbus-reference`; a test fails when it is not current. \
         [desktop.md](desktop.md) shows how a request goes, [operating.md](operating.md#who-may-ask) \
         who may ask.\n\n\
         Types are those of D-Bus: `s` string, `u` number, `t` large number, `b` yes or no, `ay` bytes, \
         `o` object path, `h` file descriptor, `a…` list, `a{sv}` dictionary. Members in [brackets] \
         may be absent.\n",
    );
    let mut comment = String::new();
    let mut member: Option<Member> = None;
    for token in tokens(xml) {
        match token {
            Token::Comment(text) => comment = text.to_owned(),
            Token::Tag { name: "node", .. } => page += &preface(&std::mem::take(&mut comment)),
            Token::Tag { name: "interface", attributes } => {
                let _ = write!(page, "\n## {}\n", attribute(attributes, "name"));
                page += &paragraphs(&std::mem::take(&mut comment));
            }
            Token::Tag { name: kind @ ("method" | "signal" | "property"), attributes } => {
                let new = Member::new(kind, attributes, std::mem::take(&mut comment));
                match kind {
                    // It has no members of its own that matter here.
                    "property" => page += &new.render(),
                    _ => member = Some(new),
                }
            }
            Token::Tag { name: "arg", attributes } => {
                if let Some(member) = &mut member {
                    member.argument(attributes);
                }
            }
            Token::Tag { name: "/method" | "/signal", .. } => {
                page += &member.take().map(|member| member.render()).unwrap_or_default();
            }
            Token::Tag { .. } => {}
        }
    }
    page
}

enum Token<'a> {
    Comment(&'a str),
    Tag { name: &'a str, attributes: &'a str },
}

fn tokens(xml: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once('<') {
        let (inner, next, comment) = match after.strip_prefix("!--") {
            Some(after) => {
                let (text, next) = after.split_once("-->").unwrap_or((after, ""));
                (text, next, true)
            }
            None => {
                let (tag, next) = after.split_once('>').unwrap_or((after, ""));
                (tag, next, false)
            }
        };
        rest = next;
        if comment {
            tokens.push(Token::Comment(inner));
        } else {
            let (name, attributes) = inner.split_once(' ').unwrap_or((inner, ""));
            tokens.push(Token::Tag { name, attributes });
        }
    }
    tokens
}

fn attribute<'a>(attributes: &'a str, name: &str) -> &'a str {
    let value = attributes.split_once(&format!("{name}=\"")).map(|(_, value)| value);
    value.and_then(|value| value.split('"').next()).unwrap_or_default()
}

/// A method, signal or property.
struct Member {
    kind: String,
    name: String,
    own_type: String,
    ins: Vec<String>,
    outs: Vec<String>,
    comment: String,
}

impl Member {
    fn new(kind: &str, attributes: &str, comment: String) -> Self {
        Self {
            kind: kind.to_owned(),
            name: attribute(attributes, "name").to_owned(),
            own_type: attribute(attributes, "type").to_owned(),
            ins: Vec::new(),
            outs: Vec::new(),
            comment,
        }
    }

    fn argument(&mut self, attributes: &str) {
        let text = format!("{} {}", attribute(attributes, "name"), attribute(attributes, "type"));
        match attribute(attributes, "direction") {
            "out" => self.outs.push(text),
            _ => self.ins.push(text),
        }
    }

    fn render(&self) -> String {
        let Self { kind, name, own_type, ins, outs, comment } = self;
        let shape = match kind.as_str() {
            "property" => own_type.clone(),
            _ if outs.is_empty() => format!("({})", ins.join(", ")),
            _ => format!("({}) → {}", ins.join(", "), outs.join(", ")),
        };
        let space = if kind == "property" { " " } else { "" };
        format!("\n### {kind} {name}\n\n`{name}{space}{shape}`\n{}", paragraphs(comment))
    }
}

/// The comment before everything: its errors become a table.
fn preface(comment: &str) -> String {
    let mut text = String::new();
    for block in blocks(comment) {
        match block.split_once("NAME is one of\n") {
            None => text += &format!("\n{}\n", block.replace('\n', " ")),
            Some((before, errors)) => {
                let before = before.replace('\n', " ");
                let _ =
                    write!(text, "\n{before}NAME is one of:\n\n| NAME | meaning |\n|---|---|\n");
                for (name, meaning) in errors.lines().filter_map(|line| line.split_once(": ")) {
                    let _ = writeln!(text, "| `{name}` | {meaning} |");
                }
            }
        }
    }
    text
}

/// A comment as text; what goes in and comes out begins a line of its own.
fn paragraphs(comment: &str) -> String {
    let mut text = String::new();
    for block in blocks(comment) {
        let mut block = block.replace('\n', " ");
        for word in ["options", "results", "results of Completed", "stage", "outcome", "sessions"] {
            let (found, marked) = (format!(" {word}: "), format!("\n\n**{word}:** "));
            block = format!(" {block}").replace(&found, &marked).trim_start().to_owned();
        }
        let _ = write!(text, "\n{block}\n");
    }
    text
}

/// Parts that empty lines separate, without the indentation.
fn blocks(comment: &str) -> Vec<String> {
    let lines: Vec<&str> = comment.lines().map(str::trim).collect();
    let joined = lines.join("\n");
    let parts = joined.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}
