//! For services without a gateway: one handle that checks tokens as the authority would, knows within
//! milliseconds what was revoked, and says no when it cannot know.
//!
//! [`Watch::start`] connects to the authority's listener for gateways over mutual TLS, reads the keys and
//! the signed status lists, and follows the events from there on (protocol §3.4). Each revocation is
//! acknowledged once it is in force here, so that `signet-authority revoke … --wait` can say so.
//!
//! What a [`Watch`] knows is proved by round trips: each acknowledgement's answer names the last
//! revocation there was when it was asked. When the last proof is older than [`Bounds`] allow, requests
//! are refused as [`Refused::Stale`]: writes first, reads later. It goes on by itself when the authority
//! is there again. All times are of the clock that runs on while a machine sleeps.
//!
//! ```no_run
//! # async fn service() -> Result<(), Box<dyn std::error::Error>> {
//! use signet_evidence::CertificateThumbprint;
//! use signet_watch::{Access, Settings, Watch};
//!
//! let settings = Settings::from_files(
//!     "https://authority.example:9443",
//!     "/etc/signet/authority-ca.pem".as_ref(),
//!     "/etc/signet/edge.pem".as_ref(),
//!     "/etc/signet/edge.key".as_ref(),
//! )?
//! .tokens_of("https://authority.example:8443", "mesh.example");
//! let watch = Watch::start(settings)?;
//! watch.ready().await;
//! # let (token, client_certificate) = ("", vec![]);
//! // For each request: the bearer token, and the certificate of the connection that it came over.
//! let peer = CertificateThumbprint::of_der(&client_certificate);
//! let admitted = watch.check(token, peer, Access::Write)?;
//! println!("{} may", admitted.token.claims().sub);
//! # Ok(())
//! # }
//! ```
//!
//! [`Watch::layer`] does this for every request of a tower service, [`server_config`] and [`Peer`] see to
//! the certificate; `examples/service.rs` is a whole service in thirty lines. [`Watch::witness`] has the
//! service remember the authority's audit log besides.

mod clock;
mod events;
mod follow;
mod knowledge;
mod layer;
mod peer;
mod settings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signet_evidence::{CertificateThumbprint, RejectionCode, UnixTime};
use signet_verifier::Rejection;
use signet_verifier::events::Topic;
use signet_verifier::permit::Standing;
use signet_verifier::token::CheckedToken;
use signet_witness::{Witness, WitnessState};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub use layer::{Guarded, WatchLayer};
pub use peer::{Marked, Peer, server_config};
pub use settings::{Bounds, Settings, SettingsError};

use follow::Link;
use knowledge::Knowledge;

/// What a request does: how fresh knowledge must be for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write,
}

/// A token that counts, for the connection that it came over.
#[derive(Debug)]
pub struct Admitted {
    /// What it says.
    pub token: CheckedToken,
    /// That it is not revoked, for [`signet_verifier::permit::Permit`].
    pub standing: Standing,
}

/// Why a request may not pass.
#[derive(Debug, Error)]
pub enum Refused {
    /// The token is not good; the code says why.
    #[error("the token is not good")]
    Token(#[from] Rejection),
    /// The token, its session, machine, key or operator was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// It is good for one request only, which only the authority can redeem: ask `/v1/authorize`, or
    /// `/v1/introspect` with `redeem=true`.
    #[error("a single-use token has to be redeemed at the authority")]
    SingleUse,
    /// Nothing was decided: the authority was not heard for too long.
    #[error("the authority was not heard for too long; nothing is admitted on old knowledge")]
    Stale,
}

impl Refused {
    /// The exact code; `None` where nothing was decided (answer 503, not 401).
    #[must_use]
    pub fn code(&self) -> Option<RejectionCode> {
        match self {
            Self::Token(rejection) => Some(rejection.code()),
            Self::Revoked => Some(RejectionCode::TokenRevoked),
            Self::SingleUse => Some(RejectionCode::TokenRedeemed),
            Self::Stale => None,
        }
    }
}

/// How a [`Watch`] is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The last revocation that is in force here.
    pub position: i64,
    /// How old what it knows is at most; `None` before the first time.
    pub age: Option<Duration>,
    /// Why the last connection ended, when there is none now.
    pub trouble: Option<String>,
}

