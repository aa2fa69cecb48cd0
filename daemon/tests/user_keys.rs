//! User keys on a real software TPM: the PIN that the TPM checks and counts, and the authorisation
//! that serves once.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use signet_daemon::tpm::{
    Health, PinValue, ReleaseRequest, Releaser, Tpm, TpmConfig, TpmError, UserKey,
};
use signet_evidence::binding::sha256;
use signet_evidence::tpm::{
    Attested, EccCurve, EccParameters, FINGERPRINT_POLICY_REF, HashAlgorithm, Name,
    ObjectAttributes, PublicParameters, Scheme, Symmetric, TpmsAttest, TpmtPublic, TpmtSignature,
    policy_auth_value, policy_signed,
};
use signet_tests::swtpm::Swtpm;

const NONCE: [u8; 32] = [0x11; 32];
const PIN: &str = "271828";

fn start(swtpm: &Swtpm) -> Tpm {
    Tpm::start(TpmConfig::new(swtpm.tcti(), [0x5a; 32])).unwrap()
}

fn pin(text: &str) -> PinValue {
    PinValue::of(text)
}

/// Checks a `TPMT_SIGNATURE` over a message by the key with this public area.
fn assert_signed(public: &[u8], message: &[u8], signature: &[u8]) {
    let TpmtSignature::Ecdsa { hash, r_s } = TpmtSignature::parse(signature).unwrap() else {
        panic!("not an ECDSA signature");
    };
    assert_eq!(hash, HashAlgorithm::Sha256);
    let point = TpmtPublic::parse(public).unwrap().ecc().unwrap().uncompressed_point();
    UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(message, &r_s)
        .unwrap();
}

fn assert_nothing_left(swtpm: &Swtpm) {
    for kind in ["handles-loaded-session", "handles-saved-session"] {
        let output = swtpm.run_tool("tpm2_getcap", &[kind]).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{kind}");
    }
    let output = swtpm.run_tool("tpm2_getcap", &["handles-transient"]).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1, "only the AK");
}

/// Attributes and policy are those that a verifier derives the method from, and the AK says so.
async fn assert_certified(
    tpm: &Tpm,
    made: &signet_daemon::tpm::CertifiedUserKey,
    policy: [u8; 32],
) {
    let public = TpmtPublic::parse(&made.key.public).unwrap();
    let expected = ObjectAttributes::FIXED_TPM.bits()
        | ObjectAttributes::FIXED_PARENT.bits()
        | ObjectAttributes::SENSITIVE_DATA_ORIGIN.bits()
        | ObjectAttributes::SIGN.bits();
    assert_eq!(public.attributes.bits(), expected);
    assert_eq!(public.auth_policy, policy);
    let attest = TpmsAttest::parse(&made.attest).unwrap();
    assert_eq!(attest.extra_data, NONCE);
    let Attested::Certify(certified) = attest.attested else { panic!("not a certification") };
    assert_eq!(certified.name, Name::of(&public));
    let ak = tpm.attestation_key().await.unwrap();
    assert_signed(&ak.public, &made.attest, &made.signature);
}

#[tokio::test]
async fn a_pin_key_signs_with_its_pin_and_with_nothing_else() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let made = tpm.create_pin_key(pin(PIN), NONCE).await.unwrap();
    assert_certified(&tpm, &made, policy_auth_value()).await;
    for message in [b"one", b"two"] {
        let signature = tpm.sign_with_pin(made.key.clone(), pin(PIN), sha256(message)).await;
        assert_signed(&made.key.public, message, &signature.unwrap());
    }
    let wrong = tpm.sign_with_pin(made.key.clone(), pin("271829"), [0; 32]).await;
    assert_eq!(wrong, Err(TpmError::WrongPin { tries_left: 1 }));
    assert_eq!(tpm.lockout().await.unwrap().tries_left(), 1);
    assert_nothing_left(&swtpm);
}

#[tokio::test]
async fn long_pins_and_pins_of_any_script_work() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let long = "x".repeat(63);
    // The digest of the third ends in a zero byte, which the TPM drops.
    for text in [&long, "\u{1f512}пароль", &ending_in_zero()] {
        let made = tpm.create_pin_key(pin(text), NONCE).await.unwrap();
        let signature = tpm.sign_with_pin(made.key.clone(), pin(text), sha256(b"x")).await;
        assert_signed(&made.key.public, b"x", &signature.unwrap());
    }
    assert_nothing_left(&swtpm);
}

