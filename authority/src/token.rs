//! `POST /v1/token`: token exchange (RFC 8693), renewal included (protocol §3.2).

mod terms;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use signet_evidence::binding::sha256;
use signet_evidence::{DeviceId, Purpose, RejectionCode, SessionId, UnixTime};
use signet_verifier::boot::BootState;
use signet_verifier::certificate::Certificate;
use signet_verifier::policy::AppraisalPolicy;
use signet_verifier::token::{
    KeyCertificate, MintError, MintedToken, TokenFormat, TokenTerms, mint,
};
use signet_verifier::{AttestationResult, Rejection};
use thiserror::Error;

use crate::appraise::{AppraiseError, Appraiser, Memory, Rows};
use crate::boot;
use crate::ca::IssueError;
use crate::caller::{Peer, device_of, require_certificate};
use crate::challenge;
use crate::decision;
use crate::extract::{Base64Url, OAuthForm};
use crate::gateway::approve;
use crate::limits;
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{
    AuditEntry, CommitError, Decision, Event, MintRecord, StoreError, Tally, TokenRow,
};
use crate::tls::PeerCertificate;

use terms::{Granted, check_alive, grant};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const EVIDENCE: &str = "urn:signet:token-type:evidence";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const CWT: &str = "urn:signet:token-type:cwt";
/// How many places in the status lists are tried for one token.
const PLACES: u8 = 3;
const PURPOSES: [Purpose; 4] =
    [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload];

/// RFC 8693 §2.1.
#[derive(Debug, Deserialize)]
pub struct ExchangeRequest {
    grant_type: String,
    subject_token: String,
    subject_token_type: String,
    requested_token_type: Option<String>,
    /// Of whom the certificate is that the token is bound to: `device`, as without this member, or
    /// `operator` for a new one.
    certificate: Option<String>,
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
    /// The new certificate that the token is bound to, leaf first; absent where it is the connection's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificate: Vec<Base64Url>,
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
    let (evidence, wanted) = read(&request)?;
    let peer = require_certificate(&authority, peer, Event::Token)
        .await
        .map_err(|problem| problem.oauth().with_oauth_error("invalid_client"))?;
    let minted = judge_and_mint(&authority, &evidence, &peer, wanted).await;
    let Answered { minted, certificate, warnings, now } = minted.map_err(Problem::oauth)?;
    let MintedToken { encoded, claims } = minted;
    let answer = ExchangeAnswer {
        access_token: encoded.as_str().to_owned(),
        issued_token_type: match wanted.format {
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
        certificate: certificate.iter().map(|der| der.as_ref().into()).collect(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)))
}

fn read(request: &ExchangeRequest) -> Result<(Vec<u8>, Wanted), Problem> {
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
    let certificate = match request.certificate.as_deref() {
        None | Some("device") => Shown::Device,
        Some("operator") => Shown::Operator,
        Some(_) => return Err(malformed("certificate is device or operator")),
    };
    Ok((evidence, Wanted { format, certificate }))
}

/// The token that is asked for.
#[derive(Clone, Copy)]
struct Wanted {
    format: TokenFormat,
    certificate: Shown,
}

/// Of whom the certificate is that a token is bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The machine's, which the evidence was made with.
    Device,
    /// The operator's: for the same key, made with the token, and over when that is.
    Operator,
}

