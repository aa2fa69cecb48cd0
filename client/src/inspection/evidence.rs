//! Presence Evidence in words.

use signet_evidence::header::{SentLog, WithheldLog};
use signet_evidence::thumbprint::hex;
use signet_evidence::tpm::{Attested, Name, TpmsAttest, TpmtPublic};
use signet_evidence::webauthn::{AttestationObject, AttestationStatement, AuthenticatorData};
use signet_evidence::{
    Assertion, Evidence, FidoAssertion, FidoRegistration, HostFacts, ObservedVerification,
    PlatformAssertion, PlatformRegistration, Registration, Statement, TpmEvidence,
};

use super::certificate;
use super::outline::{Outline, Section};
use super::rfc3339;
use crate::authority::Base64Url;

/// Everything that evidence of `size` bytes says.
pub(super) fn outline(evidence: &Evidence, size: usize) -> Outline {
    let qualifying = evidence.qualifying_data();
    let chain = evidence.certificate_chain.certificates();
    Section::default()
        .with("kind", "presence-evidence")
        .with("verified", false)
        .with("bytes", size)
        .with("statement", statement(&evidence.statement))
        .with("certificates", list(chain, |der| certificate::outline(der)))
        .maybe("assertion", evidence.assertion.as_ref().map(|part| assertion(&part.value)))
        .maybe("registration", evidence.registration.as_ref().map(|part| registration(&part.value)))
        .with("tpm", tpm(&evidence.tpm, &qualifying))
        .into()
}

fn statement(statement: &Statement) -> Section {
    let action = statement.action.as_ref().map(|action| {
        let details = action.details();
        Section::default()
            .with("names", details.actions.join(", "))
            .with("request", format!("{} {}", details.method, details.path))
            .with("at", details.locations.join(", "))
            .with("content_digest", details.content_digest.as_str())
    });
    Section::default()
        .with("purpose", statement.purpose.as_str())
        .maybe("subject", statement.subject.as_deref())
        .with("audience", statement.audience.as_str())
        .maybe("scope_asked", statement.scope.as_deref())
        .maybe("acr_asked", statement.acr.as_deref())
        .maybe("action", action)
        .maybe("session", statement.session.map(|session| session.to_string()))
        .with("device", statement.device.to_string())
        .with("issued_at_host_clock", rfc3339(statement.issued_at.0))
        .with("challenge", hex(&statement.challenge))
        .maybe("host_facts", statement.host_facts.as_ref().map(host_facts))
        .with("key_thumbprint", hex(&statement.confirmation.0))
}

fn host_facts(facts: &HostFacts) -> Section {
    Section::default()
        .maybe("fingerprint_reader", facts.driver.as_deref())
        .maybe("finger_set", facts.fingers.map(|digest| hex(&digest)))
        .with("unknown", facts.others.len())
}

fn assertion(assertion: &Assertion) -> Section {
    match assertion {
        Assertion::SecurityKey(assertion) => fido_assertion(assertion),
        Assertion::Platform(assertion) => platform_assertion(assertion),
    }
}

fn platform_assertion(assertion: &PlatformAssertion) -> Section {
    Section::default()
        .with("platform_key", hex(assertion.key.as_bytes()))
        .with("signature", hex(&assertion.signature))
}

fn fido_assertion(assertion: &FidoAssertion) -> Section {
    let observed = assertion.observed.map(|observed| match observed {
        ObservedVerification::BuiltIn => "built-in (the host says)",
        ObservedVerification::Pin => "PIN (the host says)",
        ObservedVerification::Other => "other (the host says)",
    });
    Section::default()
        .with("credential", Base64Url::encode(&assertion.credential_id))
        .with("authenticator_data", authenticator_data(&assertion.authenticator_data))
        .with("client_data", String::from_utf8_lossy(&assertion.client_data).into_owned())
        .maybe("verified_by", observed)
}

fn registration(registration: &Registration) -> Section {
    match registration {
        Registration::SecurityKey(registration) => fido_registration(registration),
        Registration::Platform(registration) => platform_registration(registration),
    }
}

fn platform_registration(registration: &PlatformRegistration) -> Section {
    let (policy, name) = match TpmtPublic::parse(&registration.public) {
        Err(error) => (format!("cannot be read: {error}"), None),
        Ok(public) => (hex(&public.auth_policy), Some(hex(Name::of(&public).as_bytes()))),
    };
    let released_by = registration.authorisation_key.as_deref().map(TpmtPublic::parse);
    Section::default()
        .maybe("platform_key", name)
        .with("auth_policy", policy)
        .maybe(
            "released_by",
            released_by.map(|public| match public {
                Err(error) => format!("cannot be read: {error}"),
                Ok(public) => hex(Name::of(&public).as_bytes()),
            }),
        )
        .with("certification_bytes", registration.certification.attest.len())
}

fn fido_registration(registration: &FidoRegistration) -> Section {
    let section = Section::default();
    let section = match AttestationObject::parse(&registration.attestation_object) {
        Err(error) => section.with("attestation", format!("cannot be read: {error}")),
        Ok(object) => {
            let format = match &object.statement {
                AttestationStatement::None => "none",
                AttestationStatement::Packed(packed) if packed.x5c.is_empty() => "packed (self)",
                AttestationStatement::Packed(_) => "packed",
                AttestationStatement::FidoU2f(_) => "fido-u2f",
                AttestationStatement::Tpm(_) => "tpm",
                AttestationStatement::AndroidKey(_) => "android-key",
                AttestationStatement::Apple(_) => "apple",
            };
            section
                .with("attestation", format)
                .with("authenticator_data", authenticator_data(&object.authenticator_data))
        }
    };
    section.with("client_data", String::from_utf8_lossy(&registration.client_data).into_owned())
}

