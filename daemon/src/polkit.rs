//! polkit: whether a caller may do what it asks (`org.freedesktop.PolicyKit1.Authority`).
//!
//! The subject is always the caller's bus name, whose user polkit learns from the bus itself; in a
//! unix-process subject it would believe the user id that the message claims. Whatever goes wrong is
//! a no.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use signet_evidence::{ActionDetails, Purpose};
use zbus::proxy::CacheProperties;
use zbus::{Connection, Variant};

use crate::authenticator::Task;
use crate::ceremony::CallerId;
use crate::failure::Failure;

/// How long polkit may think without asking anybody.
const PATIENCE: Duration = Duration::from_secs(5);
/// `AllowUserInteraction` of `CheckAuthorizationFlags`.
const MAY_ASK: u32 = 1;
/// Beginning of the names of systemd's errors, as in `org.freedesktop.systemd1.UnitMasked`.
const SYSTEMD_ERRORS: &str = "org.freedesktop.systemd1.";

/// What callers may be allowed to do. `polkit/org.signet.presence.policy` says to whom unless rules
/// say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Evidence for sessions, renewals and actions.
    Request,
    /// Evidence and signatures of the machine alone.
    Machine,
    /// New authenticators.
    Enrol,
    /// Upkeep of security keys and of the PIN of the machine's own.
    ManageAuthenticators,
    /// Enrolment of the machine, and other users' sessions.
    ManageDevice,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Request, Self::Machine, Self::Enrol, Self::ManageAuthenticators, Self::ManageDevice];

    /// The polkit action.
    pub fn action_id(self) -> &'static str {
        match self {
            Self::Request => "org.signet.presence.request",
            Self::Machine => "org.signet.presence.machine",
            Self::Enrol => "org.signet.presence.enrol",
            Self::ManageAuthenticators => "org.signet.presence.manage-authenticators",
            Self::ManageDevice => "org.signet.presence.manage-device",
        }
    }

    /// What evidence for this purpose needs.
    pub fn for_purpose(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Session | Purpose::Renew | Purpose::Action => Self::Request,
            Purpose::EnrolKey => Self::Enrol,
            Purpose::Workload | Purpose::EnrolDevice => Self::Machine,
        }
    }
}

/// Why a caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorised {
    /// polkit says no.
    #[error(
        "you may not do this here: do it in the active session at this machine, or ask its administrator for a polkit rule for {}",
        .0.action_id()
    )]
    Denied(Right),
    /// polkit wants somebody to authenticate, and nobody could be asked.
    #[error(
        "this needs authentication ({}): repeat it in a session where polkit can ask for a password, or as root",
        .0.action_id()
    )]
    AuthenticationNeeded(Right),
    /// Whoever was asked did not authenticate.
    #[error("the authentication was dismissed: repeat when you are ready")]
    Dismissed,
    /// There is no polkit.
    #[error("nobody can say whether you may do this: install and start polkit, then try again")]
    NoPolkit,
    /// There is one, and it does not run.
    #[error(
        "nobody can say whether you may do this: polkit is installed but cannot be started; see `systemctl status polkit`, then try again"
    )]
    NotStarted,
    /// polkit does not answer.
    #[error("polkit did not answer in time, so the answer is no: restart it, then try again")]
    Silent,
    /// polkit refuses to say.
    #[error(
        "polkit cannot say whether you may do this: install signetd's org.signet.presence.policy, and let signetd run as the user it names"
    )]
    Failed,
}

/// Facts of a call that polkit's rules may look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(BTreeMap<&'static str, String>);

impl Details {
    /// Of a request for evidence; `action` is what it is about, as it was parsed.
    pub fn of_purpose(purpose: Purpose, action: Option<&ActionDetails>) -> Self {
        let mut details = BTreeMap::from([("purpose", purpose.as_str().to_owned())]);
        if let Some(action) = action {
            details.insert("actions", action.actions.join(" "));
            details.insert("host", action.locations.first().cloned().unwrap_or_default());
            details.insert("method", action.method.clone());
        }
        Self(details)
    }

    /// Of the upkeep of a key.
    pub fn of_task(task: &Task) -> Self {
        Self(BTreeMap::from([("task", task.name().to_owned())]))
    }

    /// Of something that has only a name.
    pub fn of_step(step: &'static str) -> Self {
        Self(BTreeMap::from([("task", step.to_owned())]))
    }
}

/// Whether polkit may ask the caller's user to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction {
    /// The caller waits for an answer now.
    None,
    /// For so long.
    Allowed(Duration),
}

/// Asks polkit. Clones share the numbers of cancellable questions.
#[derive(Clone, Debug)]
pub struct Polkit {
    skip: bool,
    questions: Arc<AtomicU64>,
}

/// `AuthorizationResult`: authorised, authentication would help, details.
type Answer = (bool, bool, HashMap<String, String>);
/// `Subject`: kind and facts.
type Subject<'a> = (&'a str, HashMap<&'a str, Variant<'a>>);

#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    fn check_authorization(
        &self,
        subject: &Subject<'_>,
        action_id: &str,
        details: &BTreeMap<&'static str, String>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<Answer>;
    fn cancel_check_authorization(&self, cancellation_id: &str) -> zbus::Result<()>;
}

impl Polkit {
    /// The polkit of the bus that we serve on; with `skip` nobody is asked and everybody may
    /// everything.
    pub fn new(skip: bool) -> Self {
        Self { skip, questions: Arc::default() }
    }

