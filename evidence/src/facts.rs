//! Host facts: what the workstation says of itself. Nothing but its TLS key vouches for them.

use std::collections::BTreeMap;

use crate::binding::{Sha256, sha256_of};
use crate::cbor::{self, Fields, Value};

/// `-70005` of the statement.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct HostFacts {
    /// 1: driver of the fingerprint reader, as fprintd names it; 1 to 128 bytes.
    pub driver: Option<String>,
    /// 2: [`finger_set_digest`] of the fingers that are enrolled with it.
    pub fingers: Option<Sha256>,
    /// Facts that nobody here knows, by number.
    pub others: BTreeMap<i64, Value>,
}

const DRIVER: i64 = 1;
const FINGERS: i64 = 2;
const MAX_DRIVER: usize = 128;

/// The reader and the fingers behind a fingerprint method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FingerFacts {
    /// Driver of the reader.
    pub driver: String,
    /// [`finger_set_digest`] of the enrolled fingers.
    pub fingers: Sha256,
}

impl From<FingerFacts> for HostFacts {
    fn from(facts: FingerFacts) -> Self {
        Self {
            driver: Some(facts.driver),
            fingers: Some(facts.fingers),
            others: BTreeMap::default(),
        }
    }
}

impl HostFacts {
    /// The reader and its fingers, when both are told.
    #[must_use]
    pub fn finger_facts(&self) -> Option<FingerFacts> {
        Some(FingerFacts { driver: self.driver.clone()?, fingers: self.fingers? })
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut facts: Vec<(i64, Value)> =
            self.others.iter().map(|(number, fact)| (*number, fact.clone())).collect();
        facts.extend(self.driver.as_deref().map(|driver| (DRIVER, driver.into())));
        facts.extend(self.fingers.map(|digest| (FINGERS, Value::Bytes(digest.to_vec()))));
        cbor::map(facts)
    }

    /// `None` when it is no map with integer keys, or a fact that has a meaning has the wrong shape.
    pub(crate) fn from_value(value: Value) -> Option<Self> {
        let mut facts = Fields::new(value)?;
        let driver = match facts.take(DRIVER) {
            None => None,
            Some(Value::Text(text)) if (1..=MAX_DRIVER).contains(&text.len()) => Some(text),
            Some(_) => return None,
        };
        let fingers = match facts.take(FINGERS) {
            None => None,
            Some(Value::Bytes(bytes)) => Some(Sha256::try_from(bytes).ok()?),
            Some(_) => return None,
        };
        Some(Self { driver, fingers, others: facts.into_rest().collect() })
    }
}

/// SHA-256 over the names of the enrolled fingers, sorted, each followed by a zero byte. The names are
/// those of net.reactivated.Fprint: `right-index-finger`.
#[must_use]
pub fn finger_set_digest<'a>(names: impl IntoIterator<Item = &'a str>) -> Sha256 {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    let parts: Vec<&[u8]> = names.into_iter().flat_map(|name| [name.as_bytes(), &[0]]).collect();
    sha256_of(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::sha256;

    fn facts() -> HostFacts {
        HostFacts {
            driver: Some("goodixmoc".into()),
            fingers: Some([9; 32]),
            others: [(-4, "kept".into()), (77, Value::Bool(true))].into(),
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_kept() {
        assert_eq!(HostFacts::from_value(facts().to_value()), Some(facts()));
        assert_eq!(HostFacts::from_value(cbor::map(vec![])), Some(HostFacts::default()));
    }

    #[test]
    fn what_has_a_meaning_has_its_shape() {
        for (number, fact) in [
            (DRIVER, Value::from(1)),
            (DRIVER, "".into()),
            (DRIVER, "x".repeat(129).into()),
            (FINGERS, Value::Bytes(vec![0; 31])),
            (FINGERS, "x".into()),
        ] {
            assert_eq!(HostFacts::from_value(cbor::map(vec![(number, fact)])), None);
        }
        assert_eq!(HostFacts::from_value(Value::Map(vec![("x".into(), 1.into())])), None);
        assert_eq!(HostFacts::from_value(1.into()), None);
    }

    #[test]
    fn both_facts_or_none_stand_for_the_fingers() {
        let told = FingerFacts { driver: "goodixmoc".into(), fingers: [9; 32] };
        assert_eq!(facts().finger_facts(), Some(told.clone()));
        assert_eq!(HostFacts { driver: None, ..facts() }.finger_facts(), None);
        assert_eq!(HostFacts { fingers: None, ..facts() }.finger_facts(), None);
        assert_eq!(HostFacts::from(told.clone()).finger_facts(), Some(told));
    }

    #[test]
    fn a_finger_set_has_one_digest_in_any_order() {
        let set = ["right-index-finger", "left-thumb"];
        let expected = sha256(b"left-thumb\0right-index-finger\0");
        assert_eq!(finger_set_digest(set), expected);
        assert_eq!(finger_set_digest(set.into_iter().rev()), expected);
        assert_ne!(finger_set_digest(["left-thumb"]), expected);
        assert_ne!(finger_set_digest(["a", "b"]), finger_set_digest(["ab"]));
    }
}
