//! The yes: a checked token, alive, for a request that policy allows.
//!
//! [`Permit`] has private fields and is built only from the outcomes of the steps before it, so a
//! gateway's endpoint that forgot one would not compile: the token's own checks
//! ([`CheckedToken`]), its session's state ([`Standing`]), the policy's rule ([`Grant`]), and for a
//! single-use token that it names this very request ([`MatchedAction`]) and was redeemed
//! ([`Redemption`]).

use std::fmt;

use signet_evidence::RejectionCode;
use thiserror::Error;

use crate::assurance::AssuranceLevel;
use crate::rejection::Rejection;
use crate::token::CheckedToken;

/// SHA-256 over a set of action policies: names the very rules that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyVersion(pub [u8; 32]);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&signet_evidence::thumbprint::hex(&self.0))
    }
}

/// A request as the gateway received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// Method, upper case.
    pub method: &'a str,
    /// Host, lower case, with its port if it has one.
    pub host: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    /// `Content-Digest` of the body (RFC 9530); `None` when the gateway did not pass the body on.
    pub content_digest: Option<&'a str>,
}

/// What of a request is not what was approved.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ActionDifference {
    /// Not one action.
    #[error("the token does not hold exactly one action")]
    Count,
    /// Method.
    #[error("another method was approved")]
    Method,
    /// Scheme, host or port.
    #[error("another host was approved")]
    Host,
    /// Path or query.
    #[error("another path or query was approved")]
    Target,
    /// Body.
    #[error("another body was approved")]
    Body,
    /// The gateway must pass the body on, so that it can be compared.
    #[error("the gateway did not pass the body on")]
    BodyUnseen,
}

/// A single-use token names exactly the request that it came with.
#[derive(Debug)]
pub struct MatchedAction {
    token_id: String,
    names: Vec<String>,
}

impl MatchedAction {
    /// Compares an action token with its request; `None` for a session token, which names none.
    ///
    /// # Errors
    /// [`RejectionCode::ActionMismatch`], with the [`ActionDifference`] beneath it.
    pub fn of(token: &CheckedToken, request: RequestLine<'_>) -> Result<Option<Self>, Rejection> {
        let claims = token.claims();
        let Some(details) = &claims.authorization_details else { return Ok(None) };
        let differs = |what| Err(Rejection::because(RejectionCode::ActionMismatch, what));
        let [approved] = details.as_slice() else { return differs(ActionDifference::Count) };
        if approved.method != request.method {
            return differs(ActionDifference::Method);
        }
        let [location] = approved.locations.as_slice() else {
            return differs(ActionDifference::Host);
        };
        if location.strip_prefix("https://").map(without_default_port)
            != Some(without_default_port(request.host))
        {
            return differs(ActionDifference::Host);
        }
        if approved.path != request.target {
            return differs(ActionDifference::Target);
        }
        match request.content_digest {
            None => differs(ActionDifference::BodyUnseen),
            Some(digest) if digest != approved.content_digest => differs(ActionDifference::Body),
            Some(_) => {
                let (token_id, names) = (claims.jti.clone(), approved.actions.clone());
                Ok(Some(Self { token_id, names }))
            }
        }
    }

    /// The names that the person was shown.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

fn without_default_port(host: &str) -> &str {
    host.strip_suffix(":443").unwrap_or(host)
}

/// The store says that a token's session, device and operator are not revoked.
#[derive(Debug)]
pub struct Standing {
    token_id: String,
}

impl Standing {
    /// To be called by whoever looked it up, for the token it was looked up for.
    #[must_use]
    pub fn confirmed(token: &CheckedToken) -> Self {
        Self { token_id: token.claims().jti.clone() }
    }
}

/// The store recorded the one use of a single-use token, and it was the first.
#[derive(Debug)]
pub struct Redemption {
    token_id: String,
}

impl Redemption {
    /// To be called by whoever recorded it, for the token that was recorded.
    #[must_use]
    pub fn recorded(token: &CheckedToken) -> Self {
        Self { token_id: token.claims().jti.clone() }
    }
}

/// Policy allows the action, and says by which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    action: String,
    rules: Vec<String>,
    version: PolicyVersion,
}

impl Grant {
    /// `None` without a rule: nothing is allowed that no rule names.
    #[must_use]
    pub fn new(action: String, rules: Vec<String>, version: PolicyVersion) -> Option<Self> {
        (!rules.is_empty()).then_some(Self { action, rules, version })
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The rules; at least one.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// The set that the rules belong to.
    #[must_use]
    pub fn version(&self) -> PolicyVersion {
        self.version
    }
}

/// Proofs that do not belong to one token and one action.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PermitError {
    /// A proof of another token.
    #[error("a proof belongs to another token")]
    OtherToken,
    /// A single-use token needs a match and a redemption.
    #[error("a single-use token was not matched and redeemed")]
    NotRedeemed,
    /// The action that policy allows is not the one that the person was shown.
    #[error("the action allowed is not the one that was shown")]
    OtherAction,
    /// An assurance level that this version does not know.
    #[error("the token's assurance level is not known")]
    UnknownLevel,
}

/// This request may pass.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    subject: String,
    device: String,
    session: String,
    token_id: String,
    level: AssuranceLevel,
    grant: Grant,
    single_use: bool,
}

impl Permit {
    /// Puts the proofs together. `single_use` is due for a single-use token and only for one.
    ///
    /// # Errors
    /// See [`PermitError`]: the caller mixed up its proofs, which is a bug and never a yes.
    pub fn new(
        token: &CheckedToken,
        standing: &Standing,
        grant: Grant,
        single_use: Option<(MatchedAction, Redemption)>,
    ) -> Result<Self, PermitError> {
        let claims = token.claims();
        if standing.token_id != claims.jti {
            return Err(PermitError::OtherToken);
        }
        match &single_use {
            None if claims.signet.once => return Err(PermitError::NotRedeemed),
            None => {}
            Some((matched, redeemed)) => {
                if matched.token_id != claims.jti || redeemed.token_id != claims.jti {
                    return Err(PermitError::OtherToken);
                }
                if matched.names != [grant.action.as_str()] {
                    return Err(PermitError::OtherAction);
                }
            }
        }
        Ok(Self {
            subject: claims.sub.clone(),
            device: claims.client_id.clone(),
            session: claims.sid.clone(),
            token_id: claims.jti.clone(),
            level: claims.assurance().ok_or(PermitError::UnknownLevel)?,
            grant,
            single_use: single_use.is_some(),
        })
    }

    /// Operator, or SPIFFE ID of a workload.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// SPIFFE ID of the machine.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Session, hex.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The token's id, hex.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// What was proved.
    #[must_use]
    pub fn level(&self) -> AssuranceLevel {
        self.level
    }

    /// The action, for example `mesh.route.update`.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.grant.action
    }

    /// The rules that matched; at least one.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        &self.grant.rules
    }

    /// The set of policies that the rules belong to.
    #[must_use]
    pub fn policy_version(&self) -> PolicyVersion {
        self.grant.version
    }

    /// Whether it was approved for exactly this request.
    #[must_use]
    pub fn single_use(&self) -> bool {
        self.single_use
    }
}