fn ending_in_zero() -> String {
    let digest = |text: &str| sha256(&[b"signet-tpm-pin-v1\0", text.as_bytes()].concat());
    (100_000..).map(|number| number.to_string()).find(|text| digest(text)[31] == 0).unwrap()
}

#[tokio::test]
async fn wrong_pins_are_taken_until_a_quarter_of_the_tries_is_left() {
    let swtpm = Swtpm::copy().unwrap();
    swtpm.run_tool("tpm2_dictionarylockout", &["-s", "-n", "4", "-t", "600", "-l", "600"]).unwrap();
    let tpm = start(&swtpm);
    let key = tpm.create_pin_key(pin(PIN), NONCE).await.unwrap().key;
    for tries_left in [2, 1, 0] {
        let wrong = tpm.sign_with_pin(key.clone(), pin("000000"), [0; 32]).await;
        assert_eq!(wrong, Err(TpmError::WrongPin { tries_left }));
    }
    let locked = TpmError::PinLocked { wait: std::time::Duration::from_secs(600) };
    assert!(locked.to_string().contains("10 minutes"), "{locked}");
    for text in [PIN, "000000"] {
        assert_eq!(tpm.sign_with_pin(key.clone(), pin(text), [0; 32]).await, Err(locked.clone()));
    }
    let changed = tpm.change_user_pin(key.clone(), pin(PIN), pin("314159")).await;
    assert_eq!(changed, Err(locked.clone()));
    assert_eq!(tpm.health(), (Health::Lockout, Some(locked)));
    // Keys of the machine go on working, and so do those of other programs: the TPM is not locked.
    tpm.create_tls_key().await.unwrap();
    tpm.sign_tls([0; 32]).await.unwrap();
    let lockout = tpm.lockout().await.unwrap();
    assert_eq!((lockout.locked, lockout.failures, lockout.limit), (false, 3, 4));
    // The lockout hierarchy is the owner's.
    swtpm.run_tool("tpm2_dictionarylockout", &["-c"]).unwrap();
    let signature = tpm.sign_with_pin(key.clone(), pin(PIN), sha256(b"open")).await.unwrap();
    assert_eq!(tpm.health(), (Health::Ok, None));
    assert_signed(&key.public, b"open", &signature);
}

#[tokio::test]
async fn a_changed_pin_keeps_the_key() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let key = tpm.create_pin_key(pin(PIN), NONCE).await.unwrap().key;
    let wrong = tpm.change_user_pin(key.clone(), pin("000000"), pin("314159")).await;
    assert_eq!(wrong, Err(TpmError::WrongPin { tries_left: 1 }));
    let changed = tpm.change_user_pin(key.clone(), pin(PIN), pin("314159")).await.unwrap();
    assert_eq!(changed.public, key.public);
    let signature = tpm.sign_with_pin(changed.clone(), pin("314159"), sha256(b"x")).await.unwrap();
    assert_signed(&key.public, b"x", &signature);
    let old = tpm.sign_with_pin(changed, pin(PIN), [0; 32]).await;
    assert_eq!(old, Err(TpmError::WrongPin { tries_left: 0 }));
    assert_nothing_left(&swtpm);
}

/// An authorisation key as a test may hold it.
struct Authority {
    pair: EcdsaKeyPair,
}

impl Authority {
    fn new() -> Arc<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Arc::new(Self { pair })
    }

    fn public(&self) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let attributes = ObjectAttributes::SIGN.bits() | ObjectAttributes::USER_WITH_AUTH.bits();
        let public = TpmtPublic {
            name_algorithm: HashAlgorithm::Sha256,
            attributes: ObjectAttributes::from_bits(attributes).unwrap(),
            auth_policy: Vec::new(),
            parameters: PublicParameters::Ecc(EccParameters {
                symmetric: Symmetric::Null,
                scheme: Scheme::Ecdsa(HashAlgorithm::Sha256),
                curve: EccCurve::P256,
                x: point[1..33].to_vec(),
                y: point[33..].to_vec(),
            }),
        };
        public.to_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.pair.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().try_into().unwrap()
    }

    /// Signs what `change` makes of the request.
    fn releaser(self: &Arc<Self>, change: fn(&mut ReleaseRequest)) -> Releaser {
        let authority = Arc::clone(self);
        Box::new(move |request| {
            let mut request = request.clone();
            change(&mut request);
            Some(authority.sign(&request.message().unwrap()))
        })
    }

    async fn key(&self, tpm: &Tpm) -> UserKey {
        tpm.create_released_key(self.public(), NONCE).await.unwrap().key
    }
}

