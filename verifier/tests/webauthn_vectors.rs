//! The fifteen credential pairs of WebAuthn Level 3, judged by us and by webauthn-rs-core.
//!
//! The table says what each answers, and so where we are stricter: no JSON beyond the four members,
//! no backup-eligible credentials, no algorithm but ES256. A pair whose attestation is not believed is
//! an exception of `fixtures/published/exceptions.txt`, and one that passes may not be.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

mod exceptions;

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exceptions::Set;
use serde_json::{Value, json};
use signet_evidence::binding::sha256;
use signet_evidence::webauthn::{AuthenticatorData, Ceremony, ClientData, CoseKey};
use signet_evidence::{FidoAssertion, FidoRegistration, UnixTime, cbor};
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::webauthn::{
    AssertionError, ExpectedAssertion, ExpectedRegistration, UserVerification, VerifiedAssertion,
    VerifiedAttestation, VerifiedRegistration,
};
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{AuthenticationState, Credential, RegistrationState};

const VECTORS: &str = include_str!("../../fixtures/published/webauthn/webauthn-l3-vectors.json");
/// 2026-01-01.
const NOW: UnixTime = UnixTime(1_767_225_600);
const RP_ID: &str = "example.org";
const ORIGIN: &str = "https://example.org";

/// One pair, and what each of us answers.
struct Row {
    pair: &'static str,
    /// [`VerifiedAttestation`]: the attestation alone.
    attestation: &'static str,
    /// [`VerifiedRegistration`]: with client data and flags.
    registration: &'static str,
    /// [`VerifiedAssertion`]; `-` where there is no ES256 key to check with.
    assertion: &'static str,
    /// webauthn-rs-core, registration.
    their_registration: &'static str,
    /// webauthn-rs-core, authentication; `-` where it did not register.
    their_assertion: &'static str,
}

const ROWS: [Row; 15] = [
    Row {
        pair: "none-es256",
        attestation: "None",
        registration: "ClientData(ExtraMembers)",
        assertion: "BackupEligible",
        their_registration: "sound",
        their_assertion: "sound",
    },
    Row {
        pair: "packed-self-es256",
        attestation: "PackedSelf",
        registration: "ClientData(ExtraMembers)",
        assertion: "ClientData(ExtraMembers)",
        their_registration: "sound",
        their_assertion: "sound",
    },
    Row {
        pair: "none-es256-crossOrigin",
        attestation: "None",
        registration: "ClientData(CrossOrigin)",
        assertion: "ClientData(CrossOrigin)",
        their_registration: "CredentialCrossOrigin",
        their_assertion: "-",
    },
    Row {
        pair: "none-es256-topOrigin",
        attestation: "None",
        registration: "ClientData(CrossOrigin)",
        assertion: "ClientData(CrossOrigin)",
        their_registration: "CredentialCrossOrigin",
        their_assertion: "-",
    },
    Row {
        pair: "none-es256-long-credential-id",
        attestation: "None",
        registration: "BackupEligible",
        assertion: "BackupEligible",
        their_registration: "sound",
        their_assertion: "sound",
    },
    Row {
        pair: "packed-es256",
        attestation: "Packed",
        registration: "ClientData(ExtraMembers)",
        assertion: "ClientData(ExtraMembers)",
        their_registration: "sound",
        their_assertion: "sound",
    },
    Row {
        pair: "packed-es384",
        attestation: "AuthenticatorData(PublicKey(UnsupportedAlgorithm(-35)))",
        registration: "Attestation(AuthenticatorData(PublicKey(UnsupportedAlgorithm(-35))))",
        assertion: "-",
        their_registration: "sound",
        their_assertion: "sound",
    },
    Row {
        pair: "packed-es512",
        attestation: "AuthenticatorData(PublicKey(UnsupportedAlgorithm(-36)))",
        registration: "ClientData(ExtraMembers)",
        assertion: "-",
        their_registration: "sound",
        their_assertion: "AuthenticationFailure",
    },
    Row {
        pair: "packed-rs256",
        attestation: "AuthenticatorData(PublicKey(UnsupportedAlgorithm(-257)))",
        registration: "Attestation(AuthenticatorData(PublicKey(UnsupportedAlgorithm(-257))))",
        assertion: "-",
        their_registration: "COSEKeyRSANEInvalid",
        their_assertion: "-",
    },
    Row {
        pair: "packed-eddsa",
        attestation: "AuthenticatorData(PublicKey(UnsupportedAlgorithm(-8)))",
        registration: "ClientData(ExtraMembers)",
        assertion: "-",
        their_registration: "SshPublicKeyEDUnsupported",
        their_assertion: "-",
    },
    Row {
        pair: "packed-ed448",
        attestation: "AuthenticatorData(PublicKey(UnsupportedAlgorithm(-53)))",
        registration: "ClientData(ExtraMembers)",
        assertion: "-",
        their_registration: "COSEKeyInvalidAlgorithm",
        their_assertion: "-",
    },
    Row {
        pair: "tpm-es256",
        attestation: "Tpm(Structure(Truncated { needed: 2, left: 0 }))",
        registration: "Attestation(Tpm(Structure(Truncated { needed: 2, left: 0 })))",
        assertion: "BackupEligible",
        their_registration: "COSEKeyInvalidType",
        their_assertion: "-",
    },
    Row {
        pair: "android-key-es256",
        attestation: "Platform(NotMadeToSign)",
        registration: "ClientData(ExtraMembers)",
        assertion: "ClientData(ExtraMembers)",
        their_registration: "AttestationStatementX5CInvalid",
        their_assertion: "-",
    },
    Row {
        pair: "apple-es256",
        attestation: "Apple",
        registration: "ClientData(ExtraMembers)",
        assertion: "BackupEligible",
        their_registration: "sound",
        their_assertion: "sound",
    },
    Row {
        pair: "fido-u2f-es256",
        attestation: "U2fAaguid",
        registration: "Attestation(U2fAaguid)",
        assertion: "sound",
        their_registration: "sound",
        their_assertion: "sound",
    },
];

