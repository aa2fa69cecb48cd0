//! Evidence: as the workstation makes it, and edited in every way that must be found.

use signet_evidence::cbor::{self, Value};
use signet_evidence::tpm::{Attested, CertifyInfo, Name, ObjectAttributes, TpmsAttest, TpmtPublic};
use signet_evidence::{Action, CertificateChain, FidoAssertion, Purpose, TpmEvidence};

use super::edit::{edit_map, edit_message, edit_protected, edit_public, edit_statement};
use super::{NOW, Parts, Recorder, action, with_quote};
use crate::attester::{Fault, TestCa};
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

    /// Mix and match: every part is genuine, and they do not belong together.
    pub(super) async fn quotes(&mut self) -> Result<(), Fault> {
        let one = self.session().await?;
        let two = self.session().await?;
        let renewal = self.renewal().await?;
        let step = "protocol 2.4 step 7";
        let code = "quote-challenge-mismatch";
        self.write_sealed(
            code,
            "statement-swapped",
            step,
            "the statement of another session",
            &Parts { statement: two.statement.clone(), ..one.clone() },
        )
        .await?;
        let again = self.assert(&one.statement.clone(), true).await?.encode();
        self.write_sealed(
            code,
            "assertion-made-again",
            step,
            "touched again under the same quote",
            &Parts { assertion: Some(again), ..one.clone() },
        )
        .await?;
        self.write_sealed(
            code,
            "tpm-evidence-of-another-session",
            step,
            "quote and certification of another session",
            &Parts { tpm: two.tpm.clone(), ..one.clone() },
        )
        .await?;
        self.write_sealed(
            code,
            "renewal-quote-for-a-session",
            step,
            "the quote of a renewal",
            &Parts {
                tpm: TpmEvidence {
                    certification: one.tpm.certification.clone(),
                    ..renewal.tpm.clone()
                },
                ..one.clone()
            },
        )
        .await?;
        self.write_sealed(
            code,
            "assertion-stripped",
            step,
            "the touch was taken out",
            &Parts { assertion: None, ..one.clone() },
        )
        .await?;
        let hint = edit_map(one.assertion.as_deref().ok_or("assertion")?, 5, 2.into())?;
        self.write_sealed(
            code,
            "verification-hint-edited",
            step,
            "observed verification changed from built-in to PIN",
            &Parts { assertion: Some(hint), ..one.clone() },
        )
        .await?;

        let mut pcrs = one.tpm.pcrs.clone().ok_or("pcrs")?;
        if let Some(value) = pcrs.get_mut(&7) {
            value[0] ^= 1;
        }
        self.write_sealed(
            "pcr-digest-mismatch",
            "pcr-value-edited",
            "protocol 2.4 step 8",
            "one bit of PCR 7",
            &Parts { tpm: TpmEvidence { pcrs: Some(pcrs), ..one.tpm.clone() }, ..one.clone() },
        )
        .await?;
        let tpm = self
            .attester
            .tpm_evidence(
                &self.ak_certificate,
                &one.statement,
                one.assertion.as_deref(),
                None,
                true,
                &[0],
            )
            .await?;
        self.write_sealed(
            "pcr-selection-insufficient",
            "pcr-0-only",
            "protocol 2.4 step 8",
            "a genuine quote of PCR 0 alone",
            &Parts { tpm, ..one.clone() },
        )
        .await?;
        let certification = one.tpm.certification.clone().ok_or("certification")?;
        self.write_sealed(
            "quote-type-wrong",
            "certification-as-quote",
            step,
            "the certification in the place of the quote",
            &with_quote(&one, certification.signed),
        )
        .await?;
        let mut quote = one.tpm.quote.clone();
        quote.signature.truncate(40);
        self.write_sealed(
            "quote-malformed",
            "signature-truncated",
            step,
            "TPMT_SIGNATURE cut after 40 bytes",
            &with_quote(&one, quote),
        )
        .await?;
        let mut quote = one.tpm.quote.clone();
        let last = quote.attest.len() - 1;
        quote.attest[last] ^= 1;
        self.write_sealed(
            "quote-signature-invalid",
            "attest-edited",
            step,
            "one bit of the quoted digest",
            &with_quote(&one, quote),
        )
        .await?;
        let other = TestCa::generate("Another AK CA")?;
        let chain =
            CertificateChain::new(vec![other.attestation_key(&self.world.ak.0)?]).ok_or("chain")?;
        self.write_sealed(
            "ak-certificate-untrusted",
            "another-ca",
            step,
            "the AK certified by another CA",
            &Parts { tpm: TpmEvidence { ak_chain: chain, ..one.tpm.clone() }, ..one.clone() },
        )
        .await?;
        let chain = CertificateChain::new(vec![self.peer.clone()]).ok_or("chain")?;
        self.write_sealed(
            "ak-certificate-untrusted",
            "tls-certificate-as-ak",
            step,
            "the device's TLS certificate posing as the AK's",
            &Parts { tpm: TpmEvidence { ak_chain: chain, ..one.tpm.clone() }, ..one.clone() },
        )
        .await
    }

    /// What a key outside any TPM can sign.
    pub(super) async fn forged_by_software(&mut self) -> Result<(), Fault> {
        let genuine = self.session().await?;
        let step = "protocol 2.4 step 7";
        let forged = self.sign_in_software(&genuine.tpm.quote.attest)?;
        self.write_sealed(
            "quote-signature-invalid",
            "signed-by-another-key",
            step,
            "a TPMS_ATTEST signed by a key that is not the AK",
            &with_quote(&genuine, forged.clone()),
        )
        .await?;
        let software = self.ca.attestation_key(&self.world.software_ak.0)?;
        let chain = CertificateChain::new(vec![software]).ok_or("chain")?;
        let posing = Parts {
            tpm: TpmEvidence { ak_chain: chain, quote: forged, ..genuine.tpm.clone() },
            ..genuine.clone()
        };
        self.write_sealed(
            "ak-mismatch",
            "another-certified-ak",
            step,
            "the AK of another machine",
            &posing,
        )
        .await?;
        // An unrestricted key that got an AK certificate signs whatever it is given.
        let mut magic = genuine.tpm.quote.attest.clone();
        magic[0] ^= 1;
        let quote = self.sign_in_software(&magic)?;
        let comment = "one bit of the magic, signed by an unrestricted key";
        let parts = with_quote(&posing, quote);
        self.write_software_ak("quote-magic-wrong", "magic-edited", comment, &parts).await?;
        let certification = genuine.tpm.certification.clone().ok_or("certification")?;
        let mut public = TpmtPublic::parse(&certification.public)?;
        let fixed_tpm = 1 << 1;
        public.attributes = ObjectAttributes::from_bits(public.attributes.bits() & !fixed_tpm)?;
        let mut attest = TpmsAttest::parse(&certification.signed.attest)?;
        let name = Name::of(&public);
        attest.attested =
            Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name });
        let mut movable = certification;
        movable.signed = self.sign_in_software(&attest.to_bytes())?;
        movable.public = public.to_bytes();
        let tpm = TpmEvidence { certification: Some(movable), ..posing.tpm.clone() };
        let comment = "a certified TLS key without fixedTPM";
        let parts = Parts { tpm, ..posing };
        self.write_software_ak("tls-key-attributes", "key-that-can-leave", comment, &parts).await
    }

    async fn write_software_ak(
        &self,
        code: &str,
        name: &str,
        comment: &str,
        parts: &Parts,
    ) -> Result<(), Fault> {
        let bytes = self.seal(parts).await?;
        let mut fixture = self.fixture(code, name, "protocol 4.1", comment, bytes);
        fixture.with = vec![Change::SoftwareAk];
        Ok(fixture.write()?)
    }

    pub(super) async fn state(&mut self) -> Result<(), Fault> {
        let session = self.session().await?;
        let sealed = self.seal(&session).await?;
        for (code, change, spec) in [
            ("boot-policy-refused", Change::PcrsDrifted, "protocol 2.4 step 8"),
            ("tpm-clock-regressed", Change::ClockAhead, "protocol 2.4 step 9"),
            ("credential-unknown", Change::CredentialUnknown, "protocol 2.4 step 11"),
            ("credential-revoked", Change::CredentialRevoked, "protocol 2.4 step 11"),
            ("counter-regressed", Change::CounterAhead, "WebAuthn L3 7.2 step 22"),
        ] {
            let mut fixture = self.fixture(
                code,
                "genuine",
                spec,
                "genuine evidence against what the verifier knows",
                sealed.clone(),
            );
            fixture.with = vec![change];
            fixture.write()?;
        }
        let mut fixture = self.fixture(
            "challenge-replayed",
            "session-sent-twice",
            "protocol 2.4 step 13",
            "genuine evidence, the second time",
            sealed,
        );
        fixture.with = vec![Change::ChallengeConsumed];
        fixture.write()?;
        let renewal = self.renewal().await?;
        let sealed = self.seal(&renewal).await?;
        for (code, change) in [
            ("tpm-rebooted", Change::SessionRebooted),
            ("session-ended", Change::SessionEnded),
            ("presence-expired", Change::PresenceExpired),
        ] {
            let mut fixture = self.fixture(
                code,
                "renewal",
                "protocol 3.2",
                "a genuine renewal of a session that is over",
                sealed.clone(),
            );
            fixture.with = vec![change];
            fixture.write()?;
        }
        Ok(())
    }

    pub(super) async fn certifications(&mut self) -> Result<(), Fault> {
        let one = self.session().await?;
        let two = self.session().await?;
        let step = "protocol 2.4 step 10";
        let certification = one.tpm.certification.clone().ok_or("certification")?;
        let with = |certification: Option<_>| Parts {
            tpm: TpmEvidence { certification, ..one.tpm.clone() },
            ..one.clone()
        };
        self.write_sealed(
            "certification-missing",
            "certification-stripped",
            step,
            "no certification at session start",
            &with(None),
        )
        .await?;
        self.write_sealed(
            "certification-challenge-mismatch",
            "certification-of-another-session",
            step,
            "genuine, over another statement",
            &with(two.tpm.certification.clone()),
        )
        .await?;
        let mut edited = certification.clone();
        edited.signed = one.tpm.quote.clone();
        self.write_sealed(
            "certification-malformed",
            "quote-as-certification",
            step,
            "the quote in the place of the certification",
            &with(Some(edited)),
        )
        .await?;
        let mut edited = certification.clone();
        edited.signed = self.sign_in_software(&certification.signed.attest)?;
        self.write_sealed(
            "certification-signature-invalid",
            "signed-by-another-key",
            step,
            "signed by a key that is not the AK",
            &with(Some(edited)),
        )
        .await?;
        let mut edited = certification.clone();
        edited.public = edit_public(&certification.public)?;
        self.write_sealed(
            "certification-key-mismatch",
            "public-area-of-another-key",
            step,
            "the public area of another key",
            &with(Some(edited)),
        )
        .await
    }

    pub(super) async fn assertions(&mut self) -> Result<(), Fault> {
        let step = "protocol 2.4 step 11";
        let statement = self.statement(Purpose::Session)?.encode()?;
        let none = self.parts(statement, None, true).await?;
        self.write_sealed(
            "assertion-missing",
            "session-without-touch",
            step,
            "consistent evidence in which nobody touched a key",
            &none,
        )
        .await?;
        let statement = self.statement(Purpose::Action)?.encode()?;
        let none = self.parts(statement, None, false).await?;
        self.write_sealed(
            "assertion-missing",
            "action-without-touch",
            step,
            "an action that nobody approved",
            &none,
        )
        .await?;
        let other = self.statement(Purpose::Session)?.encode()?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let moved = self.assert(&other, true).await?;
        let parts = self.parts(statement, Some(&moved), true).await?;
        self.write_sealed(
            "assertion-challenge-mismatch",
            "assertion-from-another-statement",
            step,
            "a genuine touch for another request, quoted with this one",
            &parts,
        )
        .await?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let touched = self.assert(&statement, false).await?;
        let parts = self.parts(statement, Some(&touched), true).await?;
        self.write_sealed(
            "uv-missing",
            "touch-only",
            "WebAuthn L3 7.2 step 17",
            "a genuine touch without user verification",
            &parts,
        )
        .await?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let credential = self.world.credential.0.clone();
        let phished =
            self.attester.assert(&statement, &credential, "https://evil.example", true).await?;
        let parts = self.parts(statement, Some(&phished), true).await?;
        self.write_sealed(
            "assertion-client-data-wrong",
            "another-origin",
            "WebAuthn L3 7.2 step 12",
            "a genuine touch under another origin",
            &parts,
        )
        .await
    }

    /// Edits of a genuine assertion, quoted consistently: what a daemon under attack could send.
    pub(super) async fn edited_assertions(&mut self) -> Result<(), Fault> {
        type Edit = fn(&mut FidoAssertion);
        let edits: [(&str, &str, &str, &str, Edit); 6] = [
            (
                "rp-id-mismatch",
                "rp-id-hash-edited",
                "WebAuthn L3 7.2 step 15",
                "one bit of rpIdHash",
                |a| a.authenticator_data[0] ^= 1,
            ),
            ("up-missing", "up-flag-cleared", "WebAuthn L3 7.2 step 16", "UP cleared", |a| {
                a.authenticator_data[32] &= !1
            }),
            ("uv-missing", "uv-flag-cleared", "WebAuthn L3 7.2 step 17", "UV cleared", |a| {
                a.authenticator_data[32] &= !4
            }),
            ("backup-eligible", "be-flag-set", "WebAuthn L3 7.2 step 18", "BE set", |a| {
                a.authenticator_data[32] |= 8
            }),
            (
                "assertion-malformed",
                "authenticator-data-truncated",
                "WebAuthn L3 6.1",
                "authenticator data of 36 bytes",
                |a| a.authenticator_data.truncate(36),
            ),
            (
                "assertion-signature-invalid",
                "signature-edited",
                "WebAuthn L3 7.2 step 21",
                "the last bit of the signature",
                |a| {
                    if let Some(byte) = a.signature.last_mut() {
                        *byte ^= 1;
                    }
                },
            ),
        ];
        for (code, name, spec, comment, edit) in edits {
            let statement = self.statement(Purpose::Session)?.encode()?;
            let mut assertion = self.assert(&statement, true).await?;
            edit(&mut assertion);
            let parts = self.parts(statement, Some(&assertion), true).await?;
            self.write_sealed(code, name, spec, comment, &parts).await?;
        }
        let statement = self.statement(Purpose::Session)?.encode()?;
        let mut assertion = self.assert(&statement, true).await?;
        assertion.credential_id[0] ^= 1;
        let parts = self.parts(statement, Some(&assertion), true).await?;
        self.write_sealed(
            "credential-unknown",
            "credential-id-edited",
            "protocol 2.4 step 11",
            "an id that nobody registered",
            &parts,
        )
        .await
    }
}
