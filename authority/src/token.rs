//! `POST /v1/token`: token exchange (RFC 8693), renewal included (protocol §3.2).

mod terms;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use signet_evidence::binding::sha256;
use signet_evidence::{DeviceId, Purpose, RejectionCode, SessionId, UnixTime};
use signet_verifier::boot::BootState;
use signet_verifier::policy::AppraisalPolicy;
use signet_verifier::token::{MintError, MintedToken, TokenFormat, TokenTerms, mint};
use signet_verifier::{AttestationResult, Rejection};

use crate::appraise::{AppraiseError, Appraiser, Memory};
use crate::boot;
use crate::caller::{Peer, device_of, require_certificate};
use crate::challenge;
use crate::decision;
use crate::extract::OAuthForm;
use crate::gateway::approve;
use crate::limits;
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event, MintRecord, Tally, TokenRow};
use crate::tls::PeerCertificate;

use terms::{Granted, check_alive, grant};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const EVIDENCE: &str = "urn:signet:token-type:evidence";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const CWT: &str = "urn:signet:token-type:cwt";
const PURPOSES: [Purpose; 4] =
    [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload];

/// RFC 8693 §2.1.
#[derive(Debug, Deserialize)]
pub struct ExchangeRequest {
    grant_type: String,
    subject_token: String,
    subject_token_type: String,
    requested_token_type: Option<String>,
}

