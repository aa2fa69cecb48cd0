//! polkit: whether it is there, knows our actions, and lets this session do them.

use std::collections::HashMap;

use serde::Serialize;
use zbus::wire::DynamicType;
use zbus::{Connection, Message, Variant};

use super::ground::{Ground, patiently};
use super::{Check, Finding};
use crate::daemon::DaemonError;

const SERVICE: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";
const PREFIX: &str = "org.signet.presence.";
/// What everybody's work needs: proving presence, and the machine's part in connections.
const NEEDED: [&str; 2] = ["request", "machine"];
const ALL: [&str; 5] = ["request", "machine", "enrol", "manage-authenticators", "manage-device"];

/// One of `EnumerateActions`: id, description, message, vendor, its URL, icon, implicit answers for
/// any, inactive and active sessions, annotations.
type Described =
    (String, String, String, String, String, String, u32, u32, u32, HashMap<String, String>);

/// What polkit says without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    /// After a password.
    Asks,
    Denied,
    /// polkit does not know the action.
    Unregistered,
}

impl Answer {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Asks => "asks",
            Self::Denied => "denied",
            Self::Unregistered => "unregistered",
        }
    }
}

pub(super) async fn examine(ground: &Ground) -> Finding {
    let authorisation = ground.status.as_ref().ok().and_then(|status| status.authorisation.clone());
    if authorisation.as_deref() == Some("danger-skip-polkit") {
        return Finding::warn(
            Check::Polkit,
            "signetd does not ask polkit: every local user may do everything",
            "remove danger_skip_polkit from /etc/signet/signetd.toml and restart signetd",
        )
        .fact("authorisation", authorisation);
    }
    let Ok(connection) = &ground.connection else {
        return Finding::unknown(Check::Polkit, "the message bus does not answer");
    };
    match patiently(answers(connection)).await {
        Ok(answers) => judged(&answers),
        Err(error) => Finding::fail(
            Check::Polkit,
            format!("polkit does not answer ({})", crate::one_line::words(&error)),
            "install the package polkitd, and start it with `systemctl start polkit`",
        ),
    }
    .fact("authorisation", authorisation)
}

async fn answers(connection: &Connection) -> Result<HashMap<&'static str, Answer>, DaemonError> {
    let listed = call(connection, "EnumerateActions", &"").await?;
    let listed: Vec<Described> = listed.body().deserialize().map_err(DaemonError::Call)?;
    let name = connection.unique_name().map(|name| name.to_string()).unwrap_or_default();
    let mut answers = HashMap::new();
    for action in ALL {
        let id = format!("{PREFIX}{action}");
        let known = listed.iter().any(|described| described.0 == id);
        let answer =
            if known { check(connection, &name, &id).await? } else { Answer::Unregistered };
        answers.insert(action, answer);
    }
    Ok(answers)
}

async fn check(connection: &Connection, name: &str, id: &str) -> Result<Answer, DaemonError> {
    // Never a unix-process subject: polkit would believe what the caller says of it.
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(name))]));
    let details: HashMap<&str, &str> = HashMap::new();
    let reply = call(connection, "CheckAuthorization", &(subject, id, details, 0_u32, "")).await?;
    let ((allowed, asks, _),): ((bool, bool, HashMap<String, String>),) =
        reply.body().deserialize().map_err(DaemonError::Call)?;
    Ok(match (allowed, asks) {
        (true, _) => Answer::Allowed,
        (false, true) => Answer::Asks,
        (false, false) => Answer::Denied,
    })
}

async fn call<B: Serialize + DynamicType>(
    connection: &Connection,
    method: &str,
    body: &B,
) -> Result<Message, DaemonError> {
    let reply = connection.call_method(Some(SERVICE), PATH, Some(INTERFACE), method, body).await;
    reply.map_err(DaemonError::Call)
}

fn judged(answers: &HashMap<&'static str, Answer>) -> Finding {
    let are = |answer| -> Vec<&str> {
        ALL.into_iter().filter(|action| answers.get(action) == Some(&answer)).collect()
    };
    let of_needed = |answer| NEEDED.iter().any(|action| answers.get(action) == Some(&answer));
    let unregistered = are(Answer::Unregistered);
    let finding = if !unregistered.is_empty() {
        Finding::fail(
            Check::Polkit,
            format!("polkit does not know: {}", unregistered.join(", ")),
            "install the package signetd again: /usr/share/polkit-1/actions/org.signet.presence.policy is missing or of another version",
        )
    } else if of_needed(Answer::Denied) {
        Finding::fail(
            Check::Polkit,
            "this session may not ask for presence: it is remote, inactive or forbidden by a rule",
            "work in an active local session, or have an administrator allow it with a rule for org.signet.presence.request",
        )
    } else if of_needed(Answer::Asks) {
        Finding::warn(
            Check::Polkit,
            "this session may ask for presence only after a password",
            "work in an active local session, or have an administrator allow it with a rule for org.signet.presence.request",
        )
    } else {
        Finding::ok(Check::Polkit, "this session may ask for presence")
    };
    let facts = ALL
        .into_iter()
        .filter_map(|action| Some((action.to_owned(), answers.get(action)?.as_str().into())));
    finding.fact("actions", serde_json::Map::from_iter(facts))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn what_this_session_may_do() {
        let all =
            |answer| ALL.into_iter().map(|action| (action, answer)).collect::<HashMap<_, _>>();
        assert_eq!(judged(&all(Answer::Allowed)).state, State::Ok);
        assert_eq!(judged(&all(Answer::Unregistered)).state, State::Fail);
        assert_eq!(judged(&all(Answer::Denied)).state, State::Fail);
        assert_eq!(judged(&all(Answer::Asks)).state, State::Warn);
        let mut usual = all(Answer::Allowed);
        usual.insert("manage-device", Answer::Asks);
        let found = judged(&usual);
        assert_eq!(found.state, State::Ok);
        assert_eq!(found.facts["actions"]["manage-device"], "asks");
    }
}
