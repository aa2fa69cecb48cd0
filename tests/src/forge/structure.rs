//! Mutation by structure: every byte string and every head of a piece of evidence, one at a time.
//!
//! A mutation is one of the message as it was sent (the outer signature stays), or of a message that
//! the machine signs again: then what is inside must hold it back.

use signet_evidence::cbor::{self, Value};

use super::{Base, Forger, blank};
use crate::attester::Fault;
use crate::fixture::{Fixture, Kind};
use crate::judge::judge;

/// Puts a changed item back into its message.
type Rebuild<'a> = dyn Fn(Item) -> Item + 'a;
/// What is done at each item: its path, itself, and how to put another in its place.
type Visit<'a> = dyn FnMut(&str, &Item, &Rebuild<'_>) + 'a;

/// A CBOR item in which byte strings that hold CBOR are opened.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A byte string.
    Bytes(Vec<u8>),
    /// A byte string that holds one item.
    Wrapped(Box<Item>),
    /// Text.
    Text(String),
    /// An array.
    Array(Vec<Item>),
    /// A map, in the order of its entries.
    Map(Vec<(Item, Item)>),
    /// A tag.
    Tag(u64, Box<Item>),
    /// An unsigned or negative integer: major type and argument.
    Integer(u8, u64),
    /// Anything else, or bytes that are no item: as they stand.
    Raw(Vec<u8>),
}

/// What was done to one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// One bit of the byte at this place was turned.
    Flipped(usize),
    /// The last byte was taken away.
    Truncated,
    /// All bytes were taken away.
    Emptied,
    /// A byte was added.
    Extended,
    /// It was exchanged for that of another genuine piece of evidence.
    Swapped,
    /// The head is longer than it need be.
    Wider,
    /// The length is indefinite.
    Indefinite,
    /// This entry of a map stands behind the next.
    Reordered(usize),
    /// This entry of a map stands twice.
    Duplicated(usize),
}

impl What {
    /// Whether the same values were encoded in another way.
    pub fn is_encoding(self) -> bool {
        matches!(self, Self::Wider | Self::Indefinite | Self::Reordered(_) | Self::Duplicated(_))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flipped(_) => "flipped",
            Self::Truncated => "truncated",
            Self::Emptied => "emptied",
            Self::Extended => "extended",
            Self::Swapped => "swapped",
            Self::Wider => "longer-head",
            Self::Indefinite => "indefinite",
            Self::Reordered(_) => "reordered",
            Self::Duplicated(_) => "duplicated",
        }
    }
}

/// A mutated message.
pub struct Mutation {
    /// Where: array indices and map keys from the message inwards, `/` between them.
    pub path: String,
    /// What.
    pub what: What,
    message: Item,
}

/// Byte strings that hold an item: protected header, payload, the header's parts, and the attestation
/// object in a registration.
fn opens(path: &str) -> bool {
    let parts = ["0", "2", "0/-70101", "0/-70102", "0/-70103", "0/-70104", "0/-70105"];
    parts.contains(&path) || path == "0/-70104/1"
}

fn join(path: &str, step: impl std::fmt::Display) -> String {
    if path.is_empty() { step.to_string() } else { format!("{path}/{step}") }
}

fn item(value: &Value, path: &str) -> Result<Item, Fault> {
    Ok(match value {
        Value::Bytes(bytes) if opens(path) => {
            Item::Wrapped(Box::new(item(&cbor::decode(bytes)?, path)?))
        }
        Value::Bytes(bytes) => Item::Bytes(bytes.clone()),
        Value::Text(text) => Item::Text(text.clone()),
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(at, found)| item(found, &join(path, at)));
            Item::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                let at = join(path, step(key));
                Ok((item(key, "key")?, item(value, &at)?))
            });
            Item::Map(entries.collect::<Result<_, Fault>>()?)
        }
        // The tag of the message is no step of a path.
        Value::Tag(tag, inner) => Item::Tag(*tag, Box::new(item(inner, path)?)),
        Value::Integer(number) => {
            let number = i128::from(*number);
            let (major, argument) = if number < 0 { (1, -1 - number) } else { (0, number) };
            Item::Integer(major, u64::try_from(argument)?)
        }
        other => Item::Raw(cbor::encode(other)),
    })
}

fn step(key: &Value) -> String {
    match key {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Text(text) => text.clone(),
        _ => "?".into(),
    }
}

