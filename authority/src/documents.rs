//! Public documents: keys, metadata, status lists, health.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use signet_verifier::AssuranceLevel;
use signet_verifier::certificate::Certificate;
use signet_verifier::status_list::{CWT_MEDIA_TYPE, JWT_MEDIA_TYPE};
use signet_verifier::token::claims::StatusListEntry;

use crate::keys::{pem, read_certificates};
use crate::problem::Problem;
use crate::state::Authority;
use crate::status_list::{self, LIST_LENGTH};
use crate::store::{AuditEntry, Decision, Event};

/// `GET /jwks.json` (RFC 7517 §5).
pub async fn jwks(State(authority): State<Arc<Authority>>) -> Response {
    let mut response = Json(key_set(&authority)).into_response();
    cacheable(response.headers_mut(), 60);
    response
}

fn key_set(authority: &Authority) -> Value {
    json!({"keys": authority.keys.token.published(authority.now())})
}

/// Names the set of keys: another set has another name.
#[must_use]
pub fn keys_tag(authority: &Authority) -> String {
    fingerprint(key_set(authority).to_string().as_bytes())
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §2).
pub async fn metadata(State(authority): State<Arc<Authority>>) -> Json<Value> {
    let issuer = authority.config.settings.issuer.as_str();
    let levels: Vec<&str> = AssuranceLevel::ALL.into_iter().map(AssuranceLevel::as_str).collect();
    Json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/v1/token"),
        "introspection_endpoint": format!("{issuer}/v1/introspect"),
        "revocation_endpoint": format!("{issuer}/v1/revoke"),
        "jwks_uri": format!("{issuer}/jwks.json"),
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["self_signed_tls_client_auth", "tls_client_auth"],
        "tls_client_certificate_bound_access_tokens": true,
        "authorization_details_types_supported": ["signet_action"],
        "acr_values_supported": levels,
        "response_types_supported": [],
        "signet_challenge_endpoint": format!("{issuer}/v1/challenge"),
        "signet_rp_id": authority.config.settings.rp_id.as_str(),
    }))
}

/// `GET /status/{n}`: one status list, signed; as a CWT for who accepts that and not the JWT.
///
/// # Errors
/// 404 for anything that is not a list's number; 503 when the key does not sign.
pub async fn status_list(
    State(authority): State<Arc<Authority>>,
    Path(number): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if number.checked_mul(LIST_LENGTH).is_none() {
        return Err(Problem::not_found());
    }
    let list = authority.revocations.list(number);
    let uri = status_uri(&authority, number);
    // The signature changes with the time; the tag names the statuses and the ten seconds they are
    // good for.
    let now = authority.now();
    let window = now.0.div_euclid(status_list::TIME_TO_LIVE);
    let cwt = wants_cwt(&headers);
    let form = if cwt { "cwt" } else { "jwt" };
    let tag = format!("\"{}-{form}-{window}\"", fingerprint(list.bytes()));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let token = status_list::token(list, uri, now);
    let signer = authority.keys.token.signer(now);
    let (signed, media_type) = match cwt {
        true => (token.to_cwt(&*signer), CWT_MEDIA_TYPE),
        false => (token.to_jwt(&*signer).map(String::into_bytes), JWT_MEDIA_TYPE),
    };
    let signed = signed.map_err(|error| {
        tracing::error!(%error, "cannot sign the status list");
        Problem::unavailable()
    })?;
    let mut response = signed.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    cacheable(headers, status_list::TIME_TO_LIVE);
    Ok(response)
}

/// Where status list `number` is.
#[must_use]
pub fn status_uri(authority: &Authority, number: u64) -> String {
    format!("{}/status/{number}", authority.config.settings.issuer)
}

/// The index that an entry of ours stands for; `None` when it names no list of ours.
#[must_use]
pub fn status_index(authority: &Authority, entry: &StatusListEntry) -> Option<u64> {
    let issuer = authority.config.settings.issuer.as_str();
    let number = entry.uri.strip_prefix(issuer)?.strip_prefix("/status/")?;
    number.parse::<u64>().ok()?.checked_mul(LIST_LENGTH)?.checked_add(entry.idx)
}

/// `GET /healthz`: the process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store answers, too, and takes what is written. When it did not the last time, it
/// is tried here, so that the service comes back without a caller who is refused first; the record of that
/// marks the end of the outage.
///
/// # Errors
/// 503 when it does not.
pub async fn readyz(State(authority): State<Arc<Authority>>) -> Result<&'static str, Problem> {
    authority.store.ping().await?;
    if !authority.store.takes_writes() {
        let mut entry = AuditEntry::new(authority.now(), Event::Alert, Decision::Allowed);
        entry.detail = "the database takes what is written again".into();
        authority.store.append_audit(&entry).await?;
    }
    Ok("ready\n")
}

/// `GET /metrics`: Prometheus text; gateways' listener only.
///
/// # Errors
/// 503 when the store does not answer.
pub async fn metrics(State(authority): State<Arc<Authority>>) -> Result<Response, Problem> {
    let live = authority.store.live_sessions(authority.now()).await?;
    let names = ["device", "ak", "gateway", "server"];
    for (name, ca) in names.into_iter().zip(authority.keys.authorities()) {
        let issuer = ca.issuer(authority.now());
        if let Ok(certificate) = Certificate::parse(issuer.certificate()) {
            authority.metrics.certificate_expires(name, certificate.not_after());
        }
    }
    let mut response = authority.metrics.render(live, authority.journal.waiting()).into_response();
    let text =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

/// `GET /ca/device.pem`, `GET /ca/server.pem`: the certificates that machines' certificates, and this
/// authority's own, lead to now or will, in PEM.
///
/// # Errors
/// 404 for any other, 503 when a file of the settings cannot be read.
pub async fn ca_bundle(
    State(authority): State<Arc<Authority>>,
    Path(file): Path<String>,
) -> Result<Response, Problem> {
    let (keys, now) = (&authority.keys, authority.now());
    let trusted = match (file.as_str(), &authority.config.settings.tls) {
        ("device.pem", _) => keys.device_ca.trusted(now),
        ("server.pem", None) => keys.server_ca.trusted(now),
        ("server.pem", Some(tls)) => {
            let read = read_certificates(&authority.config.resolve(&tls.ca));
            read.map_err(|error| {
                tracing::error!(%error, "cannot read what the own certificate leads to");
                Problem::unavailable()
            })?
        }
        _ => return Err(Problem::not_found()),
    };
    let bundle: String = trusted.iter().map(pem).collect();
    let media = HeaderValue::from_static("application/pem-certificate-chain");
    let mut response = ([(header::CONTENT_TYPE, media)], bundle).into_response();
    cacheable(response.headers_mut(), 60);
    Ok(response)
}

fn cacheable(headers: &mut HeaderMap, seconds: i64) {
    if let Ok(value) = HeaderValue::from_str(&format!("max-age={seconds}")) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// Whether the caller asks for the CWT (draft-ietf-oauth-status-list-20 §8.1).
fn wants_cwt(headers: &HeaderMap) -> bool {
    let accepts = |media_type: &str| {
        let all = headers.get_all(header::ACCEPT);
        let mut texts = all.iter().filter_map(|value| value.to_str().ok());
        texts.any(|text| text.contains(media_type))
    };
    accepts(CWT_MEDIA_TYPE) && !accepts(JWT_MEDIA_TYPE)
}

fn fingerprint(bytes: &[u8]) -> String {
    let digest = signet_evidence::binding::sha256(bytes);
    signet_evidence::thumbprint::hex(&digest[..8])
}