/// What comes of good evidence.
struct Answered {
    minted: MintedToken,
    certificate: Option<CertificateDer<'static>>,
    warnings: Vec<String>,
    now: UnixTime,
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
    wanted: Wanted,
) -> Result<Answered, Problem> {
    let now = authority.now();
    let mut entry = AuditEntry::new(now, Event::Token, Decision::Allowed);
    entry.device = device_of(authority, peer);
    entry.tallies = tallies(authority, entry.device.as_ref()).await?;
    limits::refuse_if_reached(authority, &entry.tallies).await?;
    let policy = authority.judging.policy(authority.store.as_ref()).await;
    let policy = policy.map_err(|error| decision::failed(authority, error))?;
    let appraiser = authority.appraiser(&policy, now);
    let judged = appraiser.appraise(evidence, peer.der(), &PURPOSES, &mut entry).await;
    let (result, rows) = match judged {
        Ok(judged) => judged,
        Err(error) => return Err(refused(authority, entry, error).await),
    };
    let asked = Asked { peer, wanted };
    let (minted, certificate) = commit(authority, &result, rows, asked, entry).await?;
    let warnings = match result.boot().state {
        BootState::Warned => boot::said(result.boot()),
        _ => Vec::new(),
    };
    let left = result.challenge().expires().0.saturating_sub(now.0);
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    let purpose = result.purpose();
    let took = challenge::lifetime(authority, purpose).saturating_sub(left);
    authority.metrics.ceremony(purpose, took);
    Ok(Answered { minted, certificate, warnings, now })
}

/// The token that is asked for, and by whom.
#[derive(Clone, Copy)]
struct Asked<'a> {
    peer: &'a PeerCertificate,
    wanted: Wanted,
}

