//! Members of the dictionaries that `signetd` answers with.

use std::collections::BTreeMap;

use zbus::{OwnedVariant, Variant};

use super::error::DaemonError;
use super::proxy::Reply;

/// An answer whose members are taken out one by one. Members that nobody asks for are ignored, so
/// that a newer `signetd` may say more.
pub(crate) struct Dictionary(Reply);

impl Dictionary {
    pub(crate) fn new(reply: Reply) -> Self {
        Self(reply)
    }

    /// A member that must be there.
    pub(crate) fn take<T>(&mut self, member: &'static str) -> Result<T, DaemonError>
    where
        T: TryFrom<Variant<'static>>,
    {
        self.optional(member)?.ok_or(DaemonError::Member { member })
    }

    /// A member that may be there; of the wrong type is an error all the same.
    pub(crate) fn optional<T>(&mut self, member: &'static str) -> Result<Option<T>, DaemonError>
    where
        T: TryFrom<Variant<'static>>,
    {
        let Some(value) = self.0.remove(member) else { return Ok(None) };
        T::try_from(unwrapped(value)).map(Some).map_err(|_| DaemonError::Member { member })
    }

    /// A dictionary of byte strings by small number.
    pub(crate) fn numbered(
        &mut self,
        member: &'static str,
    ) -> Result<BTreeMap<u8, Vec<u8>>, DaemonError> {
        self.take(member)
    }

    /// An array of dictionaries.
    pub(crate) fn dictionaries(&mut self, member: &'static str) -> Result<Vec<Self>, DaemonError> {
        let items: Vec<std::collections::HashMap<String, OwnedVariant>> = self.take(member)?;
        Ok(items.into_iter().map(Self).collect())
    }
}

/// The value itself when it came as a variant within a variant.
fn unwrapped(value: OwnedVariant) -> Variant<'static> {
    match Variant::from(value) {
        Variant::Variant(inner) => *inner,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(member: &str, value: Variant<'_>) -> Dictionary {
        let value = OwnedVariant::try_from(value).unwrap();
        Dictionary::new([(member.to_owned(), value)].into())
    }

    #[test]
    fn missing_and_mistyped_members_are_named() {
        let mut one = dictionary("evidence", Variant::from(vec![1_u8, 2]));
        assert_eq!(one.take::<Vec<u8>>("evidence").unwrap(), [1, 2]);
        assert!(matches!(
            one.take::<Vec<u8>>("evidence"),
            Err(DaemonError::Member { member: "evidence" })
        ));
        let mut one = dictionary("evidence", Variant::from("text"));
        assert!(matches!(
            one.optional::<Vec<u8>>("evidence"),
            Err(DaemonError::Member { member: "evidence" })
        ));
        assert_eq!(one.optional::<String>("other").unwrap(), None);
    }

    #[test]
    fn nested_values() {
        let pcrs: BTreeMap<u8, Vec<u8>> = [(7, vec![0; 32])].into();
        let mut one = dictionary("pcrs", Variant::from(pcrs.clone()));
        assert_eq!(one.numbered("pcrs").unwrap(), pcrs);
        let mut one = dictionary("chain", Variant::from(vec![vec![1_u8], vec![2]]));
        assert_eq!(one.take::<Vec<Vec<u8>>>("chain").unwrap(), [[1], [2]]);
    }
}