/// The handle. Clones share one connection; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    knowledge: Arc<Knowledge>,
    link: Arc<Link>,
    /// They end with the handle.
    tasks: Mutex<JoinSet<()>>,
}

impl Watch {
    /// Starts to follow the authority, on the runtime that this is called in.
    ///
    /// # Errors
    /// [`SettingsError`]. An authority that is not there is no error: requests are refused until it is.
    pub fn start(settings: Settings) -> Result<Self, SettingsError> {
        let knowledge = Arc::new(Knowledge::new(&settings));
        let link = Arc::new(Link::new(settings)?);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::follow(link.clone(), knowledge.clone()));
        Ok(Self(Arc::new(Handle { knowledge, link, tasks: Mutex::new(tasks) })))
    }

    /// Returns once it knows enough to admit anything.
    pub async fn ready(&self) {
        self.0.knowledge.ready().await;
    }

    /// Returns once everything up to this position is in force here, such as the one that
    /// `signet-authority revoke --json` prints.
    pub async fn reached(&self, position: i64) {
        // The sender lives as long as the handle.
        let _ = self.0.knowledge.positions().wait_for(|reached| *reached >= position).await;
    }

    /// Judges a JWT that came over a connection with the client certificate `peer`. No I/O.
    ///
    /// # Errors
    /// See [`Refused`]; the first failing check decides.
    pub fn check(
        &self,
        token: &str,
        peer: CertificateThumbprint,
        access: Access,
    ) -> Result<Admitted, Refused> {
        let knowledge = &self.0.knowledge;
        let checker = knowledge.checker().ok_or(Refused::Stale)?;
        let checked = knowledge.seen.check_jwt(&checker, token, peer, knowledge.now());
        let token = checked.inspect_err(|rejection| {
            if rejection.code() == RejectionCode::TokenSignatureInvalid {
                // Perhaps of a key that is newer than those known here.
                self.0.link.ask_for_keys();
            }
        })?;
        let claims = token.claims();
        knowledge.standing(claims, access)?;
        if claims.signet.once {
            return Err(Refused::SingleUse);
        }
        let standing = Standing::confirmed(&token);
        Ok(Admitted { token, standing })
    }

    /// A tower layer that lets a request pass when [`Self::check`] does, and answers all others.
    #[must_use]
    pub fn layer(&self) -> WatchLayer {
        WatchLayer::new(self.clone())
    }

    /// Has `witness` look at the authority's audit log whenever that was signed anew, for as long as this
    /// handle lives, and says how it is doing. To be called on a runtime.
    pub fn witness(&self, witness: Witness) -> watch::Receiver<WitnessState> {
        let state = witness.state();
        let (http, authority) = (self.http().clone(), self.authority().to_owned());
        let mut checkpoints = self.latest(Topic::Checkpoint);
        let witnessing = async move {
            let news = Notify::new();
            let listening = async {
                while checkpoints.changed().await.is_ok() {
                    news.notify_one();
                }
            };
            tokio::join!(witness.follow(&http, &authority, &news), listening);
        };
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(witnessing);
        state
    }

    /// The time, which is never before what the authority last said.
    pub(crate) fn now(&self) -> UnixTime {
        self.0.knowledge.now()
    }

    /// How it is doing, for a health endpoint.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.knowledge.health()
    }

    /// The latest that the authority said of a topic; changes with each event.
    #[must_use]
    pub fn latest(&self, topic: Topic) -> watch::Receiver<Option<Arc<serde_json::Value>>> {
        self.0.knowledge.latest(topic)
    }

    /// The client with which it speaks to the authority.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        self.0.link.http()
    }

    /// The authority's URL, without a slash at its end.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.link.authority()
    }
}