/// A token, and the certificate that was made for it.
type Minted = (MintedToken, Option<CertificateDer<'static>>);

/// Grants what was judged and commits it. A place in the status lists that was revoked since it was chosen
/// (`revoke all` on a node that this one has not heard of, or a token of the session that goes on) is changed
/// for another, so that no token is born revoked.
async fn commit(
    authority: &Authority,
    result: &AttestationResult,
    mut rows: Rows,
    asked: Asked<'_>,
    entry: AuditEntry,
) -> Result<Minted, Problem> {
    let now = entry.at;
    for _ in 0..PLACES {
        let mut entry = entry.clone();
        let granted = match grant(authority, result, &rows, now).await {
            Ok(granted) => granted,
            Err(error) => return Err(refused(authority, entry, error).await),
        };
        let minted = sign(authority, result, asked, &granted, &mut entry).await?;
        let record = record(result, granted, &minted.0, now);
        let outcome = authority.store.mint(&record, &entry).await;
        if !matches!(outcome, Err(CommitError::PlaceRevoked)) {
            decision::committed(authority, entry, outcome, Audience::Enrolled).await?;
            return Ok(minted);
        }
        look_again(authority, &mut rows)
            .await
            .map_err(|error| decision::failed(authority, error))?;
    }
    Err(Problem::unavailable())
}

/// Hears of the revocations that this node has not heard of, and of the session as it is now.
async fn look_again(authority: &Authority, rows: &mut Rows) -> Result<(), StoreError> {
    authority.revocations.refresh(authority.store.as_ref()).await?;
    if let Some(session) = &mut rows.session {
        let found = authority.store.session(session.id).await?;
        *session = found.ok_or(StoreError::Corrupt { table: "sessions" })?;
    }
    Ok(())
}

async fn refused(authority: &Authority, entry: AuditEntry, error: AppraiseError) -> Problem {
    match error {
        AppraiseError::Rejected(rejection) => {
            decision::refuse(authority, entry, &rejection, Audience::Enrolled).await
        }
        AppraiseError::Store(error) => decision::failed(authority, error),
    }
}

/// The token, and what its record says.
async fn sign(
    authority: &Authority,
    result: &AttestationResult,
    asked: Asked<'_>,
    granted: &Granted,
    entry: &mut AuditEntry,
) -> Result<Minted, Problem> {
    let now = entry.at;
    let (minted, certificate) = match mint_token(authority, result, asked, granted, now) {
        Ok(minted) => minted,
        Err(Unminted::Issue(error)) => {
            tracing::error!(
                error = &error as &dyn StdError,
                "an operator's certificate is not issued"
            );
            return Err(Problem::unavailable());
        }
        Err(Unminted::Mint(MintError::Signing(error))) => {
            tracing::error!(%error, "the token signing key cannot be used");
            return Err(Problem::unavailable());
        }
        Err(error) => {
            let rejection = Rejection::because(error.code(), error);
            return Err(refused(authority, entry.clone(), rejection.into()).await);
        }
    };
    if result.purpose() == Purpose::Action {
        match approve(authority, &minted.claims, now, entry) {
            Ok(rules) => entry.rule = Some(rules),
            Err(rejection) => {
                return Err(refused(authority, entry.clone(), rejection.into()).await);
            }
        }
    }
    entry.session = Some(granted.session.id);
    entry.token = Some(granted.token_id);
    let claims = &minted.claims;
    let (life, boot) = (claims.exp - now.0, result.boot().state.as_str());
    entry.detail = format!("{} for {life} s, boot {boot}", claims.acr);
    if certificate.is_some() {
        let bound = &claims.signet.x5t_hex;
        entry.detail.push_str(&format!(", certificate {bound} of operator {}", claims.sub));
    }
    Ok((minted, certificate))
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
    asked: Asked<'_>,
    granted: &Granted,
    now: UnixTime,
) -> Result<Minted, Unminted> {
    let settings = &authority.config.settings;
    let mut terms = TokenTerms {
        issuer: settings.issuer.to_string(),
        audience: settings.audience.clone(),
        client_id: authority.config.device_spiffe_id(result.device()),
        token_id: granted.token_id,
        issued_at: now,
        lifetime: granted.lifetime,
        session: granted.session.clone(),
        status: granted.status.clone(),
        scope: granted.scope.clone(),
        certificate: None,
    };
    let certificate = match asked.wanted.certificate {
        Shown::Device => None,
        Shown::Operator => Some(issue(authority, result, asked.peer, &terms)?),
    };
    if let Some(certificate) = &certificate {
        terms.certificate = Some(KeyCertificate::of(result, certificate)?);
    }
    let signer = authority.keys.token.signer(authority.now());
    let minted = mint(result, asked.peer.thumbprint(), &terms, asked.wanted.format, &*signer)?;
    Ok((minted, certificate))
}

/// The operator's certificate for the key of the connection: no longer good than the token. It says who, and
/// the machine's says which machine; nothing of the authority takes it for a machine's.
fn issue(
    authority: &Authority,
    result: &AttestationResult,
    peer: &PeerCertificate,
    terms: &TokenTerms,
) -> Result<CertificateDer<'static>, Unminted> {
    // No operator proves anything for a workload.
    let purpose = result.purpose();
    let operator = result.subject().filter(|_| purpose != Purpose::Workload);
    let operator = operator.ok_or(Unminted::NoOperator)?;
    let shown = Certificate::parse(peer.der()).map_err(|_| MintError::PeerChanged)?;
    let key = shown.p256_key().map_err(|_| MintError::PeerChanged)?;
    let id = authority.config.operator_spiffe_id(operator);
    let life = terms.expires(purpose).since(terms.issued_at);
    let ca = authority.keys.device_ca.issuer(terms.issued_at);
    Ok(ca.issue_operator(key.uncompressed_point(), &id, terms.issued_at, life)?)
}

/// No token, or no certificate for it.
#[derive(Debug, Error)]
enum Unminted {
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("an operator's certificate is asked for with evidence of no operator")]
    NoOperator,
}

impl Unminted {
    fn code(&self) -> RejectionCode {
        match self {
            Self::Mint(MintError::PeerChanged | MintError::OtherKey) => {
                RejectionCode::CertificateMismatch
            }
            Self::Mint(MintError::PresenceExpired) => RejectionCode::PresenceExpired,
            Self::Mint(MintError::SessionExpired) => RejectionCode::SessionEnded,
            Self::Mint(MintError::Purpose(_) | MintError::Signing(_))
            | Self::Issue(_)
            | Self::NoOperator => RejectionCode::PurposeWrong,
        }
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
