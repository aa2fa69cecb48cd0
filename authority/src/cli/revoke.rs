//! `revoke`.

use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::state::system_clock;
use signet_authority::store::{
    AuditEntry, Decision, Event, RevocationKind, RevocationTarget, Store,
};
use signet_evidence::{DeviceId, SessionId};

use super::RevokeCommand;
use super::output::Output;
use super::ticket::open_store;

pub(super) async fn run(file: &Path, command: RevokeCommand, output: Output) -> anyhow::Result<()> {
    let now = system_clock()();
    let mut entry = AuditEntry::new(now, Event::Revoke, Decision::Allowed);
    let target = target(command, &mut entry)?;
    let store = open_store(&Config::load(file)?).await?;
    let revoked = store.revoke(&target, now, &entry).await?;
    store.close().await;
    let Some(revoked) = revoked else {
        bail!("nothing to revoke: it is not known, or was revoked before");
    };
    let sessions = revoked.iter().filter(|one| one.kind == RevocationKind::Session).count();
    let text = format!("revoked, {sessions} session(s) ended");
    output.line(&text, &json!({"revoked": true, "sessions": sessions}))
}

fn target(command: RevokeCommand, entry: &mut AuditEntry) -> anyhow::Result<RevocationTarget> {
    Ok(match command {
        RevokeCommand::Token { id } => {
            let id = SessionId::from_hex(&id).context("a token's id is 32 hex digits")?;
            entry.token = Some(id.0);
            entry.detail = "token, by an administrator".into();
            RevocationTarget::Token(id.0)
        }
        RevokeCommand::Session { id } => {
            let id = SessionId::from_hex(&id).context("a session's id is 32 hex digits")?;
            entry.session = Some(id);
            entry.detail = "session, by an administrator".into();
            RevocationTarget::Session(id)
        }
        RevokeCommand::Credential { id } => {
            let id = URL_SAFE_NO_PAD.decode(&id).context("a credential's id is base64url")?;
            entry.credential = Some(id.clone());
            entry.detail = "credential, by an administrator".into();
            RevocationTarget::Credential(id)
        }
        RevokeCommand::Device { id } => {
            let id = DeviceId::from_hex(&id).context("a device's id is 34 to 66 hex digits")?;
            entry.device = Some(id.clone());
            entry.detail = "device, by an administrator".into();
            RevocationTarget::Device(id)
        }
        RevokeCommand::Operator { id } => {
            entry.subject = Some(id.clone());
            entry.detail = "operator, by an administrator".into();
            RevocationTarget::Operator(id)
        }
    })
}
