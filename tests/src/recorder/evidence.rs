//! Evidence: as the workstation makes it, and edited in every way that must be found.

use signet_evidence::cbor::{self, Value};
use signet_evidence::{Action, Purpose};

use super::edit::{edit_message, edit_protected, edit_statement};
use super::{NOW, Parts, Recorder, action};
use crate::attester::Fault;
use crate::fixture::Kind;
use crate::world::Change;

impl Recorder {
    pub(super) async fn accepted(&mut self) -> Result<(), Fault> {
        let session = self.session().await?;
        self.write_sealed(
            "accepted",
            "session",
            "protocol 2.4",
            "as the workstation makes it",
            &session,
        )
        .await?;
        let renewal = self.renewal().await?;
        self.write_sealed(
            "accepted",
            "renewal",
            "protocol 3.2",
            "as the workstation makes it",
            &renewal,
        )
        .await?;
        let statement = self.statement(Purpose::Action)?.encode()?;
        let assertion = self.assert(&statement, true).await?;
        let action = self.parts(statement, Some(&assertion), false).await?;
        let action = self.seal(&action).await?;
        let (spec, comment) = ("protocol 3.1", "as the workstation makes it");
        self.write("accepted", "action", spec, comment, action.clone())?;
        let mut fixture = self.fixture(
            "policy-denied",
            "approved-but-not-permitted",
            "protocol 2.4 step 12",
            "a genuine approval of what policy lets pass nowhere",
            action,
        );
        fixture.with = vec![Change::ViewsOnly];
        fixture.write()?;
        let statement = self.statement(Purpose::Workload)?.encode()?;
        let workload = self.parts(statement, None, true).await?;
        self.write_sealed(
            "accepted",
            "workload",
            "protocol 3.2",
            "as the workstation makes it",
            &workload,
        )
        .await?;
        let registration = self.registration().await?;
        let bytes = self.seal(&registration).await?;
        let mut fixture = self.fixture(
            "accepted",
            "registration",
            "protocol 4.2",
            "as the workstation makes it",
            bytes,
        );
        fixture.kind = Kind::Registration;
        Ok(fixture.write()?)
    }

    pub(super) async fn shape_and_challenge(&mut self) -> Result<(), Fault> {
        let genuine = self.session().await?;
        let sealed = self.seal(&genuine).await?;
        let header =
            edit_message(&sealed, |items| items[1] = cbor::map(vec![(4, Value::Bytes(vec![1]))]))?;
        self.write(
            "evidence-malformed",
            "unprotected-header-added",
            "protocol 2.1",
            "an unprotected kid was added",
            header,
        )?;
        let mut trailing = sealed.clone();
        trailing.push(0);
        self.write(
            "evidence-malformed",
            "trailing-byte",
            "protocol 2.1",
            "one byte after the message",
            trailing,
        )?;
        let long = edit_protected(&sealed, |map| {
            map.retain(|(label, _)| *label != Value::from(33));
            let certificates = vec![Value::Bytes(vec![1; 3000]); 4];
            map.push((33.into(), Value::Array(certificates)));
        })?;
        self.write(
            "evidence-too-large",
            "long-certificate-chain",
            "protocol 2.1",
            "12 KB of certificates and no event log",
            long,
        )?;

        let profile = edit_statement(
            &genuine.statement,
            265,
            "urn:uuid:00000000-0000-0000-0000-000000000000".into(),
        )?;
        let bytes = self.seal_with_statement(&genuine, profile).await?;
        self.write(
            "profile-wrong",
            "other-profile",
            "protocol 2.4 step 2",
            "eat_profile of something else",
            bytes,
        )?;
        let mut statement = self.statement(Purpose::Session)?;
        statement.audience = "https://other.example".into();
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "audience-wrong",
            "other-authority",
            "protocol 2.4 step 2",
            "made for another authority",
            &parts,
        )
        .await?;
        let registration = self.registration().await?;
        self.write_sealed(
            "purpose-wrong",
            "key-enrolment-for-a-token",
            "protocol 2.4 step 2",
            "evidence of a new key where a token is asked for",
            &registration,
        )
        .await?;
        let purpose = edit_statement(&genuine.statement, -70001, 9.into())?;
        let bytes = self.seal_with_statement(&genuine, purpose).await?;
        self.write("purpose-wrong", "unknown-purpose", "protocol 2.4 step 2", "purpose 9", bytes)?;

