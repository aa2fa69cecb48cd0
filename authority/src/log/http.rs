//! The log over HTTP, for gateways: checkpoint and tiles (c2sp.org/tlog-tiles), updates for witnesses
//! (c2sp.org/tlog-witness), receipts (c2sp.org/tlog-proof). Records themselves are not served: they
//! name people.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use signet_evidence::UnixTime;
use signet_verifier::log::{Note, NoteKey, SignatureKind, Update, key_name};

use super::prove::{self, ProveError};
use crate::caller::Peer;
use crate::extract::StrictJson;
use crate::gateway::require_gateway;
use crate::problem::Problem;
use crate::state::Authority;
use crate::store::{AuditEntry, Cosignature, Decision, Event, SignedCheckpoint, TILE};

/// Where a tree of any size ends (c2sp.org/tlog-tiles: levels 0 to 63).
const MAX_LEVEL: u8 = 7;

/// The routes of the log.
pub fn routes() -> Router<Arc<Authority>> {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{level}/{*number}", get(tile))
        .route("/log/update", get(update))
        .route("/log/proof", get(proof))
        .route("/log/keys", get(keys))
        .route("/log/cosignatures", post(cosign))
}

async fn newest(authority: &Authority) -> Result<SignedCheckpoint, Problem> {
    authority.store.newest_checkpoint().await?.ok_or_else(Problem::not_found)
}

async fn checkpoint(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
) -> Result<Response, Problem> {
    require_gateway(&authority, peer, Event::Witness).await?;
    let newest = newest(&authority).await?;
    Ok(text(&prove::cosigned(authority.store.as_ref(), &newest).await?, "no-store"))
}

