//! `revoke`.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signet_authority::config::Config;
use signet_authority::state::system_clock;
use signet_authority::store::{
    AuditEntry, Decision, Event, RevocationKind, RevocationTarget, SqlStore, Store, VerifierRow,
};
use signet_evidence::thumbprint::hex;
use signet_evidence::{DeviceId, SessionId, UnixTime};

use super::output::Output;
use super::ticket::open_store;
use super::{RevokeArguments, RevokeTarget};

/// A connected verifier is on record at least this often, in seconds; one that was not seen for longer
/// has long been refusing by itself.
const SEEN: i64 = 90;
/// How often acknowledgements are looked for.
const LOOK: Duration = Duration::from_millis(10);

pub(super) async fn run(
    file: &Path,
    arguments: RevokeArguments,
    output: Output,
) -> anyhow::Result<()> {
    let now = system_clock()();
    let mut entry = AuditEntry::new(now, Event::Revoke, Decision::Allowed);
    let target = target(arguments.target, &mut entry)?;
    let store = open_store(&Config::load(file)?).await?;
    let started = unix_milliseconds();
    let revoked = store.revoke(&target, now, &entry).await?;
    let Some(revoked) = revoked else {
        store.close().await;
        bail!("nothing to revoke: it is not known, or was revoked before");
    };
    let sessions = revoked.iter().filter(|one| one.kind == RevocationKind::Session).count();
    let what = match target {
        RevocationTarget::Everything => "every session ended".to_owned(),
        _ => format!("{sessions} session(s) ended"),
    };
    let position = revoked.last().map(|last| last.sequence);
    let Some((wait, position)) = arguments.wait.zip(position) else {
        store.close().await;
        let text = format!("revoked, {what}");
        return output.line(&text, &json!({"revoked": true, "sessions": sessions}));
    };
    let verifiers = applied(&store, position, Duration::from_secs(wait)).await;
    store.close().await;
    let verifiers = verifiers.context("revoked; but who applied it cannot be read")?;
    let unanswered = verifiers.iter().filter(|one| one.position < position).count();
    let mut text = format!("revoked, {what}");
    for one in &verifiers {
        text.push('\n');
        text.push_str(&line(one, position, started));
    }
    let list: Vec<Value> = verifiers.iter().map(|one| value(one, position, started)).collect();
    output.line(
        &text,
        &json!({
            "revoked": true, "sessions": sessions, "position": position, "verifiers": list,
            "unanswered": unanswered,
        }),
    )?;
    if unanswered > 0 {
        bail!(
            "{unanswered} verifier(s) did not answer within {wait} s: each refuses writes by itself \
             once it has heard nothing for its bound (5 s unless its service chose another)"
        );
    }
    Ok(())
}

/// Everyone who was seen lately, as they stand when all have applied it or the time is over.
async fn applied(
    store: &SqlStore,
    position: i64,
    wait: Duration,
) -> anyhow::Result<Vec<VerifierRow>> {
    let deadline = Instant::now() + wait;
    loop {
        let since = UnixTime(system_clock()().0.saturating_sub(SEEN));
        let verifiers = store.verifiers(since).await?;
        let all = verifiers.iter().all(|one| one.position >= position);
        if all || Instant::now() >= deadline {
            return Ok(verifiers);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Milliseconds from the call to the acknowledgement; `None` where there was none.
fn after(verifier: &VerifierRow, position: i64, started: i64) -> Option<i64> {
    let applied = verifier.applied_at.filter(|_| verifier.position >= position)?;
    Some(applied.saturating_sub(started).max(0))
}

fn line(verifier: &VerifierRow, position: i64, started: i64) -> String {
    let name = format!("  {} {}", verifier.gateway, &hex(&verifier.instance)[..8]);
    match after(verifier, position, started) {
        Some(after) => format!("{name}: applied after {after} ms"),
        None if verifier.connected => format!("{name}: DID NOT ANSWER, though connected"),
        None => format!("{name}: DID NOT ANSWER; its connection ended at {}", verifier.seen_at),
    }
}

fn value(verifier: &VerifierRow, position: i64, started: i64) -> Value {
    let after = after(verifier, position, started);
    json!({
        "gateway": verifier.gateway, "instance": hex(&verifier.instance),
        "connected": verifier.connected, "applied": after.is_some(), "after_ms": after,
        "seen_at": verifier.seen_at.0,
    })
}

fn unix_milliseconds() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

fn target(target: RevokeTarget, entry: &mut AuditEntry) -> anyhow::Result<RevocationTarget> {
    Ok(match target {
        RevokeTarget::Token { id } => {
            let id = SessionId::from_hex(&id).context("a token's id is 32 hex digits")?;
            entry.token = Some(id.0);
            entry.detail = "token, by an administrator".into();
            RevocationTarget::Token(id.0)
        }
        RevokeTarget::Session { id } => {
            let id = SessionId::from_hex(&id).context("a session's id is 32 hex digits")?;
            entry.session = Some(id);
            entry.detail = "session, by an administrator".into();
            RevocationTarget::Session(id)
        }
        RevokeTarget::Key { id } => {
            let id = URL_SAFE_NO_PAD.decode(&id).context("a key's id is base64url")?;
            entry.credential = Some(id.clone());
            entry.detail = "credential, by an administrator".into();
            RevocationTarget::Credential(id)
        }
        RevokeTarget::Device { id } => {
            let id = DeviceId::from_hex(&id).context("a device's id is 34 to 66 hex digits")?;
            entry.device = Some(id.clone());
            entry.detail = "device, by an administrator".into();
            RevocationTarget::Device(id)
        }
        RevokeTarget::Operator { id } => {
            entry.subject = Some(id.clone());
            entry.detail = "operator, by an administrator".into();
            RevocationTarget::Operator(id)
        }
        RevokeTarget::All => {
            entry.detail = "every session, by an administrator".into();
            RevocationTarget::Everything
        }
    })
}