fn authenticator_data(bytes: &[u8]) -> Outline {
    let data = match AuthenticatorData::parse(bytes) {
        Ok(data) => data,
        Err(error) => return format!("cannot be read: {error}").into(),
    };
    let credential = data.attested_credential.as_ref();
    Section::default()
        .with("user_present", data.flags.user_present())
        .with("user_verified", data.flags.user_verified())
        .with("backup_eligible", data.flags.backup_eligible())
        .with("backup_state", data.flags.backup_state())
        .with("counter", data.sign_count)
        .with("rp_id_sha256", hex(&data.rp_id_hash))
        .maybe("aaguid", credential.map(|credential| uuid(&credential.aaguid.0)))
        .maybe(
            "credential",
            credential.map(|credential| Base64Url::encode(&credential.credential_id)),
        )
        .into()
}

fn tpm(tpm: &TpmEvidence, qualifying: &[u8]) -> Section {
    let pcrs = tpm.pcrs.as_ref().map(|pcrs| {
        let values = pcrs.iter();
        Outline::Section(
            values.map(|(index, value)| (index.to_string(), hex(value).into())).collect(),
        )
    });
    Section::default()
        .with("ak_certificates", list(tpm.ak_chain.certificates(), |der| certificate::outline(der)))
        .with("quote", attest(&tpm.quote.attest, qualifying))
        .maybe(
            "certification",
            tpm.certification.as_ref().map(|key| attest(&key.signed.attest, qualifying)),
        )
        .maybe("pcrs", pcrs)
        .maybe("event_log", tpm.event_log.as_ref().map(event_log))
}

fn event_log(log: &SentLog) -> Outline {
    match log {
        SentLog::Whole(log) => format!("{} bytes", log.len()).into(),
        SentLog::Known(digest) => format!("sent before, SHA-256 {}", hex(digest)).into(),
        SentLog::Withheld(WithheldLog::Missing) => "there is none".into(),
        SentLog::Withheld(WithheldLog::TooLong) => "longer than may be sent".into(),
        SentLog::Withheld(WithheldLog::Unreadable) => "cannot be read".into(),
    }
}

fn attest(bytes: &[u8], qualifying: &[u8]) -> Outline {
    let attest = match TpmsAttest::parse(bytes) {
        Ok(attest) => attest,
        Err(error) => return format!("cannot be read: {error}").into(),
    };
    let section = Section::default()
        .with("refers_to_this_statement", attest.extra_data == qualifying)
        .with("clock_ms", attest.clock_info.clock.to_string())
        .with("reset_count", attest.clock_info.reset_count)
        .with("restart_count", attest.clock_info.restart_count)
        .with("clock_safe", attest.clock_info.safe)
        .with("firmware", format!("{:016x}", attest.firmware_version));
    match &attest.attested {
        Attested::Quote(quote) => {
            let selection = list(&quote.pcr_select, |selection| {
                let indices: Vec<String> =
                    selection.indices().map(|index| index.to_string()).collect();
                format!("{:?}: {}", selection.bank(), indices.join(" ")).into()
            });
            section.with("pcr_selection", selection).with("pcr_digest", hex(&quote.pcr_digest))
        }
        Attested::Certify(certify) => section.with("key_name", hex(certify.name.as_bytes())),
    }
    .into()
}

fn list<T>(items: &[T], show: impl Fn(&T) -> Outline) -> Outline {
    Outline::List(items.iter().map(show).collect())
}

/// 8-4-4-4-12 hex digits.
fn uuid(bytes: &[u8; 16]) -> String {
    let digits = hex(bytes);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_evidence::{
        CertificateChain, DeviceId, KeyThumbprint, Purpose, UnixTime, UnsignedEvidence,
        header::SignedAttest,
    };

    #[test]
    fn what_evidence_says_is_shown_and_what_cannot_be_read_is_said() {
        let said = Statement {
            challenge: vec![7; 39],
            audience: "https://authority.example".into(),
            issued_at: UnixTime(1_700_000_000),
            confirmation: KeyThumbprint([3; 32]),
            device: DeviceId::from_random(&[9; 16]).unwrap(),
            subject: Some("alice".into()),
            scope: None,
            purpose: Purpose::Session,
            acr: None,
            action: None,
            session: None,
            host_facts: None,
        };
        let chain = CertificateChain::new(vec![vec![1]]).unwrap();
        let quote = SignedAttest { attest: vec![2], signature: vec![3] };
        let tpm = TpmEvidence {
            ak_chain: chain.clone(),
            quote,
            certification: None,
            pcrs: None,
            event_log: None,
        };
        let bytes = UnsignedEvidence::new(&said.encode().unwrap(), &chain, None, None, &tpm)
            .finish([0; 64])
            .unwrap();
        let super::super::Document::Evidence { evidence, size } =
            super::super::Document::read(&bytes).unwrap()
        else {
            panic!()
        };
        let text = outline(&evidence, size).to_string();
        for line in [
            "verified: no",
            "  purpose: session",
            "  subject: alice",
            "  issued_at_host_clock: 2023-11-14T22:13:20Z",
            "  quote: cannot be read: ",
            "certificate: cannot be read",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        let encoded = Base64Url::encode(&bytes);
        assert!(super::super::Document::read(encoded.as_bytes()).is_ok());
    }

    #[test]
    fn uuid_text() {
        let bytes = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