/// Attestations that are believed.
const KINDS: [&str; 7] = ["Packed", "PackedSelf", "FidoU2f", "Tpm", "AndroidKey", "Apple", "None"];

struct Pair(Value);

impl Pair {
    fn all() -> (Vec<Self>, TrustAnchors) {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let root = unhex(&vectors["attestation_root"]["attestation_ca_cert"]);
        let pairs = vectors["vectors"].as_array().unwrap().iter().cloned().map(Self).collect();
        (pairs, TrustAnchors::from_der([root]).unwrap())
    }

    fn name(&self) -> &str {
        self.0["anchor"].as_str().unwrap().strip_prefix("sctn-test-vectors-").unwrap()
    }

    fn bytes(&self, ceremony: &str, member: &str) -> Vec<u8> {
        unhex(&self.0[ceremony][member])
    }

    fn registered(&self, member: &str) -> Vec<u8> {
        self.bytes("registration", member)
    }

    fn asserted(&self, member: &str) -> Vec<u8> {
        self.bytes("authentication", member)
    }

    /// The credential's key, whatever the attestation; `None` unless it is ES256.
    fn key(&self) -> Option<CoseKey> {
        let object = cbor::decode(&self.registered("attestationObject")).unwrap();
        let members = object.into_map().unwrap();
        let is_data = |key: &cbor::Value| key.as_text() == Some("authData");
        let data = members.into_iter().find(|(key, _)| is_data(key)).unwrap().1;
        let data = AuthenticatorData::parse(&data.into_bytes().unwrap()).ok()?;
        Some(data.attested_credential.unwrap().public_key)
    }

    fn attestation(&self, roots: &TrustAnchors) -> String {
        let hash = sha256(&self.registered("clientDataJSON"));
        let object = self.registered("attestationObject");
        let verified = VerifiedAttestation::verify(&object, &hash, roots, NOW);
        answer(verified.map(|verified| {
            assert_eq!(verified.aaguid().0.as_slice(), self.registered("aaguid"));
            let id = &verified.credential().credential_id;
            assert_eq!(id, &self.registered("credential_id"));
            format!("{:?}", verified.kind())
        }))
    }

    fn registration(&self, roots: &TrustAnchors) -> String {
        let registration = FidoRegistration {
            attestation_object: self.registered("attestationObject"),
            client_data: self.registered("clientDataJSON"),
        };
        let expected = ExpectedRegistration {
            challenge: &self.registered("challenge"),
            rp_id: RP_ID,
            origin: ORIGIN,
            user_verification: UserVerification::Discouraged,
        };
        let verified = VerifiedRegistration::verify(&registration, &expected, roots, NOW);
        answer(verified.map(|verified| format!("{:?}", verified.kind())))
    }

