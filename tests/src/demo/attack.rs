//! What root on an enrolled workstation can and cannot do with its TPM and its operator's key.

use signet_client::Workstation;
use signet_client::authority::{Base64Url, ChallengeRequest};
use signet_evidence::{Action, Purpose};

use super::evidence::route_update;
use super::intruder::Intruder;
use super::notes::{Fault, Notes, expect};
use super::{PRODUCTION, Stage, refusal};
use crate::house::Station;

async fn challenge(
    workstation: &Workstation,
    purpose: Purpose,
    action: Option<&Action>,
) -> Result<Vec<u8>, Fault> {
    let request = ChallengeRequest {
        purpose: purpose.as_str(),
        action: action.map(|action| Base64Url(action.as_bytes().to_vec())),
        ..ChallengeRequest::default()
    };
    Ok(workstation.authority().challenge(&request).await?.challenge.0)
}

/// Bob's station, out of the stage for as long as it is somebody else's.
fn take_station(stage: &mut Stage) -> Result<Station, Fault> {
    Ok(stage.bob.take().ok_or("the second workstation is not there")?)
}

pub(super) async fn moved_assertion(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let shown = route_update(stage, PRODUCTION, b"{\"weight\": 10}")?;
    let wanted = route_update(stage, PRODUCTION, b"{\"weight\": 100}")?;
    let workstation = stage.bobs_workstation().await?;
    let enrol = challenge(&workstation, Purpose::EnrolKey, None).await?;
    let mut station = take_station(stage)?;
    notes.did("bob's workstation: signetd stopped, its TPM and key used directly");
    let mut root = Intruder::take_over(&mut station).await?;
    let statement = root.statement(&workstation, Purpose::EnrolKey, &enrol, None).await?;
    station.put_finger()?;
    let registration = root.register(&statement).await?;
    let evidence = root.seal(&statement, None, Some(&registration)).await?;
    root.leave(&mut station).await?;
    let added = workstation.authority().enrol_authenticator(&evidence, None, Some("red")).await?;
    let credential = Base64Url::decode(&added.credential_id).ok_or("a credential id")?;
    notes.back("bob's own key is enrolled, without the protection that signetd asks for");
    notes.allowed("key-enrol");

    let first = challenge(&workstation, Purpose::Action, Some(&shown)).await?;
    let second = challenge(&workstation, Purpose::Action, Some(&wanted)).await?;
    let mut root = Intruder::take_over(&mut station).await?;
    notes.did(
        "bob touches for weight 10; the touch is put under a statement for weight 100,\n      \
         with its own challenge, a fresh quote and a fresh signature of the TLS key",
    );
    let approved = root.statement(&workstation, Purpose::Action, &first, Some(&shown)).await?;
    station.put_finger()?;
    let assertion = root.assert(&approved, &credential, true).await?;
    let other = root.statement(&workstation, Purpose::Action, &second, Some(&wanted)).await?;
    let evidence = root.seal(&other, Some(&assertion), None).await?;
    root.leave(&mut station).await?;
    let code = refusal(workstation.authority(), &evidence, notes).await?;
    expect("code", code.as_str(), "assertion-challenge-mismatch")?;
    notes.refused("token-action", "assertion-challenge-mismatch");
    stage.spare = credential;
    stage.bob = Some(station);
    Ok(())
}

pub(super) async fn not_verified(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let workstation = stage.bobs_workstation().await?;
    let credential = stage.spare.clone();
    let login = challenge(&workstation, Purpose::Session, None).await?;
    let mut station = take_station(stage)?;
    notes.did("from the same workstation: a genuine assertion with user presence (UP) only");
    let mut root = Intruder::take_over(&mut station).await?;
    let statement = root.statement(&workstation, Purpose::Session, &login, None).await?;
    let assertion = root.assert(&statement, &credential, false).await?;
    let evidence = root.seal(&statement, Some(&assertion), None).await?;
    root.leave(&mut station).await?;
    let code = refusal(workstation.authority(), &evidence, notes).await?;
    expect("code", code.as_str(), "uv-missing")?;
    notes.refused("token-session", "uv-missing");
    stage.bob = Some(station);
    Ok(())
}
