//! Enrolment of the machine and of the security key.

use signet_client::daemon::{Bus, Daemon};
use signet_test_authenticators::Firmware;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Stage;
use super::notes::{Fault, Notes, expect};

pub(super) async fn device(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let house = &stage.house;
    let station = &house.alice;
    let daemon = Daemon::connect(&Bus::Address(station.bus.address().into())).await?;
    let keys = daemon.begin_enrolment().await?;
    let certified: Vec<_> =
        keys.endorsement.iter().filter(|key| key.certificate.is_some()).collect();
    let first = certified.first().ok_or("the TPM has no certified endorsement key")?;
    notes.did(
        "signet enrol --authority … --ticket-file -   (the ticket of `signet-authority init`)",
    );
    let ran = house.enrol(station, house.authority.first_ticket()).await?;
    if ran.code != Some(0) {
        return Err(ran.stderr.into());
    }
    let enrolled = ran.json();
    expect("operator", &enrolled["operator"], "alice")?;
    expect("certified endorsement key", &enrolled["ek_certified"], true)?;
    notes.back("the TPM's endorsement key (EK) is vouched for by its maker:");
    let chosen = enrolled["ek_kind"].as_str().unwrap_or_default();
    let shown = certified.iter().find(|key| key.kind == chosen).unwrap_or(first);
    let maker = station.tpm.ca_certificates();
    let (intermediate, root) = (maker.intermediate_der()?, maker.root_der()?);
    let leaf = shown.certificate.as_deref().unwrap_or_default();
    for (role, der) in [(shown.kind.as_str(), leaf), ("maker", &intermediate), ("root", &root)] {
        notes.back(format!("  {role:<9} {}", names(der)?));
    }
    notes.back("only this TPM could open the secret wrapped for EK and attestation key (AK)");
    notes.back(format!("identity {}", enrolled["spiffe_id"].as_str().unwrap_or_default()));
    notes.allowed("device-enrol-begin");
    notes.allowed("device-enrol");
    Ok(())
}

fn names(der: &[u8]) -> Result<String, Fault> {
    let (_, certificate) = X509Certificate::from_der(der)?;
    let subject = certificate.subject().to_string();
    let subject = if subject.is_empty() { "(named by its extension)".into() } else { subject };
    Ok(format!("{subject} ← {}", certificate.issuer()))
}

pub(super) async fn used_ticket(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let bob = stage.house.another_station().await?;
    notes.did("signet enrol   (second workstation, the same ticket again)");
    let ran = stage.house.enrol(&bob, stage.house.authority.first_ticket()).await?;
    expect("exit code", ran.code, Some(1))?;
    let (code, message) = ran.error().ok_or("no error was printed")?;
    expect("code, coarse for a stranger", code.as_str(), "denied")?;
    notes.back(message);
    notes.refused("device-enrol-begin", "ticket-invalid");
    let ticket = stage.house.authority.device_ticket("bob", "LT-4712")?;
    notes.did("signet-authority ticket device --operator bob | signet enrol");
    let ran = stage.house.enrol(&bob, &ticket).await?;
    expect("exit code", ran.code, Some(0))?;
    notes.back("with a ticket of his own bob's workstation is enrolled");
    notes.allowed("device-enrol");
    stage.bob = Some(bob);
    Ok(())
}

pub(super) async fn key(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    let station = &stage.house.alice;
    notes.did("signet key add --name blue   (finger on the key)");
    station.put_finger()?;
    let ran = station.signet(&["--json", "key", "add", "--name", "blue"]).await?;
    if ran.code != Some(0) {
        return Err(ran.stderr.into());
    }
    let added = ran.json();
    let model = added["aaguid"].as_str().unwrap_or_default();
    let digits: String = model.chars().filter(|character| *character != '-').collect();
    let expected: String = Firmware::OpenSk.aaguid().iter().map(|b| format!("{b:02x}")).collect();
    expect("model", digits, expected)?;
    expect("attestation", &added["attestation"], "packed")?;
    let credential = added["credential_id"].as_str().unwrap_or_default();
    notes.back(format!("model (AAGUID) {model}, which the authority's settings name"));
    notes.back("attestation packed: signed by the maker's certificate");
    notes.back(format!("credential {}…", credential.get(..24).unwrap_or(credential)));
    notes.allowed("key-enrol");
    Ok(())
}