        let mut statement = self.statement(Purpose::Session)?;
        statement.challenge[20] ^= 1;
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "challenge-invalid",
            "challenge-edited",
            "protocol 2.3",
            "one bit of the random part",
            &parts,
        )
        .await?;
        let mut statement = self.statement(Purpose::Session)?;
        statement.challenge = self.statement(Purpose::Renew)?.challenge;
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "challenge-invalid",
            "challenge-of-another-purpose",
            "protocol 2.3",
            "a renewal's challenge in a session",
            &parts,
        )
        .await?;
        let mut statement = self.statement(Purpose::Action)?;
        let challenge = statement.challenge.clone();
        let mut details = action()?.details().clone();
        details.path = "/v1/routes/ledger".into();
        statement.action = Some(Action::new(details)?);
        statement.challenge = challenge;
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "challenge-invalid",
            "challenge-of-another-action",
            "protocol 2.3",
            "another request than the challenge was issued for",
            &parts,
        )
        .await?;
        let mut fixture = self.fixture(
            "challenge-invalid",
            "sent-by-another-machine",
            "protocol 2.3",
            "genuine evidence over the connection of another machine",
            sealed.clone(),
        );
        fixture.peer = Some("other-device".into());
        fixture.write()?;
        let mut fixture = self.fixture(
            "challenge-expired",
            "two-minutes-late",
            "protocol 2.3",
            "genuine evidence, 120 seconds later",
            sealed,
        );
        fixture.now = NOW + 120;
        Ok(fixture.write()?)
    }

    pub(super) async fn certificates(&mut self) -> Result<(), Fault> {
        let genuine = self.session().await?;
        let with_leaf = |name: &str| -> Result<Parts, Fault> {
            let leaf = self.world.peers.get(name).ok_or("peer")?.0.clone();
            Ok(Parts { chain: vec![leaf], ..genuine.clone() })
        };
        self.write_sealed(
            "certificate-mismatch",
            "certificate-of-another-device",
            "protocol 2.4 step 4",
            "x5chain names another device",
            &with_leaf("other-device")?,
        )
        .await?;
        let statement =
            edit_statement(&genuine.statement, 8, cbor::map(vec![(5, Value::Bytes(vec![9; 32]))]))?;
        let bytes = self.seal_with_statement(&genuine, statement).await?;
        self.write(
            "key-thumbprint-mismatch",
            "cnf-of-another-key",
            "protocol 2.2",
            "cnf.ckt of another key",
            bytes,
        )?;

        // A certificate of another CA: both in the evidence and on the connection.
        let other = self.world.peers.get("other-ca").ok_or("peer")?.0.clone();
        let kept = std::mem::replace(&mut self.peer, other);
        let foreign = self.session().await?;
        self.peer = kept;
        let bytes = self.seal(&foreign).await?;
        let mut fixture = self.fixture(
            "device-certificate-untrusted",
            "another-ca",
            "protocol 2.4 step 4",
            "device certificate of another CA",
            bytes,
        );
        fixture.peer = Some("other-ca".into());
        fixture.write()?;

        let sealed = self.seal(&genuine).await?;
        let edited = edit_message(&sealed, |items| {
            let payload = items[2].as_bytes().cloned().unwrap_or_default();
            let payload = edit_statement(&payload, 9, "mesh.everything".into()).unwrap_or_default();
            items[2] = Value::Bytes(payload);
        })?;
        self.write(
            "evidence-signature-invalid",
            "payload-edited",
            "protocol 2.4 step 5",
            "a wider scope was written in",
            edited,
        )?;
        let edited = edit_message(&sealed, |items| {
            let mut signature = items[3].as_bytes().cloned().unwrap_or_default();
            signature[63] ^= 1;
            items[3] = Value::Bytes(signature);
        })?;
        self.write(
            "evidence-signature-invalid",
            "signature-edited",
            "protocol 2.4 step 5",
            "one bit of the outer signature",
            edited,
        )?;
        for (change, code) in
            [(Change::DeviceUnknown, "device-unknown"), (Change::DeviceRevoked, "device-revoked")]
        {
            let mut fixture = self.fixture(
                code,
                "genuine",
                "protocol 2.4 step 6",
                "genuine evidence of a machine that may not speak",
                sealed.clone(),
            );
            fixture.with = vec![change];
            fixture.write()?;
        }
        Ok(())
    }
}
