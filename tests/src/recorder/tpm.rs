//! What the TPM says, mixed, forged and measured against what the verifier knows.

use signet_evidence::header::{SentLog, WithheldLog};
use signet_evidence::tpm::{Attested, CertifyInfo, Name, ObjectAttributes, TpmsAttest, TpmtPublic};
use signet_evidence::{CertificateChain, TpmEvidence};

use super::edit::{edit_map, edit_public};
use super::{Parts, Recorder, with_quote};
use crate::attester::{Fault, TestCa};
use crate::world::Change;

/// The event log of a machine in a cloud, with a quote that is another TPM's.
const EVENT_LOG: &[u8] = include_bytes!("../../../fixtures/published/eventlogs/gce-cos-85.bin");

impl Recorder {
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
            ("authenticator-status", Change::ModelReported, "protocol 2.4 step 11"),
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

    /// Event logs of other machines, and none: the PCRs of this TPM confirm nothing of them.
    pub(super) async fn boot_logs(&mut self) -> Result<(), Fault> {
        let whole = |log: &[u8]| Some(SentLog::Whole(log.to_vec()));
        let withheld = |why| Some(SentLog::Withheld(why));
        for (code, name, log, comment) in [
            (
                "boot-log-missing",
                "no-log",
                None,
                "a genuine quote, and nothing said of an event log",
            ),
            (
                "boot-log-missing",
                "log-unreadable",
                withheld(WithheldLog::Unreadable),
                "the host says that it cannot read its event log",
            ),
            (
                "boot-log-missing",
                "known-log-is-not",
                Some(SentLog::Known([9; 32])),
                "the digest of an event log that was never sent",
            ),
            (
                "boot-log-too-long",
                "log-withheld",
                withheld(WithheldLog::TooLong),
                "the host says that its event log is too long",
            ),
            (
                "boot-log-truncated",
                "last-byte-missing",
                whole(EVENT_LOG.split_last().map_or(&[], |(_, rest)| rest)),
                "a published event log without its last byte",
            ),
            ("boot-log-malformed", "no-log-at-all", whole(&[0xff; 512]), "bytes that are no log"),
            (
                "boot-log-mismatch",
                "log-of-another-machine",
                whole(EVENT_LOG),
                "the event log of another machine",
            ),
        ] {
            let parts = self.session().await?;
            let parts = Parts { tpm: TpmEvidence { event_log: log, ..parts.tpm.clone() }, ..parts };
            let bytes = self.seal(&parts).await?;
            let mut fixture = self.fixture(code, name, "protocol 2.4 step 8", comment, bytes);
            fixture.with = vec![Change::MachinesJudged];
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
}