/// A head (RFC 8949 section 3) in `extra` more steps than it need be.
fn head(major: u8, argument: u64, extra: usize) -> Option<Vec<u8>> {
    let bytes = argument.to_be_bytes();
    let least = match argument {
        0..24 => 0,
        24..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 3,
        _ => 4,
    };
    let first = |additional: u8| major << 5 | additional;
    Some(match least + extra {
        0 => vec![first(bytes[7])],
        1 => vec![first(24), bytes[7]],
        2 => [&[first(25)], &bytes[6..]].concat(),
        3 => [&[first(26)], &bytes[4..]].concat(),
        4 => [&[first(27)], &bytes[..]].concat(),
        _ => return None,
    })
}

impl Item {
    /// The message in `bytes`.
    ///
    /// # Errors
    /// [`Fault`] where they are not deterministic CBOR.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        item(&cbor::decode(bytes)?, "")
    }

    /// Major type, argument and what follows the head.
    fn pieces(&self) -> Option<(u8, u64, Vec<u8>)> {
        let all = |items: &[Item]| items.iter().flat_map(Item::encode).collect::<Vec<u8>>();
        Some(match self {
            Self::Integer(major, argument) => (*major, *argument, Vec::new()),
            Self::Bytes(bytes) => (2, bytes.len() as u64, bytes.clone()),
            Self::Wrapped(inner) => {
                let bytes = inner.encode();
                (2, bytes.len() as u64, bytes)
            }
            Self::Text(text) => (3, text.len() as u64, text.clone().into_bytes()),
            Self::Array(items) => (4, items.len() as u64, all(items)),
            Self::Map(entries) => {
                let body = entries.iter().flat_map(|(key, value)| [key.encode(), value.encode()]);
                (5, entries.len() as u64, body.flatten().collect())
            }
            Self::Tag(tag, inner) => (6, *tag, inner.encode()),
            Self::Raw(_) => return None,
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            _ => self.headed(0).unwrap_or_default(),
        }
    }

    fn headed(&self, extra: usize) -> Option<Vec<u8>> {
        let (major, argument, body) = self.pieces()?;
        Some([head(major, argument, extra)?, body].concat())
    }

    /// The same of indefinite length, where there is such a form.
    fn indefinite(&self) -> Option<Vec<u8>> {
        let (major, _, body) = self.pieces()?;
        let begin = [major << 5 | 31];
        match major {
            // One chunk, which is a string of definite length.
            2 | 3 => Some([&begin, &self.encode()[..], &[0xff]].concat()),
            4 | 5 => Some([&begin, &body[..], &[0xff]].concat()),
            _ => None,
        }
    }

    /// The bytes that a byte string holds.
    fn content(&self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Wrapped(inner) => Some(inner.encode()),
            _ => None,
        }
    }

    /// What can be done to this item itself.
    fn mutations(&self) -> Vec<(What, Item)> {
        let mut found = Vec::new();
        for extra in 1..4 {
            found.extend(self.headed(extra).map(|bytes| (What::Wider, Item::Raw(bytes))));
        }
        found.extend(self.indefinite().map(|bytes| (What::Indefinite, Item::Raw(bytes))));
        match self {
            Self::Bytes(bytes) => {
                let flips = (0..bytes.len()).map(|at| {
                    let mut bytes = bytes.clone();
                    bytes[at] ^= 1 << (at % 8);
                    (What::Flipped(at), Item::Bytes(bytes))
                });
                found.extend(flips);
                found.extend(resized(bytes));
            }
            Self::Wrapped(inner) => found.extend(resized(&inner.encode())),
            Self::Text(text) => {
                let mut longer = text.clone();
                longer.push('x');
                found.push((What::Extended, Item::Text(longer)));
                found.push((What::Truncated, Item::Text(text[..text.len() - 1].into())));
                found.push((What::Emptied, Item::Text(String::new())));
                found.extend((0..text.len()).map(|at| {
                    let mut bytes = text.clone().into_bytes();
                    // Stays ASCII, and stays text.
                    bytes[at] ^= 1;
                    (What::Flipped(at), Item::Text(String::from_utf8_lossy(&bytes).into_owned()))
                }));
            }
            Self::Map(entries) => {
                for at in 0..entries.len() {
                    let mut twice = entries.clone();
                    twice.insert(at, entries[at].clone());
                    found.push((What::Duplicated(at), Item::Map(twice)));
                    if at + 1 < entries.len() {
                        let mut reordered = entries.clone();
                        reordered.swap(at, at + 1);
                        found.push((What::Reordered(at), Item::Map(reordered)));
                    }
                }
            }
            _ => {}
        }
        found
    }

    fn walk(&self, path: &str, rebuild: &Rebuild<'_>, visit: &mut Visit<'_>) {
        visit(path, self, rebuild);
        match self {
            Self::Wrapped(inner) => {
                inner.walk(path, &|new| rebuild(Item::Wrapped(Box::new(new))), visit);
            }
            Self::Tag(tag, inner) => {
                inner.walk(path, &|new| rebuild(Item::Tag(*tag, Box::new(new))), visit);
            }
            Self::Array(items) => {
                for (at, found) in items.iter().enumerate() {
                    let put = |new| {
                        let mut items = items.clone();
                        items[at] = new;
                        rebuild(Item::Array(items))
                    };
                    found.walk(&join(path, at), &put, visit);
                }
            }
            Self::Map(entries) => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    let step = match key {
                        Item::Integer(0, number) => number.to_string(),
                        Item::Integer(_, number) => format!("-{}", number + 1),
                        Item::Text(text) => text.clone(),
                        _ => "?".into(),
                    };
                    let path = join(path, step);
                    let put = |key: Item, value: Item| {
                        let mut entries = entries.clone();
                        entries[at] = (key, value);
                        rebuild(Item::Map(entries))
                    };
                    key.walk(&join(&path, "key"), &|new| put(new, value.clone()), visit);
                    value.walk(&path, &|new| put(key.clone(), new), visit);
                }
            }
            _ => {}
        }
    }

    /// Every mutation of this message; `other` is a message of the same form.
    pub fn mutate(&self, other: &Item) -> Vec<Mutation> {
        let mut others = std::collections::BTreeMap::new();
        other.walk("", &|new| new, &mut |path, found, _| {
            if found.content().is_some() {
                others.insert(path.to_owned(), found.clone());
            }
        });
        let mut made = Vec::new();
        self.walk("", &|new| new, &mut |path, found, rebuild| {
            // The keys of maps are integers and names: their heads alone.
            let key = path.ends_with("/key") || path == "key";
            let mut add = |what: What, new: Item| {
                let (path, message) = (path.to_owned(), rebuild(new));
                made.push(Mutation { path, what, message });
            };
            for (what, new) in found.mutations() {
                if !key || what.is_encoding() {
                    add(what, new);
                }
            }
            if let Some(swapped) = others.get(path).filter(|other| *other != found) {
                add(What::Swapped, swapped.clone());
            }
        });
        made
    }
}

