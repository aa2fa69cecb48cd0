//! Critical actions: each with a touch of its own.

use signet_client::step_up::{BearerChallenge, StepUp};

use super::gateway::{answer, body_file};
use super::notes::{Fault, Notes, expect};
use super::{PRODUCTION, Stage};

const BODY: &[u8] = b"{\"weight\": 10}";

pub(super) async fn demanded(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let house = &stage.house;
    let body = body_file(&house.alice, BODY)?;
    notes.did("signet request PUT …/payments/routes/api with the session's token");
    let more = ["--body", &body, "--no-step-up"];
    let ran = house.request(&house.alice, "PUT", PRODUCTION, &more).await?;
    let (status, code) = answer(&ran)?;
    expect("status", status, 401)?;
    expect("code", code.as_str(), "presence-required")?;
    let header = header(&ran.json(), "www-authenticate").ok_or("no challenge")?;
    let asked = BearerChallenge::parse(&header).and_then(|challenge| challenge.step_up());
    expect("step-up", asked, Some(StepUp::Action { names: vec!["mesh.route.update".into()] }))?;
    notes.back(format!("{status} {code}"));
    notes.back(format!("www-authenticate: {header}"));
    notes.refused("authorize", "presence-required");
    Ok(())
}

pub(super) async fn approved(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    notes.did("signet approve PUT … --body body.json --action mesh.route.update   (finger)");
    stage.action_token = approve(stage).await?;
    notes.allowed("token-action");
    notes.did("signet request PUT … --action-token -");
    let (status, _) = put(stage, PRODUCTION, BODY).await?;
    expect("status", status, 200)?;
    let received = stage.house.upstream.received().pop().ok_or("nothing reached the upstream")?;
    expect("body at the upstream", received.body.as_bytes(), BODY)?;
    expect("action at the upstream", received.header("x-signet-action"), ["mesh.route.update"])?;
    notes.back(format!("200; the upstream saw PUT {PRODUCTION} {}", received.body));
    notes.allowed("authorize");
    Ok(())
}

pub(super) async fn repeated(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    notes.did("the same request with the same token again");
    let before = stage.house.upstream.received().len();
    let (status, code) = put(stage, PRODUCTION, BODY).await?;
    expect("status", status, 401)?;
    expect("code, coarse for a stranger", code.as_str(), "invalid_token")?;
    expect("requests at the upstream", stage.house.upstream.received().len(), before)?;
    notes.back(format!("{status} {code}; the upstream saw nothing"));
    notes.refused("authorize", "token-redeemed");
    Ok(())
}

pub(super) async fn other_request(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    notes.did("signet approve PUT … with weight 10   (finger)");
    stage.action_token = approve(stage).await?;
    notes.allowed("token-action");
    let before = stage.house.upstream.received().len();
    let other = "/v1/namespaces/checkout/routes/api";
    for (path, body, said) in [
        (PRODUCTION, &b"{\"weight\": 100}"[..], "the same request with weight 100"),
        (other, BODY, "the same body to another namespace"),
    ] {
        notes.did(said);
        let (status, code) = put(stage, path, body).await?;
        expect("status", status, 401)?;
        notes.back(format!("{status} {code}"));
        expect("code", code.as_str(), "action-mismatch")?;
        notes.refused("authorize", "action-mismatch");
    }
    expect("requests at the upstream", stage.house.upstream.received().len(), before)?;
    notes.did("the request that was approved");
    let (status, _) = put(stage, PRODUCTION, BODY).await?;
    expect("status", status, 200)?;
    notes.back("200: what failed did not use the approval up");
    notes.allowed("authorize");
    Ok(())
}

/// An action token for a `PUT` of the body to the production route.
async fn approve(stage: &Stage) -> Result<String, Fault> {
    let house = &stage.house;
    let body = body_file(&house.alice, BODY)?;
    house.alice.put_finger()?;
    let url = house.url(PRODUCTION);
    let arguments = ["approve", "PUT", &url, "--body", &body, "--action", "mesh.route.update"];
    let ran = house.alice.signet(&arguments).await?;
    if ran.code == Some(0) { Ok(ran.stdout.trim().to_owned()) } else { Err(ran.stderr.into()) }
}

/// A `PUT` with the action token.
async fn put(stage: &Stage, path: &str, body: &[u8]) -> Result<(u64, String), Fault> {
    let house = &stage.house;
    let token = house.alice.file("action-token");
    std::fs::write(&token, &stage.action_token)?;
    let (token, body) = (token.display().to_string(), body_file(&house.alice, body)?);
    let more = ["--body", &body, "--action-token", &token];
    answer(&house.request(&house.alice, "PUT", path, &more).await?)
}

/// The value of a header that `signet request --json` printed.
fn header(printed: &serde_json::Value, name: &str) -> Option<String> {
    let headers = printed.get("headers")?;
    let value = match headers {
        serde_json::Value::Object(members) => members.get(name)?.clone(),
        serde_json::Value::Array(pairs) => pairs.iter().find(|pair| pair[0] == name)?[1].clone(),
        _ => return None,
    };
    match value {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Array(values) => values.first()?.as_str().map(str::to_owned),
        _ => None,
    }
}
