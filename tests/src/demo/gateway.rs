//! At the gateway: who passes, and who does not.

use serde_json::Value;
use signet_client::authority::Base64Url;
use signet_client::one_line::causes;

use super::notes::{Fault, Notes, expect};
use super::{STAGING, Stage};
use crate::house::{Ran, Station};
use crate::raw_https::RawClient;

/// Status and problem code of an answer that `signet request --json` printed.
pub(super) fn answer(ran: &Ran) -> Result<(u64, String), Fault> {
    let printed = ran.json();
    let status = printed["status"].as_u64().ok_or_else(|| ran.stderr.clone())?;
    let body: Value =
        serde_json::from_str(printed["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
    Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
}

pub(super) async fn allowed(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let house = &stage.house;
    notes.did(format!("signet request GET {}", house.url(STAGING)));
    let ran = house.request(&house.alice, "GET", STAGING, &[]).await?;
    let (status, _) = answer(&ran)?;
    expect("status", status, 200)?;
    let received = house.upstream.received().pop().ok_or("nothing reached the upstream")?;
    notes.back("200; what the upstream saw:");
    notes.back(format!("  {} {}", received.method, received.target));
    for (name, expected) in [
        ("x-signet-subject", Some("alice")),
        ("x-signet-device", None),
        ("x-signet-acr", None),
        ("x-signet-action", Some("mesh.route.view")),
        ("x-signet-session", Some(stage.session.as_str())),
        ("x-signet-decision", None),
    ] {
        let [found] = received.header(name)[..] else { return Err(name.into()) };
        if let Some(expected) = expected {
            expect("a header of the upstream's", found, expected)?;
        }
        notes.back(format!("  {name}: {found}"));
    }
    expect("tokens at the upstream", received.header("authorization").len(), 0)?;
    notes.back("  (and no token)");
    notes.allowed("authorize");
    Ok(())
}

pub(super) async fn other_certificate(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    notes.did("signet request GET … from bob's workstation, with alice's token");
    steal(stage, notes, &[]).await
}

pub(super) async fn spoofed_headers(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let thumbprint = stage.thumbprint.clone();
    let certificate = format!("x-forwarded-client-cert: Hash={thumbprint}");
    let peer = format!("x-signet-peer-sha256: {thumbprint}");
    notes.did(
        "from bob's workstation, with alice's token and her certificate's hash in\n      \
         x-forwarded-client-cert and x-signet-peer-sha256",
    );
    steal(stage, notes, &["-H", &certificate, "-H", &peer]).await?;
    notes.did("the same headers, and x-signet-subject: root, on alice's own request");
    let house = &stage.house;
    let more = ["-H", "x-signet-subject: root", "-H", &certificate, "-H", &peer];
    let (status, _) = answer(&house.request(&house.alice, "GET", STAGING, &more).await?)?;
    expect("status", status, 200)?;
    let received = house.upstream.received().pop().ok_or("nothing reached the upstream")?;
    expect("subject at the upstream", received.header("x-signet-subject"), ["alice"])?;
    notes.back("200, and the upstream is told x-signet-subject: alice");
    notes.allowed("authorize");
    Ok(())
}

/// Bob sends alice's token; nothing may reach the upstream.
async fn steal(stage: &Stage, notes: &mut Notes, more: &[&str]) -> Result<(), Fault> {
    let bob = stage.bob()?;
    let file = bob.file("stolen");
    std::fs::write(&file, &stage.token)?;
    let path = file.display().to_string();
    let before = stage.house.upstream.received().len();
    let more: Vec<&str> =
        ["--action-token", &path, "--no-step-up"].iter().chain(more).copied().collect();
    let ran = stage.house.request(bob, "GET", STAGING, &more).await?;
    let (status, code) = answer(&ran)?;
    expect("status", status, 401)?;
    expect("code, coarse for a stranger", code.as_str(), "invalid_token")?;
    expect("requests at the upstream", stage.house.upstream.received().len(), before)?;
    notes.back(format!("{status} {code}; the upstream saw nothing"));
    notes.refused("authorize", "token-binding-mismatch");
    Ok(())
}

pub(super) async fn no_certificate(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let house = &stage.house;
    let before = house.upstream.received().len();
    let client = RawClient::new(&std::fs::read_to_string(&house.mesh.ca)?, None)?;
    let request = format!(
        "GET {STAGING} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         connection: close\r\n\r\n",
        stage.token
    );
    notes.did("GET … with alice's token over TLS without a client certificate, at the gateway");
    let gateway = house.envoy.address();
    refused_by_tls(&client, gateway, &request, notes).await?;
    let ca = std::fs::read_to_string(house.authority.server_ca())?;
    let client = RawClient::new(&ca, None)?;
    notes.did("the same straight at the authority's listener for gateways");
    let listener = house.authority.gateway_address();
    refused_by_tls(&client, listener, &request, notes).await?;
    expect("requests at the upstream", house.upstream.received().len(), before)?;
    exchange_without_certificate(stage, client, notes).await
}

/// Enrolment is open to strangers, so the authority's other listener takes the connection.
async fn exchange_without_certificate(
    stage: &Stage,
    client: RawClient,
    notes: &mut Notes,
) -> Result<(), Fault> {
    notes.did("POST /v1/token with alice's evidence, without a client certificate");
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
         &subject_token_type=urn:signet:token-type:evidence&subject_token={}",
        Base64Url::encode(&stage.spare)
    );
    let request = format!(
        "POST /v1/token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let to = stage.house.authority.address();
    let sent = tokio::task::spawn_blocking(move || client.send(to, request.as_bytes())).await??;
    let body: Value = serde_json::from_str(&sent.body)?;
    expect("status", sent.status, 400)?;
    expect("OAuth error", &body["error"], "invalid_client")?;
    notes.back(format!("{} invalid_client", sent.status));
    notes.refused("token", "certificate-missing");
    Ok(())
}

async fn refused_by_tls(
    client: &RawClient,
    to: std::net::SocketAddr,
    request: &str,
    notes: &mut Notes,
) -> Result<(), Fault> {
    let (client, request) = (client.clone(), request.to_owned());
    let sent = tokio::task::spawn_blocking(move || client.send(to, request.as_bytes())).await?;
    let Err(error) = sent else { return Err("there was an answer".into()) };
    let text = causes(&error);
    if !text.contains("CertificateRequired") {
        return Err(text.into());
    }
    notes.back("TLS alert certificate_required: there is no connection at all");
    Ok(())
}

/// Writes a request's body where `signet` reads it.
pub(super) fn body_file(station: &Station, body: &[u8]) -> Result<String, Fault> {
    let file = station.file("body.json");
    std::fs::write(&file, body)?;
    Ok(file.display().to_string())
}
