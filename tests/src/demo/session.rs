//! Tokens of a session: minted, renewed, revoked; and the token of a workload.

use serde_json::Value;
use signet_client::daemon::Means;
use signet_client::inspection::UnverifiedJwt;
use signet_client::workstation::{Ask, Unattended};
use signet_evidence::Purpose;
use signet_evidence::thumbprint::hex;

use super::notes::{Fault, Notes, expect};
use super::{STAGING, Stage};
use crate::house::Ran;

pub(super) async fn login(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let station = &stage.house.alice;
    notes.did("signet login   (finger on the key)");
    station.put_finger()?;
    let ran = station.signet(&["--json", "login"]).await?;
    if ran.code != Some(0) {
        return Err(ran.stderr.into());
    }
    notes.did("signet token | signet inspect -");
    stage.token = succeeded(station.signet(&["token"]).await?)?.trim().to_owned();
    let jwt = UnverifiedJwt::parse(&stage.token)?;
    let claims = Value::Object(jwt.claims);
    expect("subject", &claims["sub"], "alice")?;
    expect("audience", &claims["aud"], crate::house::TRUST_DOMAIN)?;
    expect("human", &claims["signet"]["human"], true)?;
    expect("TPM", &claims["signet"]["dev"], "proven")?;
    let alice = stage.alice().await?;
    let leaf = alice.enrolment().certificates.first().cloned().unwrap_or_default();
    stage.thumbprint = hex(&signet_evidence::binding::sha256(&leaf));
    expect("bound certificate", &claims["signet"]["x5t_hex"], stage.thumbprint.as_str())?;
    expect(
        "lifetime",
        claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(e, i)| e - i),
        Some(300),
    )?;
    stage.session = claims["sid"].as_str().unwrap_or_default().to_owned();
    for line in serde_json::to_string_pretty(&claims)?.lines() {
        notes.back(line);
    }
    notes.allowed("token-session");
    Ok(())
}

pub(super) async fn renewed(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let station = &stage.house.alice;
    // From here on nobody is at the key.
    station.key.touch_manual()?;
    notes.did("signet token --renew   (nobody at the key)");
    let token = succeeded(station.signet(&["token", "--renew"]).await?)?.trim().to_owned();
    station.key.touch_auto()?;
    let (before, after) = (UnverifiedJwt::parse(&stage.token)?, UnverifiedJwt::parse(&token)?);
    let both = |name: &str| (before.claims.get(name).cloned(), after.claims.get(name).cloned());
    let (old, new) = both("jti");
    if old == new {
        return Err("the token is the old one".into());
    }
    for (what, name) in [("session", "sid"), ("time of presence", "auth_time"), ("level", "acr")] {
        let (old, new) = both(name);
        expect(what, new, old)?;
    }
    let text = |name: &str| after.claims.get(name).map(ToString::to_string).unwrap_or_default();
    notes.back(format!("a new token (jti {})", text("jti")));
    notes.back(format!(
        "same session {}; presence still dates from {}",
        text("sid"),
        text("auth_time")
    ));
    stage.token = token;
    notes.allowed("token-renew");
    Ok(())
}

pub(super) async fn workload(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let alice = stage.alice().await?;
    notes.did("evidence of purpose workload, exchanged for a token   (nobody asked)");
    let purpose = Purpose::Workload;
    let means = Means::default();
    let ask = Ask { purpose, scope: None, acr: None, action: None, session: None, means };
    let proof = alice.prove(&ask, &Unattended).await?;
    let response = alice.authority().exchange(&proof.evidence).await?;
    let token = response.access_token.secret();
    let claims = Value::Object(UnverifiedJwt::parse(token)?.claims);
    expect("human", &claims["signet"]["human"], false)?;
    expect("level", &claims["acr"], "signet.device")?;
    expect("presence", claims.get("auth_time"), None)?;
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    notes.back(format!("subject {}, acr {}, no human", text("sub"), text("acr")));
    notes.allowed("token-workload");
    notes.did("GET a staging route with it");
    let (status, code) = send(stage, "GET", token, &["--no-step-up"]).await?;
    expect("status", status, 403)?;
    expect("code", code.as_str(), "policy-denied")?;
    notes.back(format!("{status} {code}: no policy gives routes to workloads"));
    notes.refused("authorize", "policy-denied");
    Ok(())
}

pub(super) async fn revoked(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let token = stage.token.clone();
    let (status, _) = send(stage, "GET", &token, &[]).await?;
    expect("status before", status, 200)?;
    notes.did("GET a staging route: still allowed");
    notes.allowed("authorize");
    notes.did("signet-authority revoke session …");
    stage.house.authority.revoke("session", &stage.session)?;
    notes.allowed("revoke");
    let (status, code) = send(stage, "GET", &token, &["--no-step-up"]).await?;
    expect("status", status, 401)?;
    expect("code", code.as_str(), "invalid_token")?;
    notes.back(format!("the very next request: {status} {code}"));
    notes.refused("authorize", "token-revoked");
    notes.did("signet token --renew");
    let ran = stage.house.alice.signet(&["--json", "token", "--renew"]).await?;
    expect("exit code", ran.code, Some(1))?;
    let (code, message) = ran.error().ok_or("no error was printed")?;
    expect("code", code.as_str(), "session-ended")?;
    notes.back(message);
    notes.refused("challenge", "session-ended");
    notes.did("signet login   (finger on the key)");
    let station = &stage.house.alice;
    station.put_finger()?;
    let login = succeeded(station.signet(&["--json", "login"]).await?)?;
    let login: Value = serde_json::from_str(&login)?;
    expect("same session", login["session"] == stage.session.as_str(), false)?;
    notes.back("one finger, and a new session has begun");
    notes.allowed("token-session");
    Ok(())
}

/// Sends a request with this token; gives the status and the problem's code.
async fn send(
    stage: &Stage,
    method: &str,
    token: &str,
    more: &[&str],
) -> Result<(u64, String), Fault> {
    let file = stage.house.alice.file("token");
    std::fs::write(&file, token)?;
    let path = file.display().to_string();
    let more: Vec<&str> = ["--action-token", &path].iter().chain(more).copied().collect();
    let ran = stage.house.request(&stage.house.alice, method, STAGING, &more).await?;
    super::gateway::answer(&ran)
}

fn succeeded(ran: Ran) -> Result<String, Fault> {
    if ran.code == Some(0) { Ok(ran.stdout) } else { Err(ran.stderr.into()) }
}