async fn tile(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    Path((level, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    require_gateway(&authority, peer, Event::Witness).await?;
    let level = decimal(&level).and_then(|level| u8::try_from(level).ok());
    let (Some(level), Some((number, width))) = (level, tile_number(&number)) else {
        return Err(Problem::not_found());
    };
    let start = number.checked_mul(TILE).filter(|_| level <= MAX_LEVEL);
    let start = start.ok_or_else(Problem::not_found)?;
    let hashes = authority.store.log_hashes(level, start..start.saturating_add(width)).await?;
    if hashes.len() as u64 != width {
        return Err(Problem::not_found());
    }
    let mut response = hashes.concat().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let immutable = HeaderValue::from_static("max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, immutable);
    Ok(response)
}

/// Which tile, and how many hashes of it: `x001/x234/067` or `x001/x234/067.p/8`.
fn tile_number(path: &str) -> Option<(u64, u64)> {
    let (number, width) = match path.split_once(".p/") {
        Some((number, width)) => {
            (number, decimal(width).filter(|width| (1..TILE).contains(width))?)
        }
        None => (path, TILE),
    };
    let mut parts = number.split('/').rev();
    let mut digits = vec![parts.next()?];
    for part in parts {
        digits.push(part.strip_prefix('x')?);
    }
    digits.reverse();
    let three = |part: &&str| part.len() == 3 && part.bytes().all(|digit| digit.is_ascii_digit());
    if digits.len() > 6 || !digits.iter().all(three) || (digits.len() > 1 && digits[0] == "000") {
        return None;
    }
    Some((digits.concat().parse().ok()?, width))
}

/// A number without a sign or zeros in front.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// `GET /log/keys`: the notes by which each key of the log named the next, for witnesses that know an
/// earlier one.
async fn keys(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
) -> Result<Json<serde_json::Value>, Problem> {
    require_gateway(&authority, peer, Event::Witness).await?;
    Ok(Json(json!({"successions": authority.log.successions()})))
}

#[derive(Deserialize)]
struct UpdateQuery {
    old: u64,
}

/// `GET /log/update?old=N`: the newest checkpoint and the proof that it continues the first N records,
/// in the form of `add-checkpoint`.
async fn update(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    Query(UpdateQuery { old }): Query<UpdateQuery>,
) -> Result<Response, Problem> {
    require_gateway(&authority, peer, Event::Witness).await?;
    let newest = newest(&authority).await?;
    // A log that is shorter than what a witness knows is shown as it is: the witness sees it.
    let from = old.min(newest.size);
    let proof = prove::consistency(authority.store.as_ref(), from, newest.size).await;
    let proof = proof.map_err(unproved)?;
    let note = prove::cosigned(authority.store.as_ref(), &newest).await?;
    Ok(text(&Update { old: from, proof, note }, "no-store"))
}

#[derive(Deserialize)]
struct ProofQuery {
    sequence: u64,
}

/// `GET /log/proof?sequence=N`: that record N is in the newest checkpoint.
async fn proof(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    Query(ProofQuery { sequence }): Query<ProofQuery>,
) -> Result<Response, Problem> {
    require_gateway(&authority, peer, Event::Witness).await?;
    let index = sequence.checked_sub(1).ok_or_else(Problem::not_found)?;
    let receipt = prove::receipt(authority.store.as_ref(), index).await.map_err(unproved)?;
    Ok(text(&receipt.ok_or_else(Problem::not_found)?, "no-store"))
}

/// What a witness posts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cosigned {
    /// Its key.
    key: String,
    /// The checkpoint with its line.
    note: String,
}

/// `POST /log/cosignatures`: a gateway's line under a checkpoint. Its key is remembered.
async fn cosign(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    StrictJson(Cosigned { key, note }): StrictJson<Cosigned>,
) -> Result<StatusCode, Problem> {
    let gateway = require_gateway(&authority, peer, Event::Witness).await?;
    let spiffe_id = gateway.spiffe_id.get_ref().as_str();
    let name = key_name(spiffe_id.trim_start_matches("spiffe://"));
    let key: Option<NoteKey> = key.parse().ok();
    let key = key.filter(|key| key.name() == name && key.kind() == SignatureKind::Witness);
    let (Some(key), Ok(note)) = (key, Note::parse(&note)) else {
        let detail = format!("send a checkpoint with a cosignature by a key called {name}");
        return Err(Problem::malformed_request(detail));
    };
    let Some((checkpoint, at)) = known(&authority, &key, &note).await? else {
        let detail = "the cosignature is not one of that key under a checkpoint of this log";
        return Err(Problem::malformed_request(detail));
    };
    let witnesses = authority.store.witnesses().await?;
    if !witnesses.iter().any(|witness| witness.key == key) {
        let mut entry = AuditEntry::new(authority.now(), Event::Witness, Decision::Allowed);
        entry.gateway = Some(spiffe_id.to_owned());
        entry.detail = format!("witness key {key}");
        authority.store.pin_witness(&key, &entry).await?;
        authority.metrics.decided(entry.event, entry.decision);
    }
    let line = note.signatures().iter().find(|one| one.name == name && one.key_id == key.id());
    let line = line.map(ToString::to_string).ok_or_else(Problem::not_found)?;
    let cosignature = Cosignature { size: checkpoint.size, witness: name, at, line };
    authority.store.add_cosignature(&cosignature).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The checkpoint of ours that `key` cosigned in `note`, and when.
async fn known(
    authority: &Authority,
    key: &NoteKey,
    note: &Note,
) -> Result<Option<(SignedCheckpoint, UnixTime)>, Problem> {
    let Ok(at) = key.verify_cosignature(note) else { return Ok(None) };
    let size = note.text().split('\n').nth(1).and_then(decimal);
    let Some(after) = size.and_then(|size| size.checked_sub(1)) else { return Ok(None) };
    let found = authority.store.checkpoints_after(after, 1).await?.into_iter().next();
    let same = |one: &SignedCheckpoint| one.note.starts_with(&format!("{}\n", note.text()));
    Ok(found.filter(same).map(|checkpoint| (checkpoint, at)))
}

fn unproved(error: ProveError) -> Problem {
    match error {
        ProveError::Proof(_) => Problem::not_found(),
        ProveError::Store(error) => error.into(),
    }
}

fn text(body: &impl ToString, caching: &'static str) -> Response {
    let mut response = body.to_string().into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_named_as_c2sp_names_them() {
        let cases = [
            ("000", Some((0, 256))),
            ("067.p/8", Some((67, 8))),
            ("x001/x234/067", Some((1_234_067, 256))),
            ("x001/x234/067.p/255", Some((1_234_067, 255))),
            ("067.p/256", None),
            ("067.p/0", None),
            ("067.p/08", None),
            ("67", None),
            ("001/067", None),
            ("x001/x067", None),
            ("x000/067", None),
            ("+67", None),
            ("", None),
        ];
        for (path, expected) in cases {
            assert_eq!(tile_number(path), expected, "{path}");
        }
    }
}