/// RFC 8693 §2.2.1, with what a client wants to know of its session.
#[derive(Serialize)]
pub struct ExchangeAnswer {
    access_token: String,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    session: String,
    acr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_expires_in: Option<i64>,
    /// What the machine's policies mind of its boot and let pass, with what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Tokens are never kept by anything in between (RFC 6749 §5.1).
type NoStore = [(HeaderName, &'static str); 1];

/// Judges evidence and mints a token.
///
/// # Errors
/// A problem with the OAuth members.
pub async fn exchange(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    OAuthForm(request): OAuthForm<ExchangeRequest>,
) -> Result<(NoStore, Json<ExchangeAnswer>), Problem> {
    let (evidence, format) = read(&request)?;
    let peer = require_certificate(&authority, peer, Event::Token)
        .await
        .map_err(|problem| problem.oauth().with_oauth_error("invalid_client"))?;
    let minted = judge_and_mint(&authority, &evidence, &peer, format).await;
    let (minted, warnings, now) = minted.map_err(Problem::oauth)?;
    let MintedToken { encoded, claims } = minted;
    let answer = ExchangeAnswer {
        access_token: encoded.as_str().to_owned(),
        issued_token_type: match format {
            TokenFormat::Jwt => JWT,
            TokenFormat::Cwt => CWT,
        },
        token_type: "Bearer",
        expires_in: claims.exp.saturating_sub(now.0),
        scope: claims.scope,
        session: claims.sid,
        acr: claims.acr,
        presence_expires_in: claims.signet.pres_exp.map(|expires| expires.saturating_sub(now.0)),
        warnings,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)))
}

fn read(request: &ExchangeRequest) -> Result<(Vec<u8>, TokenFormat), Problem> {
    let malformed = |detail: &'static str| Problem::malformed_request(detail).oauth();
    if request.grant_type != GRANT_TYPE {
        let problem = malformed("grant_type is urn:ietf:params:oauth:grant-type:token-exchange");
        return Err(problem.with_oauth_error("unsupported_grant_type"));
    }
    if request.subject_token_type != EVIDENCE {
        return Err(malformed("subject_token_type is urn:signet:token-type:evidence"));
    }
    let format = match request.requested_token_type.as_deref() {
        None | Some(JWT) => TokenFormat::Jwt,
        Some(CWT) => TokenFormat::Cwt,
        Some(_) => {
            let detail = "requested_token_type is urn:ietf:params:oauth:token-type:jwt or urn:signet:token-type:cwt";
            return Err(malformed(detail));
        }
    };
    let evidence = URL_SAFE_NO_PAD
        .decode(&request.subject_token)
        .map_err(|_| malformed("subject_token is evidence in base64url without padding"))?;
    Ok((evidence, format))
}

/// Whether `session` of `device` can go on. Asked before anybody is made to touch a key for it; the
/// exchange decides again.
pub(crate) async fn can_go_on(
    authority: &Authority,
    session: SessionId,
    device: &DeviceId,
    now: UnixTime,
) -> Result<(), AppraiseError> {
    let session = authority.store.session(session).await?;
    let session = session.filter(|session| session.device == *device);
    check_alive(authority, &session.ok_or(RejectionCode::SessionEnded)?, now)?;
    Ok(())
}

async fn judge_and_mint(
    authority: &Authority,
    evidence: &[u8],
    peer: &PeerCertificate,
    format: TokenFormat,
) -> Result<(MintedToken, Vec<String>, UnixTime), Problem> {
    let now = authority.now();
    let mut entry = AuditEntry::new(now, Event::Token, Decision::Allowed);
    entry.device = device_of(authority, peer);
    entry.tallies = tallies(authority, entry.device.as_ref()).await?;
    limits::refuse_if_reached(authority, &entry.tallies).await?;
    let policy = authority.judging.policy(authority.store.as_ref()).await;
    let policy = policy.map_err(|error| decision::failed(authority, error))?;
    let appraiser = authority.appraiser(&policy, now);
    let judged = appraiser.appraise(evidence, peer.der(), &PURPOSES, &mut entry).await;
    let judged = match judged {
        Ok((result, rows)) => {
            grant(authority, &result, &rows, now).await.map(|granted| (result, granted))
        }
        Err(error) => Err(error),
    };
    let (result, granted) = match judged {
        Ok(judged) => judged,
        Err(AppraiseError::Rejected(rejection)) => {
            return Err(decision::refuse(authority, entry, &rejection, Audience::Enrolled).await);
        }
        Err(AppraiseError::Store(error)) => return Err(decision::failed(authority, error)),
    };
    let minted = match mint_token(authority, &result, peer, &granted, format, now) {
        Ok(minted) => minted,
        Err(MintError::Signing(error)) => {
            tracing::error!(%error, "the token signing key cannot be used");
            return Err(Problem::unavailable());
        }
        Err(error) => {
            let rejection = Rejection::because(mint_code(&error), error);
            return Err(decision::refuse(authority, entry, &rejection, Audience::Enrolled).await);
        }
    };
    if result.purpose() == Purpose::Action {
        match approve(authority, &minted.claims, now, &mut entry) {
            Ok(rules) => entry.rule = Some(rules),
            Err(rejection) => {
                return Err(
                    decision::refuse(authority, entry, &rejection, Audience::Enrolled).await
                );
            }
        }
    }
    entry.session = Some(granted.session.id);
    entry.token = Some(granted.token_id);
    let claims = &minted.claims;
    let (life, boot) = (claims.exp - now.0, result.boot().state.as_str());
    entry.detail = format!("{} for {life} s, boot {boot}", claims.acr);
    let warnings = match result.boot().state {
        BootState::Warned => boot::said(result.boot()),
        _ => Vec::new(),
    };
    let record = record(&result, granted, &minted, now);
    let outcome = authority.store.mint(&record, &entry).await;
    decision::committed(authority, entry, outcome, Audience::Enrolled).await?;
    let left = result.challenge().expires().0.saturating_sub(now.0);
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    let purpose = result.purpose();
    let took = challenge::lifetime(authority, purpose).saturating_sub(left);
    authority.metrics.ceremony(purpose, took);
    Ok((minted, warnings, now))
}

/// What evidence of this machine counts for. One that the store does not know is refused anyway.
async fn tallies(authority: &Authority, device: Option<&DeviceId>) -> Result<Vec<Tally>, Problem> {
    let Some(id) = device else { return Ok(Vec::new()) };
    let known = authority.store.device(id).await;
    let known = known.map_err(|error| decision::failed(authority, error))?;
    Ok(known.map(|device| limits::tokens(authority, &device)).unwrap_or_default())
}

fn mint_token(
    authority: &Authority,
    result: &AttestationResult,
    peer: &PeerCertificate,
    granted: &Granted,
    format: TokenFormat,
    now: UnixTime,
) -> Result<MintedToken, MintError> {
    let settings = &authority.config.settings;
    let terms = TokenTerms {
        issuer: settings.issuer.to_string(),
        audience: settings.audience.clone(),
        client_id: authority.config.device_spiffe_id(result.device()),
        token_id: granted.token_id,
        issued_at: now,
        lifetime: granted.lifetime,
        session: granted.session.clone(),
        status: granted.status.clone(),
        scope: granted.scope.clone(),
    };
    mint(result, peer.thumbprint(), &terms, format, &*authority.keys.token.signer(authority.now()))
}

fn mint_code(error: &MintError) -> RejectionCode {
    match error {
        MintError::PeerChanged => RejectionCode::CertificateMismatch,
        MintError::PresenceExpired => RejectionCode::PresenceExpired,
        MintError::SessionExpired => RejectionCode::SessionEnded,
        MintError::Purpose(_) | MintError::Signing(_) => RejectionCode::PurposeWrong,
    }
}

fn record(
    result: &AttestationResult,
    granted: Granted,
    minted: &MintedToken,
    now: UnixTime,
) -> MintRecord {
    MintRecord {
        challenge: result.challenge(),
        device: result.device().clone(),
        clock: result.clock(),
        credential: result.credential().map(|(id, count)| (id.to_vec(), count)),
        token: TokenRow {
            id: granted.token_id,
            session: granted.session.id,
            action: result.action().map(|action| sha256(action.as_bytes())),
            issued_at: now,
            expires: UnixTime(minted.claims.exp),
            redeemed: false,
            revoked: false,
        },
        session: granted.change,
    }
}

impl Authority {
    /// Judges evidence at `now` with this authority's rows, by `policy` of [`Authority::judging`].
    #[must_use]
    pub fn appraiser<'a>(&'a self, policy: &'a AppraisalPolicy, now: UnixTime) -> Appraiser<'a> {
        let metrics = Some(self.metrics.as_ref());
        Appraiser {
            store: self.store.as_ref(),
            challenge_key: &self.keys.challenge,
            policy,
            now,
            metrics,
            memory: match self.config.settings.audit.keep_evidence {
                true => Memory::Keep,
                false => Memory::Pass,
            },
        }
    }
}