#[tokio::test]
async fn a_fingerprint_key_signs_with_a_fresh_authorisation_only() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let authority = Authority::new();
    let public = authority.public();
    let made = tpm.create_released_key(public.clone(), NONCE).await.unwrap();
    let name = signet_daemon::tpm::name(&public).unwrap();
    assert_certified(&tpm, &made, policy_signed(&name, FINGERPRINT_POLICY_REF)).await;
    let sign =
        |digest, releaser| tpm.sign_released(made.key.clone(), digest, public.clone(), releaser);
    let signature = sign(sha256(b"x"), authority.releaser(|_| ())).await.unwrap();
    assert_signed(&made.key.public, b"x", &signature);

    let refused = Err(TpmError::AuthorisationRefused);
    // For another session, another digest, another key.
    let change: [fn(&mut ReleaseRequest); 3] = [
        |request| request.nonce[0] ^= 1,
        |request| request.digest[0] ^= 1,
        |request| *request.public.last_mut().unwrap() ^= 1,
    ];
    for change in change {
        assert_eq!(sign([1; 32], authority.releaser(change)).await, refused);
    }
    // By another authority, and by nobody.
    let other = Authority::new();
    assert_eq!(sign([1; 32], other.releaser(|_| ())).await, refused);
    assert_eq!(sign([1; 32], Box::new(|_| None)).await, refused);
    // By the authority of another key: its authorisation is valid, and not what this key asks for.
    let key = made.key.clone();
    let foreign = tpm.sign_released(key, [1; 32], other.public(), other.releaser(|_| ())).await;
    assert_eq!(foreign, refused);
    assert_nothing_left(&swtpm);
}

#[tokio::test]
async fn a_replayed_authorisation_is_refused_by_the_tpm() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let authority = Authority::new();
    let key = authority.key(&tpm).await;
    let seen: Arc<Mutex<Option<[u8; 64]>>> = Arc::default();
    let recorder: Releaser = {
        let (seen, authority) = (Arc::clone(&seen), Arc::clone(&authority));
        Box::new(move |request| {
            let signature = authority.sign(&request.message().unwrap());
            *seen.lock().unwrap() = Some(signature);
            Some(signature)
        })
    };
    let digest = sha256(b"approved once");
    tpm.sign_released(key.clone(), digest, authority.public(), recorder).await.unwrap();
    let signature = seen.lock().unwrap().unwrap();
    // The same authorisation for the same digest, in the next session.
    let replay = tpm
        .sign_released(key, digest, authority.public(), Box::new(move |_| Some(signature)))
        .await;
    assert_eq!(replay, Err(TpmError::AuthorisationRefused));
    assert_nothing_left(&swtpm);
}

#[tokio::test]
async fn user_keys_die_with_the_tpm_and_a_damaged_one_is_refused() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let authority = Authority::new();
    let released = authority.key(&tpm).await;
    let key = tpm.create_pin_key(pin(PIN), NONCE).await.unwrap().key;
    let lost = Err(TpmError::UserKeyLost);
    let mut damaged = key.clone();
    *damaged.private.last_mut().unwrap() ^= 1;
    assert_eq!(tpm.sign_with_pin(damaged, pin(PIN), [0; 32]).await, lost);
    let mut damaged = key.clone();
    damaged.public.truncate(20);
    assert_eq!(tpm.sign_with_pin(damaged, pin(PIN), [0; 32]).await, lost);
    swtpm.run_tool("tpm2_clear", &["-c", "p"]).unwrap();
    assert_eq!(tpm.sign_with_pin(key.clone(), pin(PIN), [0; 32]).await, lost);
    let answer =
        tpm.sign_released(released, [0; 32], authority.public(), authority.releaser(|_| ()));
    assert_eq!(answer.await, lost);
    let changed = tpm.change_user_pin(key, pin(PIN), pin("314159")).await;
    assert_eq!(changed, Err(TpmError::UserKeyLost));
}

#[tokio::test]
async fn user_keys_survive_a_restart_of_the_tpm() {
    let mut swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let authority = Authority::new();
    let released = authority.key(&tpm).await;
    let key = tpm.create_pin_key(pin(PIN), NONCE).await.unwrap().key;
    swtpm.restart().unwrap();
    let signature = tpm.sign_with_pin(key.clone(), pin(PIN), sha256(b"x")).await.unwrap();
    assert_signed(&key.public, b"x", &signature);
    let releaser = authority.releaser(|_| ());
    let signature =
        tpm.sign_released(released.clone(), sha256(b"x"), authority.public(), releaser).await;
    assert_signed(&released.public, b"x", &signature.unwrap());
}