    fn assertion(&self) -> String {
        let Some(public_key) = self.key() else { return "-".to_owned() };
        let assertion = FidoAssertion {
            credential_id: self.registered("credential_id"),
            authenticator_data: self.asserted("authenticatorData"),
            client_data: self.asserted("clientDataJSON"),
            signature: self.asserted("signature"),
            observed: None,
        };
        // The signature holds, whatever we think of the rest.
        let key = P256PublicKey::from_uncompressed_point(public_key.uncompressed_point()).unwrap();
        let hash = sha256(&assertion.client_data);
        let signed = [&assertion.authenticator_data[..], &hash].concat();
        key.verify_der(&signed, &assertion.signature).unwrap();
        let challenge = self.asserted("challenge");
        answer(self.judge(&assertion, &public_key, &challenge).map(|_| "sound".to_owned()))
    }

    fn judge(
        &self,
        assertion: &FidoAssertion,
        public_key: &CoseKey,
        challenge: &[u8],
    ) -> Result<VerifiedAssertion, AssertionError> {
        VerifiedAssertion::verify(
            assertion,
            &ExpectedAssertion {
                credential_id: &self.registered("credential_id"),
                public_key,
                sign_count: 0,
                challenge,
                rp_id: RP_ID,
                origin: ORIGIN,
                user_verification: UserVerification::Discouraged,
            },
        )
    }

    fn their_credential(&self, referee: &WebauthnCore) -> Result<Credential, String> {
        let state: RegistrationState = serde_json::from_value(json!({
            "policy": "discouraged",
            "exclude_credentials": [],
            "challenge": base64url(&self.registered("challenge")),
            "credential_algorithms": ["ES256", "ES384", "ES521", "RS256", "EDDSA"],
            "require_resident_key": false,
            "authenticator_attachment": null,
            "extensions": {},
            "allow_synchronised_authenticators": true,
        }))
        .unwrap();
        let id = base64url(&self.registered("credential_id"));
        let response = serde_json::from_value(json!({
            "id": id,
            "rawId": id,
            "response": {
                "attestationObject": base64url(&self.registered("attestationObject")),
                "clientDataJSON": base64url(&self.registered("clientDataJSON")),
            },
            "type": "public-key",
        }))
        .unwrap();
        referee.register_credential(&response, &state, None).map_err(|error| format!("{error:?}"))
    }

    fn their_assertion(
        &self,
        referee: &WebauthnCore,
        credential: &Credential,
        assertion: &FidoAssertion,
        challenge: &[u8],
    ) -> String {
        let state: AuthenticationState = serde_json::from_value(json!({
            "credentials": [credential],
            "policy": "discouraged",
            "challenge": base64url(challenge),
            "appid": null,
            "allow_backup_eligible_upgrade": true,
        }))
        .unwrap();
        let id = base64url(&assertion.credential_id);
        let response = serde_json::from_value(json!({
            "id": id,
            "rawId": id,
            "response": {
                "authenticatorData": base64url(&assertion.authenticator_data),
                "clientDataJSON": base64url(&assertion.client_data),
                "signature": base64url(&assertion.signature),
                "userHandle": null,
            },
            "type": "public-key",
        }))
        .unwrap();
        let verified = referee.authenticate_credential(&response, &state);
        answer(verified.map(|_| "sound".to_owned()))
    }

    fn their_answer(&self, referee: &WebauthnCore, credential: &Credential) -> String {
        let assertion = FidoAssertion {
            credential_id: self.registered("credential_id"),
            authenticator_data: self.asserted("authenticatorData"),
            client_data: self.asserted("clientDataJSON"),
            signature: self.asserted("signature"),
            observed: None,
        };
        self.their_assertion(referee, credential, &assertion, &self.asserted("challenge"))
    }
}

fn answer<E: std::fmt::Debug>(result: Result<String, E>) -> String {
    result.unwrap_or_else(|error| format!("{error:?}"))
}