fn resized(bytes: &[u8]) -> Vec<(What, Item)> {
    let mut found = vec![(What::Extended, Item::Bytes([bytes, &[0]].concat()))];
    if !bytes.is_empty() {
        found.push((What::Truncated, Item::Bytes(bytes[..bytes.len() - 1].to_vec())));
        found.push((What::Emptied, Item::Bytes(Vec::new())));
    }
    found
}

impl Mutation {
    /// The message with the signature that it had.
    pub fn as_sent(&self) -> Vec<u8> {
        self.message.encode()
    }

    /// The message signed again by the machine; `None` where the mutation is of the signature or of the
    /// message's own encoding.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn signed_again(&self, forger: &Forger<'_>) -> Result<Option<Vec<u8>>, Fault> {
        if self.path.is_empty() || self.path.starts_with(['1', '3']) {
            return Ok(None);
        }
        let Item::Tag(tag, inner) = &self.message else { return Ok(None) };
        let Item::Array(items) = &**inner else { return Ok(None) };
        let (Some(protected), Some(payload)) = (items[0].content(), items[2].content()) else {
            return Ok(None);
        };
        let mut items = items.clone();
        items[3] = Item::Bytes(forger.outer_signature("tls", &protected, &payload)?);
        Ok(Some(Item::Tag(*tag, Box::new(Item::Array(items))).encode()))
    }

    /// The codes that may answer it. What is refused by step 5 where the message is as it was sent, is
    /// refused by the step that owns it where the machine signed it again.
    pub fn codes(&self, signed_again: bool) -> Vec<&'static str> {
        let mut codes = vec!["evidence-malformed"];
        // An attestation object is judged with the key, long after the message; the byte string that
        // holds it has the same path as the object.
        let inside = self.path.starts_with("0/-70104/1");
        if self.what.is_encoding() && !inside {
            return codes;
        }
        let (early, late): (&[&str], &[&str]) = match self.path.as_str() {
            "3" => (&["evidence-signature-invalid"], &[]),
            "2" => (&["challenge-invalid"], &["quote-challenge-mismatch"]),
            // The challenge of another session is good until the quote is looked at.
            "2/10" => (&["challenge-invalid"], &["quote-challenge-mismatch"]),
            "2/-70003" | "2/-70004" => (&["challenge-invalid"], &[]),
            "2/8/5" => (&["key-thumbprint-mismatch"], &[]),
            "2/256" => (&["certificate-mismatch"], &[]),
            "2/3" => (&["audience-wrong"], &[]),
            "2/265" => (&["profile-wrong"], &[]),
            "2/2" | "2/9" | "2/-70002" | "2/-70005/1" | "2/-70005/2" => {
                (&[], &["quote-challenge-mismatch"])
            }
            "0" => (&[], &["quote-challenge-mismatch"]),
            "0/33" => (&["certificate-mismatch"], &[]),
            "0/-70102" => (&[], &["quote-challenge-mismatch"]),
            "0/-70102/1" => (&[], &["ak-certificate-untrusted"]),
            "0/-70102/2/0" => (&[], &["quote-signature-invalid"]),
            "0/-70102/2/1" => (&[], &["quote-signature-invalid", "quote-malformed"]),
            "0/-70102/3/0" => (&[], &["certification-signature-invalid"]),
            "0/-70102/3/1" => {
                (&[], &["certification-signature-invalid", "certification-malformed"])
            }
            "0/-70102/3/2" => (&[], &["certification-key-mismatch", "certification-malformed"]),
            path if path.starts_with("0/-70102/4/") => (&[], &["pcr-digest-mismatch"]),
            // Assertions and registrations: the quote is over their bytes.
            path if path.starts_with("0/-7010") => (&[], &["quote-challenge-mismatch"]),
            _ => (&[], &[]),
        };
        // Not so the key of the object's own entry, which is the message's.
        if self.path.starts_with("0/-70104/1/") && self.path != "0/-70104/1/key" {
            codes.clear();
        }
        codes.extend(early);
        match late {
            [] => {}
            _ if signed_again => codes.extend(late),
            _ => codes.push("evidence-signature-invalid"),
        }
        codes
    }
}