    /// `polkit`, or the setting that takes it out.
    pub fn name(&self) -> &'static str {
        if self.skip { "danger-skip-polkit" } else { "polkit" }
    }

    /// Whether this caller may. `gone` ends when nobody waits for the answer any more.
    ///
    /// # Errors
    /// [`Failure::NotAuthorised`]; [`Failure::NotAllowed`] when the caller is gone.
    pub async fn allows(
        &self,
        connection: &Connection,
        caller: &CallerId,
        right: Right,
        details: &Details,
        interaction: Interaction,
        gone: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        if self.skip {
            return Ok(());
        }
        let authority = AuthorityProxy::builder(connection).cache_properties(CacheProperties::No);
        let authority = authority.build().await.map_err(|_| Unauthorised::NoPolkit)?;
        let (flags, patience) = match interaction {
            Interaction::None => (0, PATIENCE),
            Interaction::Allowed(patience) => (MAY_ASK, patience),
        };
        let question = self.questions.fetch_add(1, Ordering::Relaxed).to_string();
        let subject = ("system-bus-name", HashMap::from([("name", caller.as_str().into())]));
        let check = authority.check_authorization(
            &subject,
            right.action_id(),
            &details.0,
            flags,
            &question,
        );
        let unanswered: Failure = tokio::select! {
            answer = check => return judge(answer, right).map_err(Failure::from),
            () = tokio::time::sleep(patience) => Unauthorised::Silent.into(),
            () = gone => Failure::NotAllowed,
        };
        tracing::warn!(%caller, action = right.action_id(), "polkit has not answered");
        // Takes the question off the screen. A polkit that hangs answers this neither.
        let _ =
            tokio::time::timeout(PATIENCE, authority.cancel_check_authorization(&question)).await;
        Err(unanswered)
    }
}

fn judge(answer: zbus::Result<Answer>, right: Right) -> Result<(), Unauthorised> {
    use zbus::fdo::Error as Standard;
    let error = match answer {
        Ok((true, _, _)) => return Ok(()),
        Ok((false, true, _)) => return Err(Unauthorised::AuthenticationNeeded(right)),
        Ok((false, false, details)) if details.contains_key("polkit.dismissed") => {
            return Err(Unauthorised::Dismissed);
        }
        Ok((false, false, _)) => return Err(Unauthorised::Denied(right)),
        Err(error) => error,
    };
    tracing::warn!(%error, action = right.action_id(), "polkit has refused to answer");
    Err(match error {
        zbus::Error::FDO(error) => match *error {
            Standard::ServiceUnknown(_) | Standard::NameHasNoOwner(_) => Unauthorised::NoPolkit,
            Standard::SpawnFailed(_)
            | Standard::SpawnExecFailed(_)
            | Standard::SpawnForkFailed(_)
            | Standard::SpawnChildExited(_)
            | Standard::SpawnChildSignaled(_)
            | Standard::SpawnServiceNotFound(_) => Unauthorised::NotStarted,
            Standard::NoReply(_) | Standard::Disconnected(_) | Standard::TimedOut(_) => {
                Unauthorised::Silent
            }
            _ => Unauthorised::Failed,
        },
        // The bus has systemd start polkit, and passes on why it does not: a masked unit, for one.
        zbus::Error::MethodError(name, ..) if name.starts_with(SYSTEMD_ERRORS) => {
            Unauthorised::NotStarted
        }
        _ => Unauthorised::Failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::fdo::Error as Standard;

    #[test]
    fn only_a_clear_yes_is_one() {
        let right = Right::Request;
        let answer = |yes, challenge, dismissed: bool| {
            let details = dismissed.then(|| ("polkit.dismissed".to_owned(), "true".to_owned()));
            judge(Ok((yes, challenge, details.into_iter().collect())), right)
        };
        assert_eq!(answer(true, false, false), Ok(()));
        assert_eq!(answer(false, false, false), Err(Unauthorised::Denied(right)));
        assert_eq!(answer(false, true, false), Err(Unauthorised::AuthenticationNeeded(right)));
        assert_eq!(answer(false, false, true), Err(Unauthorised::Dismissed));
        let error = |error: Standard| judge(Err(error.into()), right);
        let words = String::new;
        assert_eq!(error(Standard::ServiceUnknown(words())), Err(Unauthorised::NoPolkit));
        assert_eq!(error(Standard::SpawnChildExited(words())), Err(Unauthorised::NotStarted));
        assert_eq!(error(Standard::NoReply(words())), Err(Unauthorised::Silent));
        assert_eq!(error(Standard::AccessDenied(words())), Err(Unauthorised::Failed));
        let masked = "org.freedesktop.systemd1.UnitMasked".try_into().unwrap();
        let reply = zbus::Message::method_call("/", "Ask").build(&()).unwrap();
        let masked = zbus::Error::MethodError(masked, None, reply);
        assert_eq!(judge(Err(masked), right), Err(Unauthorised::NotStarted));
        assert_eq!(judge(Err(zbus::Error::InvalidReply), right), Err(Unauthorised::Failed));
    }

    #[test]
    fn the_policy_has_every_action_and_no_other() {
        let policy = include_str!("../../polkit/org.signet.presence.policy");
        let mut written: Vec<&str> = policy
            .split("<action id=\"")
            .skip(1)
            .map(|rest| rest.split_once('"').unwrap().0)
            .collect();
        let mut known = Right::ALL.map(Right::action_id);
        written.sort_unstable();
        known.sort_unstable();
        assert_eq!(written, known);
        let owner = "<annotate key=\"org.freedesktop.policykit.owner\">unix-user:signet</annotate>";
        assert_eq!(policy.matches(owner).count(), known.len());
    }
}