fn unhex(text: &Value) -> Vec<u8> {
    signet_evidence::thumbprint::unhex(text.as_str().unwrap()).unwrap()
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn referee() -> WebauthnCore {
    let origin = ORIGIN.parse().unwrap();
    let timeout = Duration::from_secs(60);
    WebauthnCore::new_unsafe_experts_only("test", RP_ID, vec![origin], timeout, None, None)
}

#[test]
fn each_pair_is_answered_as_the_table_says() {
    let (pairs, roots) = Pair::all();
    let referee = referee();
    assert_eq!(pairs.len(), ROWS.len());
    let mut settled = Set::of("webauthn");
    for (pair, row) in pairs.iter().zip(&ROWS) {
        assert_eq!(pair.name(), row.pair);
        let found = pair.attestation(&roots);
        let passes = KINDS.contains(&found.as_str());
        settled.judged(row.pair, passes);
        let (their_registration, their_assertion) = match pair.their_credential(&referee) {
            Ok(credential) => ("sound".to_owned(), pair.their_answer(&referee, &credential)),
            Err(error) => (error, "-".to_owned()),
        };
        let found = [
            pair.attestation(&roots),
            pair.registration(&roots),
            pair.assertion(),
            their_registration,
            their_assertion,
        ];
        let expected = [
            row.attestation,
            row.registration,
            row.assertion,
            row.their_registration,
            row.their_assertion,
        ];
        assert_eq!(found, expected, "{}", row.pair);
    }
    settled.settle();
}

/// What is changed in an assertion, and what we answer; the referee must refuse it too.
type Edit = (fn(&mut FidoAssertion), AssertionError);

/// With the published private keys, the assertions that a signetd would have made: four members,
/// not backed up. Both accept those, and both refuse what is changed in them.
#[test]
fn both_accept_what_signetd_would_make_with_these_keys() {
    let (pairs, _) = Pair::all();
    let referee = referee();
    let mut judged = 0;
    for pair in &pairs {
        let Some(public_key) = pair.key() else { continue };
        let Ok(credential) = pair.their_credential(&referee) else { continue };
        // A credential that was never eligible for backup, as signetd's are.
        let mut credential = serde_json::to_value(credential).unwrap();
        credential["backup_eligible"] = false.into();
        credential["backup_state"] = false.into();
        let credential: Credential = serde_json::from_value(credential).unwrap();
        let private = pair.registered("credential_private_key");
        let signer = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &private,
            public_key.uncompressed_point(),
        )
        .unwrap();
        let challenge = pair.asserted("challenge");
        let client_data = ClientData {
            ceremony: Ceremony::Authentication,
            challenge: &challenge,
            origin: ORIGIN,
        };
        let make = |flags: u8, client_data: &[u8]| {
            let authenticator_data =
                [&sha256(RP_ID.as_bytes())[..], &[flags], &9_u32.to_be_bytes()].concat();
            let signed = [&authenticator_data[..], &sha256(client_data)].concat();
            FidoAssertion {
                credential_id: pair.registered("credential_id"),
                signature: signer.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec(),
                authenticator_data,
                client_data: client_data.to_vec(),
                observed: None,
            }
        };
        // webauthn-rs-core will not see a credential lose its user verification.
        let sound = make(0x05, &client_data.to_json());
        pair.judge(&sound, &public_key, &challenge).unwrap();
        assert_eq!(pair.their_assertion(&referee, &credential, &sound, &challenge), "sound");
        let edits: [Edit; 5] = [
            (|made| made.authenticator_data[0] ^= 1, AssertionError::RpId),
            (|made| made.authenticator_data[36] ^= 1, AssertionError::SignatureInvalid),
            (|made| made.signature[20] ^= 1, AssertionError::SignatureInvalid),
            (|made| made.authenticator_data[32] = 0x04, AssertionError::UserPresence),
            (|made| made.client_data[45] ^= 1, AssertionError::Challenge),
        ];
        for (edit, expected) in edits {
            let mut changed = sound.clone();
            edit(&mut changed);
            let error = pair.judge(&changed, &public_key, &challenge).unwrap_err();
            assert_eq!(error, expected, "{}", pair.name());
            let theirs = pair.their_assertion(&referee, &credential, &changed, &challenge);
            assert_ne!(theirs, "sound", "{}", pair.name());
        }
        let absent = make(0x04, &client_data.to_json());
        let error = pair.judge(&absent, &public_key, &challenge).unwrap_err();
        assert_eq!(error, AssertionError::UserPresence);
        assert_ne!(pair.their_assertion(&referee, &credential, &absent, &challenge), "sound");
        judged += 1;
    }
    assert_eq!(judged, 6);
}