/// The bases whose every item is mutated.
pub const BASES: [(Base, &str); 8] = [
    (Base::Session, "session"),
    (Base::Action, "action"),
    (Base::Renewal, "renewal"),
    (Base::Workload, "workload"),
    (Base::Pin, "pin"),
    (Base::Finger, "finger"),
    (Base::NewKey, "new-key"),
    (Base::NewFinger, "new-finger"),
];

/// An unedited forgery and another of the same form.
///
/// # Errors
/// [`Fault`].
pub fn pair(forger: &Forger<'_>, base: Base) -> Result<(Item, Item), Fault> {
    let one = Item::parse(&forger.evidence(base, &[], "one")?)?;
    Ok((one, Item::parse(&forger.evidence(base, &[], "two")?)?))
}

/// An empty fixture for evidence of this base.
pub fn envelope(base: Base, code: &str, name: &str, comment: &str) -> Fixture {
    let mut fixture = blank(code, name, "protocol 2.1, 2.2 and 2.4", comment);
    if matches!(base, Base::NewKey | Base::NewPin | Base::NewFinger) {
        fixture.kind = Kind::Registration;
    }
    fixture
}

/// A sample of the mutations that are signed again, for the committed files: of each byte string of a
/// session one of each kind, and of other evidence what a session does not have.
pub(super) fn sample(forger: &Forger<'_>) -> Result<Vec<Fixture>, Fault> {
    let mut made = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let (mut asked, mut wrong) = (std::collections::BTreeSet::new(), Vec::new());
    for (base, named) in BASES {
        let (one, other) = pair(forger, base)?;
        for mutation in one.mutate(&other) {
            let (path, what) = (mutation.path.as_str(), mutation.what);
            let kept = match what {
                // One bit in the middle is enough for a file; the test turns one in every byte.
                What::Flipped(at) => at == 4,
                What::Reordered(at) | What::Duplicated(at) => at == 0,
                What::Emptied => false,
                What::Wider | What::Indefinite => {
                    path.matches('/').count() < 2 && !path.ends_with("key")
                }
                _ => !path.ends_with("key"),
            };
            let name = format!("structure-{}-{}", path.replace('/', "-"), what.name());
            if !kept || !seen.insert(name.clone()) {
                continue;
            }
            let Some(bytes) = mutation.signed_again(forger)? else { continue };
            if !asked.insert(bytes.clone()) {
                continue;
            }
            let comment = format!("{named}: item {path} {}, signed again", what.name());
            let mut fixture = envelope(base, "accepted", &name, &comment);
            fixture.bytes = bytes;
            let answer = judge(forger.world, &fixture)?;
            let code = answer.err().map_or("accepted", |rejection| rejection.code().as_str());
            if !mutation.codes(true).contains(&code) {
                wrong.push(format!("{name} gets {code}"));
            }
            fixture.path = blank(code, &name, "", "").path;
            fixture.expect = code.into();
            made.push(fixture);
        }
    }
    if wrong.is_empty() { Ok(made) } else { Err(wrong.join("\n").into()) }
}
