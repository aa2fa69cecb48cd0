//! Cedar's context: what rules see of a request beside who asks for what.

use std::net::IpAddr;

use cedar_policy::{Context, ContextCreationError, Policy, RestrictedExpression as Value};

use super::clock::Clock;
use super::facts::{PresenceFacts, RequestFacts};
use super::load::{Kind, uid};

/// What a context is made of.
pub(super) struct Circumstances<'a> {
    pub(super) facts: &'a RequestFacts<'a>,
    pub(super) presence: PresenceFacts<'a>,
    pub(super) single_use: bool,
    pub(super) clock: &'a Clock,
}

type Read = fn(&Circumstances<'_>) -> Option<Value>;

/// Every attribute that the schema declares, and how it is read. Which type it has never depends on
/// the request; only `source` may be missing.
const ATTRIBUTES: [(&str, Read); 19] = [
    ("acr", |of| text(of.presence.level.as_str())),
    ("assurance", |of| Some(Value::new_long(of.presence.assurance()))),
    ("human", |of| Some(Value::new_bool(of.presence.human))),
    ("presence_age_seconds", |of| Some(Value::new_long(of.presence.age_seconds()))),
    ("uvm", |of| text(of.presence.uvm.unwrap_or_default())),
    ("uvm_source", |of| text(of.presence.uvm_source.unwrap_or_default())),
    ("pin_can_stand_in", |of| Some(Value::new_bool(of.presence.pin_can_stand_in()))),
    ("key_attestation", |of| text(of.presence.key_attestation.unwrap_or_default())),
    ("boot", |of| text(of.presence.boot)),
    ("device_identity", |of| text(of.presence.device_identity)),
    (DEVICE, |of| Some(Value::new_entity_uid(uid(Kind::Device, of.facts.device)))),
    (GATEWAY, |of| Some(Value::new_entity_uid(uid(Kind::Gateway, of.facts.gateway)))),
    ("source", |of| of.facts.source.map(|address| Value::new_ip(address.to_string()))),
    ("method", |of| text(of.facts.method)),
    ("host", |of| text(of.facts.host)),
    ("path", |of| text(of.facts.path_and_query().0)),
    ("query", |of| text(of.facts.path_and_query().1)),
    ("single_use", |of| Some(Value::new_bool(of.single_use))),
    ("now", |of| Some(of.clock.datetime(of.facts.now))),
];
const CONTEXT: &str = "context";
const DEVICE: &str = "device";
const GATEWAY: &str = "gateway";

#[allow(clippy::unnecessary_wraps)] // As a table's rows return it.
fn text(text: &str) -> Option<Value> {
    Some(Value::new_string(text.to_owned()))
}

impl Circumstances<'_> {
    /// The context, as far as it is looked at.
    pub(super) fn context(&self, looks: Looks) -> Result<Context, Box<ContextCreationError>> {
        let seen = ATTRIBUTES.iter().enumerate().filter(|(bit, _)| looks.0 & 1 << bit != 0);
        let pairs = seen.filter_map(|(_, (name, read))| Some(((*name).to_owned(), read(self)?)));
        Ok(Context::from_pairs(pairs)?)
    }
}

/// Whether Cedar can read an address: it takes no IPv4 address that is written as an IPv6 one.
pub(super) fn is_readable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => address.to_ipv4_mapped().is_none(),
    }
}

/// The attributes of the context that rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looks(u32);

impl Looks {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self((1 << ATTRIBUTES.len()) - 1);

    /// What one rule looks at, by its text: wherever the word `context` stands, be it in a comment, the
    /// attribute that it is asked for, or all where anything else follows.
    pub(super) fn of(rule: &Policy) -> Self {
        let text = rule.to_string();
        let found = text.match_indices(CONTEXT).map(|(at, _)| (&text[..at], &text[at..]));
        let whole_word = found.filter(|(before, _)| !before.ends_with(is_of_a_word));
        whole_word.map(|(_, after)| Self::of_use(&after[CONTEXT.len()..])).collect()
    }

    /// What is looked at, by what follows `context`.
    fn of_use(after: &str) -> Self {
        if after.starts_with(is_of_a_word) {
            return Self::NONE;
        }
        let after = after.trim_start();
        let name = after.strip_prefix('.').or_else(|| {
            after.strip_prefix("has").filter(|after| after.starts_with(char::is_whitespace))
        });
        let name = name.map(str::trim_start).unwrap_or_default();
        match name.split(|letter| !is_of_a_word(letter)).next() {
            None | Some("") => Self::ALL,
            Some(name) => Self::named(name),
        }
    }

    /// What has another name is not in the context, whatever is looked at.
    fn named(name: &str) -> Self {
        let bit = ATTRIBUTES.iter().position(|(known, _)| *known == name);
        bit.map_or(Self::NONE, |bit| Self(1 << bit))
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn device(self) -> bool {
        self.0 & Self::named(DEVICE).0 != 0
    }

    pub(super) fn gateway(self) -> bool {
        self.0 & Self::named(GATEWAY).0 != 0
    }
}

impl FromIterator<Looks> for Looks {
    fn from_iter<I: IntoIterator<Item = Self>>(looks: I) -> Self {
        looks.into_iter().fold(Self::NONE, Self::and)
    }
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}
