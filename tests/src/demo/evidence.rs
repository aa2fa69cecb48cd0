//! Presence Evidence: what it proves, and that it serves once, for one thing.

use serde_json::Value;
use signet_client::approval::action_for;
use signet_client::authority::{Base64Url, ChallengeRequest};
use signet_client::ceremony::attend;
use signet_client::daemon::{Means, PresenceRequest};
use signet_client::workstation::Unattended;
use signet_evidence::{Action, Purpose};

use super::notes::{Fault, Notes, expect};
use super::{PRODUCTION, Stage, refusal};

/// The action that a `PUT` of `body` to `path` of the gateway is.
pub(super) fn route_update(stage: &Stage, path: &str, body: &[u8]) -> Result<Action, Fault> {
    let url = stage.house.url(path).parse()?;
    Ok(action_for("PUT", &url, body, &["mesh.route.update".to_owned()])?)
}

pub(super) async fn presence(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let station = &stage.house.alice;
    notes.did("signet present -o evidence.cose   (finger on the key)");
    let file = station.file("evidence.cose");
    let path = file.display().to_string();
    station.put_finger()?;
    let ran = station.signet(&["--json", "present", "-o", &path]).await?;
    if ran.code != Some(0) {
        return Err(ran.stderr.into());
    }
    stage.spare = std::fs::read(&file)?;
    notes.did("signet inspect evidence.cose");
    let shown = station.signet(&["--json", "inspect", &path]).await?.json();
    let part = |pointer: &str| shown["content"].pointer(pointer).cloned().unwrap_or(Value::Null);
    expect("subject", part("/statement/subject"), "alice")?;
    expect("user present", part("/assertion/authenticator_data/user_present"), true)?;
    expect("user verified", part("/assertion/authenticator_data/user_verified"), true)?;
    expect("quote refers to it", part("/tpm/quote/refers_to_this_statement"), true)?;
    expect(
        "certification refers to it",
        part("/tpm/certification/refers_to_this_statement"),
        true,
    )?;
    let pcrs: Vec<String> = part("/tpm/pcrs")
        .as_object()
        .map(|pcrs| pcrs.keys().cloned().collect())
        .unwrap_or_default();
    expect("PCRs", pcrs.join(" "), "0 1 2 3 4 5 6 7 8 9 12 14")?;
    let text = |pointer: &str| part(pointer).as_str().unwrap_or_default().to_owned();
    notes.back(format!("who       {}, user verified (UV) by the key", text("/statement/subject")));
    notes.back(format!("machine   device {}", text("/statement/device")));
    let digest = text("/tpm/quote/pcr_digest");
    let digest = digest.get(..16).unwrap_or(&digest);
    notes.back(format!("state     TPM quote of PCRs {}, digest {digest}…", pcrs.join(" ")));
    notes.back(format!("size      {} bytes", stage.spare.len()));
    Ok(())
}

pub(super) async fn replay(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let alice = stage.alice().await?;
    notes.did("POST /v1/token with that evidence");
    let token = alice.authority().exchange(&stage.spare).await?;
    notes.back(format!("a token for {} s", token.expires_in));
    notes.allowed("token-session");
    notes.did("POST /v1/token with the same evidence again");
    let code = refusal(alice.authority(), &stage.spare, notes).await?;
    expect("code", code.as_str(), "challenge-replayed")?;
    notes.refused("token-session", "challenge-replayed");
    Ok(())
}

pub(super) async fn other_action(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let alice = stage.alice().await?;
    let shown = route_update(stage, PRODUCTION, b"{\"weight\": 10}")?;
    let wanted = route_update(stage, PRODUCTION, b"{\"weight\": 100}")?;
    let request = ChallengeRequest {
        purpose: Purpose::Action.as_str(),
        action: Some(Base64Url(shown.as_bytes().to_vec())),
        ..ChallengeRequest::default()
    };
    let challenge = alice.authority().challenge(&request).await?;
    let allow: Vec<Vec<u8>> = challenge.allow_credentials.iter().map(|id| id.0.clone()).collect();
    notes.did("evidence for weight 100, made over the challenge for weight 10");
    let asked = PresenceRequest {
        purpose: Purpose::Action,
        challenge: &challenge.challenge.0,
        subject: Some("alice"),
        scope: None,
        acr: None,
        action: Some(wanted.as_bytes()),
        session: None,
        allow_credentials: &allow,
        touch_credentials: &[],
        user_verification: "required",
        known_event_log: None,
        means: Means::default(),
        reason: None,
        remote: None,
    };
    stage.house.alice.put_finger()?;
    let request = alice.daemon().request_presence(&asked).await?;
    let made = attend(request, &Unattended).await?.presence()?;
    let code = refusal(alice.authority(), &made.evidence, notes).await?;
    expect("code", code.as_str(), "challenge-invalid")?;
    // Before anything is proved, the purpose is only a claim: the record does not repeat it.
    notes.refused("token", "challenge-invalid");
    Ok(())
}
