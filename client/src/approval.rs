//! The action that stands for one HTTP request.

use reqwest::Url;
use signet_evidence::action::{ActionError, content_digest};
use signet_evidence::{Action, ActionDetails, ActionKind};
use thiserror::Error;

/// Why a request cannot be approved.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ApprovalError {
    /// Only https requests reach a gateway that checks.
    #[error("only an https URL without user name, password or fragment can be approved")]
    Url,
    /// It could not be shown and checked.
    #[error("this request cannot be approved: {0}")]
    Action(#[from] ActionError),
}

/// The action for `method url` with `body`, named `names`.
///
/// # Errors
/// See [`ApprovalError`].
pub fn action_for(
    method: &str,
    url: &Url,
    body: &[u8],
    names: &[String],
) -> Result<Action, ApprovalError> {
    let anonymous = url.username().is_empty() && url.password().is_none();
    if url.scheme() != "https" || !url.has_host() || !anonymous || url.fragment().is_some() {
        return Err(ApprovalError::Url);
    }
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Ok(Action::new(ActionDetails {
        kind: ActionKind::SignetAction,
        actions: names.to_vec(),
        locations: vec![url.origin().ascii_serialization()],
        method: method.to_owned(),
        path,
        content_digest: content_digest(body),
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(url: &str, name: &str) -> Result<Action, ApprovalError> {
        action_for("PUT", &Url::parse(url).unwrap(), b"x", &[name.to_owned()])
    }

    #[test]
    fn what_is_sent_is_what_is_approved() {
        let found = action("https://CTL.mesh.example:443/v1/a?b=c%20d", "mesh.route.update");
        let found = found.unwrap();
        assert_eq!(found.details().locations, ["https://ctl.mesh.example"]);
        assert_eq!(found.details().path, "/v1/a?b=c%20d");
        assert_eq!(found.details().content_digest, content_digest(b"x"));
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        for url in ["http://a.example/", "https://u@a.example/", "https://a.example/#x"] {
            assert_eq!(action(url, "a.b"), Err(ApprovalError::Url));
        }
        let ambiguous = action("https://a.example/a%2fb", "a.b");
        assert_eq!(ambiguous, Err(ApprovalError::Action(ActionError::Path)));
        let unnamed = action("https://a.example/", "");
        assert_eq!(unnamed, Err(ApprovalError::Action(ActionError::Name)));
    }
}
