//! `signet key`.

use serde_json::json;
use signet_client::authority::{Base64Url, ListedAuthenticator};
use signet_client::daemon::{Means, Method};

use super::Context;
use crate::cli::{KeyAdd, KeyRemove, Platform};
use crate::failure::Failure;
use crate::secret_input;

pub(super) async fn add(context: &Context, options: &KeyAdd) -> Result<(), Failure> {
    let ticket = match &options.ticket_file {
        Some(file) => Some(
            secret_input::from_file_or_person(Some(file), "Ticket: ")
                .await
                .map_err(Failure::NoTicket)?,
        ),
        None => None,
    };
    let workstation = context.workstation().await?;
    let ticket = ticket.as_ref().map(|ticket| ticket.trim());
    let name = options.name.as_deref();
    let means = Means {
        method: options.platform.map(|by| match by {
            Platform::Pin => Method::TpmPin,
            Platform::Fingerprint => Method::Fingerprint,
        }),
        ..context.means(None)
    };
    let added = workstation.add_authenticator(ticket, name, means, &context.terminal).await?;
    let model = match options.platform {
        None => format!("\n  model        {}", added.aaguid),
        Some(_) => String::new(),
    };
    let next = match means.method {
        None => "signet login".to_owned(),
        Some(method) => format!("signet login --method {}", method.as_str()),
    };
    // Whoever cannot be asked now is told at the next `signet status`.
    let listed = workstation.authority().authenticators().await.unwrap_or_default();
    let only = match listed.iter().filter(|key| !key.revoked).count() {
        1 => "\nIt is your only one: add a second with `signet key add`, and keep it elsewhere",
        _ => "",
    };
    let text = format!(
        "key added{}\n  credential   {}{model}\n  attestation  {}{only}\nNext: {next}",
        added.name.as_deref().map(|name| format!(": {name}")).unwrap_or_default(),
        added.credential_id,
        added.attestation,
    );
    context.output.result(&added, &text)
}

pub(super) async fn remove(context: &Context, options: &KeyRemove) -> Result<(), Failure> {
    let workstation = context.workstation().await?;
    let listed = workstation.authority().authenticators().await?;
    let key = find(&listed, &options.id)?;
    let id = Base64Url::decode(&key.credential_id)
        .ok_or_else(|| Failure::NoSuchKey { id: options.id.clone() })?;
    workstation.authority().remove_authenticator(&id).await?;
    let name = key.name.as_deref().unwrap_or(&key.credential_id);
    let result = json!({ "removed": key.credential_id });
    context.output.result(&result, &format!("key removed: {name}; its sessions have ended"))
}

/// The one key with this id or name, or whose id begins so.
fn find<'a>(
    listed: &'a [ListedAuthenticator],
    id: &str,
) -> Result<&'a ListedAuthenticator, Failure> {
    let active = || listed.iter().filter(|key| !key.revoked);
    let exact: Vec<_> =
        active().filter(|key| key.credential_id == id || key.name.as_deref() == Some(id)).collect();
    let found = if exact.is_empty() {
        active().filter(|key| key.credential_id.starts_with(id)).collect()
    } else {
        exact
    };
    match found.as_slice() {
        [key] => Ok(key),
        [] => Err(Failure::NoSuchKey { id: id.to_owned() }),
        _ => Err(Failure::AmbiguousKey { id: id.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, name: &str, revoked: bool) -> ListedAuthenticator {
        ListedAuthenticator {
            credential_id: id.into(),
            name: Some(name.into()),
            aaguid: String::new(),
            attestation: String::new(),
            enrolled_at: None,
            last_used: None,
            revoked,
            model: None,
            status: None,
            kind: None,
            uv_capable: None,
            device: None,
        }
    }

    #[test]
    fn keys_are_found_by_name_id_or_beginning() {
        let keys = [key("abcd", "blue", false), key("abef", "red", false), key("x", "old", true)];
        assert_eq!(find(&keys, "blue").unwrap().credential_id, "abcd");
        assert_eq!(find(&keys, "abe").unwrap().credential_id, "abef");
        assert!(matches!(find(&keys, "ab"), Err(Failure::AmbiguousKey { .. })));
        assert!(matches!(find(&keys, "old"), Err(Failure::NoSuchKey { .. })));
    }
}
