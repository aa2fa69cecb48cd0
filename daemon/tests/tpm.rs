//! Every operation of the TPM actor on a real software TPM, with tpm2-tools as the second opinion.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::fs;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use signet_daemon::tpm::{
    BlobError, BoundTo, Endorsement, EndorsementKey, EndorsementKind, PcrBank, PersistentHandles,
    TlsKey, Tpm, TpmConfig, TpmError,
};
use signet_evidence::binding::sha256;
use signet_evidence::thumbprint::{hex, unhex};
use signet_tests::swtpm::{Manufacture, Swtpm};

const SALT: [u8; 32] = [0x5a; 32];
const NONCE: [u8; 32] = [0x11; 32];

fn start(swtpm: &Swtpm) -> Tpm {
    Tpm::start(TpmConfig::new(swtpm.tcti(), SALT)).unwrap()
}

fn with_key(swtpm: &Swtpm, key: &TlsKey) -> Tpm {
    let mut config = TpmConfig::new(swtpm.tcti(), SALT);
    config.tls_key = Some(key.clone());
    Tpm::start(config).unwrap()
}

/// The uncompressed point of a `TPMT_PUBLIC` of a P-256 key: its last fields are the two
/// coordinates, 32 bytes after a length of two.
fn point(public: &[u8]) -> Vec<u8> {
    let (x, y) = public[public.len() - 68..].split_at(34);
    [&[4], &x[2..], &y[2..]].concat()
}

/// r and s of a `TPMT_SIGNATURE` (ECDSA, SHA-256), padded.
fn raw_signature(signature: &[u8]) -> Vec<u8> {
    assert_eq!(signature[..4], [0, 0x18, 0, 0x0b]);
    let length = usize::from(signature[5]);
    let (r, s) = (&signature[6..6 + length], &signature[8 + length..]);
    let mut raw = vec![0; 64];
    raw[32 - r.len()..32].copy_from_slice(r);
    raw[64 - s.len()..].copy_from_slice(s);
    raw
}

fn verify(public: &[u8], message: &[u8], raw: &[u8]) {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point(public)).verify(message, raw).unwrap();
}

/// What `tpm2_makecredential` makes: magic, version, `TPM2B_ID_OBJECT`, `TPM2B_ENCRYPTED_SECRET`.
fn make_credential(swtpm: &Swtpm, ek: &[u8], name: &[u8], secret: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = u16::try_from(ek.len()).unwrap().to_be_bytes();
    let folder = swtpm.scratch();
    fs::write(folder.join("ek.pub"), [&length[..], ek].concat()).unwrap();
    fs::write(folder.join("secret"), secret).unwrap();
    let name = hex(name);
    let arguments = ["-T", "none", "-u", "ek.pub", "-n", &name, "-s", "secret", "-o", "credential"];
    swtpm.run_tool("tpm2_makecredential", &arguments).unwrap();
    let made = fs::read(folder.join("credential")).unwrap();
    assert_eq!(made[..8], [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1]);
    let end = 10 + usize::from(u16::from_be_bytes([made[8], made[9]]));
    (made[8..end].to_vec(), made[end..].to_vec())
}

/// Handles in the TPM as `tpm2_getcap` counts them.
fn loaded(swtpm: &Swtpm, kind: &str) -> usize {
    let output = swtpm.run_tool("tpm2_getcap", &[kind]).unwrap();
    String::from_utf8(output.stdout).unwrap().lines().count()
}

/// Flushes what tpm2-tools left loaded, which is everything after our first `ours` objects.
fn flush_foreign(swtpm: &Swtpm, ours: usize) {
    let output = swtpm.run_tool("tpm2_getcap", &["handles-transient"]);
    let listed = String::from_utf8(output.unwrap().stdout).unwrap();
    for line in listed.lines().skip(ours) {
        let handle = line.trim_start_matches("- ");
        swtpm.run_tool("tpm2_flushcontext", &[handle]).unwrap();
    }
}

fn assert_only_ours(swtpm: &Swtpm, objects: usize) {
    assert_eq!(loaded(swtpm, "handles-transient"), objects);
    assert_eq!(loaded(swtpm, "handles-loaded-session"), 0);
    assert_eq!(loaded(swtpm, "handles-saved-session"), 0);
}

#[tokio::test]
async fn endorsement_keys_come_with_their_certificates() {
    let swtpm = Swtpm::manufacture().unwrap();
    let tpm = start(&swtpm);
    let endorsement = tpm.endorsement().await.unwrap();
    let kinds: Vec<_> =
        endorsement.keys.iter().map(|key| (key.kind, key.certificate.is_some())).collect();
    assert_eq!(
        kinds,
        [
            (EndorsementKind::Rsa2048, true),
            (EndorsementKind::EccP384, true),
            (EndorsementKind::EccP256, false),
        ]
    );
    let ca = swtpm.ca_certificates();
    assert!(ca.root_der().unwrap().starts_with(&[0x30]));
    assert!(ca.intermediate_der().unwrap().starts_with(&[0x30]));
    for key in &endorsement.keys {
        let Some(certificate) = &key.certificate else {
            continue;
        };
        // The end of the modulus, or of the y coordinate, is in the certificate.
        let tail = &key.public[key.public.len() - 40..];
        assert!(certificate.windows(40).any(|window| window == tail));
        fs::write(swtpm.scratch().join("ek.der"), certificate).unwrap();
        let pem = swtpm
            .run_tool("openssl", &["x509", "-inform", "der", "-in", "ek.der", "-out", "ek.pem"]);
        pem.unwrap();
        let (root, middle) = (ca.root.to_str().unwrap(), ca.intermediate.to_str().unwrap());
        let arguments =
            ["verify", "-ignore_critical", "-CAfile", root, "-untrusted", middle, "ek.pem"];
        swtpm.run_tool("openssl", &arguments).unwrap();
    }
    assert_eq!(endorsement.certified().unwrap().kind, EndorsementKind::Rsa2048);
    assert_eq!(endorsement.chain, Vec::<Vec<u8>>::new());
    assert_only_ours(&swtpm, 1);
}

#[tokio::test]
async fn a_tpm_without_certificates_says_so() {
    let how = Manufacture { certificates: false, ..Manufacture::default() };
    let swtpm = Swtpm::manufacture_as(&how).unwrap();
    let endorsement = start(&swtpm).endorsement().await.unwrap();
    assert_eq!(endorsement.keys.len(), 2);
    assert_eq!(endorsement.certified(), Err(TpmError::NoEndorsementCertificate));
}

#[tokio::test]
async fn a_certificate_chain_in_the_tpm_is_read() {
    let swtpm = Swtpm::copy().unwrap();
    let der = swtpm.ca_certificates().intermediate_der().unwrap();
    let root = swtpm.ca_certificates().root_der().unwrap();
    // The first index ends in the middle of a certificate; the second is padded.
    let both = [&der[..], &root, &[0; 20]].concat();
    let (first, second) = both.split_at(900);
    for (index, content) in [("0x01c00100", first), ("0x01c00101", second)] {
        let size = content.len().to_string();
        fs::write(swtpm.scratch().join("part"), content).unwrap();
        let attributes = "ownerread|ownerwrite|authread|no_da";
        let define = [index, "-C", "o", "-s", &size, "-a", attributes];
        swtpm.run_tool("tpm2_nvdefine", &define).unwrap();
        let write = [index, "-C", "o", "-i", "part"];
        swtpm.run_tool("tpm2_nvwrite", &write).unwrap();
    }
    let endorsement = start(&swtpm).endorsement().await.unwrap();
    assert_eq!(endorsement.chain, [der, root]);
}

/// Leaves `content` in the TPM as its maker would.
fn leave(swtpm: &Swtpm, index: &str, content: &[u8]) {
    fs::write(swtpm.scratch().join("content"), content).unwrap();
    let size = content.len().to_string();
    let attributes = "ownerread|ownerwrite|authread|no_da";
    let define = [index, "-C", "o", "-s", &size, "-a", attributes];
    swtpm.run_tool("tpm2_nvdefine", &define).unwrap();
    swtpm.run_tool("tpm2_nvwrite", &[index, "-C", "o", "-i", "content"]).unwrap();
}

/// The TCG's template, told by its key: without what is unique to that.
fn default_template(key: &EndorsementKey) -> Vec<u8> {
    let unique = match key.kind {
        EndorsementKind::Rsa2048 => [&[1, 0][..], &[0; 256]].concat(),
        _ => [[&[0, 32][..], &[0; 32]].concat(), [&[0, 32][..], &[0; 32]].concat()].concat(),
    };
    [&key.public[..key.public.len() - unique.len()], &unique].concat()
}

/// PolicyA of the EK Credential Profile.
const POLICY_A: &str = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
const LOW_RANGE: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt|noda";

/// The key that tpm2-tools make of a template of ours and this `unique`, which they read as the struct that
/// it is in memory.
fn made_with_unique(swtpm: &Swtpm, algorithm: &str, unique: &[u8]) -> Vec<u8> {
    fs::write(swtpm.scratch().join("policy"), unhex(POLICY_A).unwrap()).unwrap();
    fs::write(swtpm.scratch().join("unique"), unique).unwrap();
    let create = ["-C", "e", "-g", "sha256", "-G", algorithm, "-a", LOW_RANGE, "-L", "policy"];
    let create = [&create[..], &["-u", "unique", "-c", "ek.ctx"]].concat();
    swtpm.run_tool("tpm2_createprimary", &create).unwrap();
    swtpm.run_tool("tpm2_readpublic", &["-c", "ek.ctx", "-o", "ek.pub"]).unwrap();
    flush_foreign(swtpm, 1);
    fs::read(swtpm.scratch().join("ek.pub")).unwrap()[2..].to_vec()
}

#[tokio::test]
async fn a_template_and_a_nonce_of_the_maker_make_the_key_that_tpm2_tools_make() {
    const NONCE: [u8; 20] = [0x77; 20];
    let padded = |nonce: &[u8], length: usize| [nonce, &vec![0; length - nonce.len()]].concat();
    for (kind, algorithm, nonce_index, template_index) in [
        (EndorsementKind::Rsa2048, "rsa2048:null:aes128cfb", "0x01c00003", "0x01c00004"),
        (EndorsementKind::EccP256, "ecc256:null:aes128cfb", "0x01c0000b", "0x01c0000c"),
    ] {
        let unique = |nonce: &[u8]| match kind {
            EndorsementKind::Rsa2048 => [&[0, 1], &padded(nonce, 256)[..]].concat(),
            _ => [&[32, 0], &padded(nonce, 128)[..], &[32, 0], &[0; 128]].concat(),
        };
        let swtpm = Swtpm::copy().unwrap();
        let tpm = start(&swtpm);
        let key_of = |found: Endorsement| found.keys.into_iter().find(|key| key.kind == kind);
        let plain = key_of(tpm.endorsement().await.unwrap()).unwrap();
        let mut template = default_template(&plain);
        // noDA, which the TCG's template does not say.
        template[6] |= 0x04;
        leave(&swtpm, template_index, &template);
        let key = key_of(tpm.endorsement().await.unwrap()).unwrap();
        let theirs = made_with_unique(&swtpm, algorithm, &unique(&[]));
        assert_eq!(hex(&key.public), hex(&theirs), "{kind:?}");

        leave(&swtpm, nonce_index, &NONCE);
        let key = key_of(tpm.endorsement().await.unwrap()).unwrap();
        let theirs = made_with_unique(&swtpm, algorithm, &unique(&NONCE));
        assert_eq!(hex(&key.public), hex(&theirs), "{kind:?}");
        let ak = tpm.attestation_key().await.unwrap();
        let (blob, encrypted) = make_credential(&swtpm, &key.public, &ak.name, &[7; 32]);
        let opened = tpm.activate_credential(kind, &blob, &encrypted).await.unwrap();
        assert_eq!(opened.as_slice(), [7; 32], "{kind:?}");
        assert_only_ours(&swtpm, 1);
    }
}

#[tokio::test]
async fn a_template_or_nonce_that_is_none_is_an_error_and_no_other_key() {
    for (index, content) in [("0x01c0000c", &[0xff; 40][..]), ("0x01c0000b", &[1; 33])] {
        let swtpm = Swtpm::copy().unwrap();
        let tpm = start(&swtpm);
        leave(&swtpm, index, content);
        assert_eq!(tpm.endorsement().await, Err(TpmError::MalformedResponse), "{index}");
        assert_only_ours(&swtpm, 1);
    }
}

#[tokio::test]
async fn credentials_of_tpm2_tools_open_with_every_endorsement_key() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let ak = tpm.attestation_key().await.unwrap();
    for key in tpm.endorsement().await.unwrap().keys {
        let secret = [0xa5; 32];
        let (blob, encrypted) = make_credential(&swtpm, &key.public, &ak.name, &secret);
        let opened = tpm.activate_credential(key.kind, &blob, &encrypted).await;
        assert_eq!(opened.unwrap().as_slice(), secret, "{:?}", key.kind);
        assert_only_ours(&swtpm, 1);
    }
}

#[tokio::test]
async fn a_credential_for_another_key_or_changed_on_its_way_is_refused() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let ak = tpm.attestation_key().await.unwrap();
    let mut other = ak.name.clone();
    other[7] ^= 1;
    for key in tpm.endorsement().await.unwrap().keys {
        let (blob, encrypted) = make_credential(&swtpm, &key.public, &other, &[1; 16]);
        let refused = tpm.activate_credential(key.kind, &blob, &encrypted).await;
        assert_eq!(refused, Err(TpmError::CredentialRefused), "{:?}", key.kind);

        let (blob, encrypted) = make_credential(&swtpm, &key.public, &ak.name, &[1; 16]);
        for position in [2, blob.len() - 1] {
            let mut changed = blob.clone();
            changed[position] ^= 1;
            let refused = tpm.activate_credential(key.kind, &changed, &encrypted).await;
            assert_eq!(refused, Err(TpmError::CredentialRefused), "{position} {:?}", key.kind);
        }
        let mut changed = encrypted.clone();
        *changed.last_mut().unwrap() ^= 1;
        let refused = tpm.activate_credential(key.kind, &blob, &changed).await;
        assert_eq!(refused, Err(TpmError::CredentialRefused), "secret {:?}", key.kind);

        for (blob, encrypted) in [
            (&blob[2..], &encrypted[..]),
            (&blob[..], &encrypted[..encrypted.len() - 1]),
            (&[][..], &[][..]),
        ] {
            let refused = tpm.activate_credential(key.kind, blob, encrypted).await;
            assert_eq!(refused, Err(TpmError::MalformedCredential));
        }
        assert_only_ours(&swtpm, 1);
    }
}

#[tokio::test]
async fn tpm2_checkquote_accepts_the_quote_and_its_values_are_those_quoted() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let value = format!("7:sha256={}", hex(&[9; 32]));
    swtpm.run_tool("tpm2_pcrextend", &[&value]).unwrap();
    let ak = tpm.attestation_key().await.unwrap();
    let pcrs: Vec<u8> = (0..24).collect();
    let quote = tpm.quote(NONCE, &pcrs).await.unwrap();
    assert_eq!(quote.bank, PcrBank::Sha256);
    assert_eq!(quote.pcrs.keys().copied().collect::<Vec<_>>(), pcrs);
    assert_eq!(quote.pcrs[&7], sha256(&[[0; 32], [9; 32]].concat()));
    assert_quoted(&quote.attest, &quote.pcrs);
    verify(&ak.public, &quote.attest, &raw_signature(&quote.signature));

    let folder = swtpm.scratch();
    let length = u16::try_from(ak.public.len()).unwrap().to_be_bytes();
    fs::write(folder.join("ak.pub"), [&length[..], &ak.public].concat()).unwrap();
    fs::write(folder.join("attest"), &quote.attest).unwrap();
    fs::write(folder.join("signature"), &quote.signature).unwrap();
    let nonce = hex(&NONCE);
    let check = ["-u", "ak.pub", "-m", "attest", "-s", "signature", "-q", &nonce, "-g", "sha256"];
    swtpm.run_tool("tpm2_checkquote", &check).unwrap();
    let mut changed = quote.attest.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(folder.join("attest"), &changed).unwrap();
    let refused = swtpm.tool("tpm2_checkquote", &check).output().unwrap();
    assert!(!refused.status.success());
    assert_only_ours(&swtpm, 1);
}

fn assert_quoted(attest: &[u8], pcrs: &BTreeMap<u8, Vec<u8>>) {
    let values: Vec<u8> = pcrs.values().flatten().copied().collect();
    assert_eq!(attest[attest.len() - 32..], sha256(&values));
}

#[tokio::test]
async fn a_quote_stays_consistent_while_registers_change() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let value = format!("16:sha256={}", hex(&[3; 32]));
    let mut seen = Vec::new();
    for _ in 0..20 {
        let mut extender = swtpm.tool("tpm2_pcrextend", &[&value]).spawn().unwrap();
        while extender.try_wait().unwrap().is_none() {
            let quote = tpm.quote(NONCE, &[0, 16]).await.unwrap();
            assert_quoted(&quote.attest, &quote.pcrs);
            seen.push(quote.pcrs[&16].clone());
        }
    }
    seen.dedup();
    assert!(seen.len() > 1, "the registers did not change meanwhile");
}

#[tokio::test]
async fn without_a_sha256_bank_the_sha384_bank_is_quoted() {
    let how = Manufacture { pcr_banks: "sha1,sha384", ..Manufacture::default() };
    let swtpm = Swtpm::manufacture_as(&how).unwrap();
    let quote = start(&swtpm).quote(NONCE, &[0, 7]).await.unwrap();
    assert_eq!(quote.bank, PcrBank::Sha384);
    assert_eq!(quote.pcrs[&0].len(), 48);
    assert_quoted(&quote.attest, &quote.pcrs);
}

#[tokio::test]
async fn the_configured_bank_is_quoted_or_none() {
    let how = Manufacture { pcr_banks: "sha256,sha384", ..Manufacture::default() };
    let swtpm = Swtpm::manufacture_as(&how).unwrap();
    for (bank, length) in [(PcrBank::Sha384, 48), (PcrBank::Sha256, 32)] {
        let mut config = TpmConfig::new(swtpm.tcti(), SALT);
        config.pcr_bank = Some(bank);
        let tpm = Tpm::start(config).unwrap();
        let quote = tpm.quote(NONCE, &[0, 7]).await.unwrap();
        assert_eq!((quote.bank, quote.pcrs[&0].len()), (bank, length));
        assert_quoted(&quote.attest, &quote.pcrs);
        tpm.close().await;
    }
    let swtpm = Swtpm::copy().unwrap();
    let mut config = TpmConfig::new(swtpm.tcti(), SALT);
    config.pcr_bank = Some(PcrBank::Sha384);
    let refused = Tpm::start(config).unwrap().quote(NONCE, &[0]).await;
    assert_eq!(refused, Err(TpmError::PcrBankOff { bank: PcrBank::Sha384 }));
}

#[tokio::test]
async fn keys_of_the_high_range_come_with_their_certificates_and_open_credentials() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let low = tpm.endorsement().await.unwrap();
    let certificate = low.certified().unwrap().certificate.clone().unwrap();
    // The certificate's content is the authority's business; here it only has to be there.
    fs::write(swtpm.scratch().join("certificate"), [&certificate[..], &[0xff; 30]].concat())
        .unwrap();
    let size = (certificate.len() + 30).to_string();
    for index in ["0x01c00012", "0x01c00014"] {
        let attributes = "ownerread|ownerwrite|authread|no_da";
        let define = [index, "-C", "o", "-s", &size, "-a", attributes];
        swtpm.run_tool("tpm2_nvdefine", &define).unwrap();
        swtpm.run_tool("tpm2_nvwrite", &[index, "-C", "o", "-i", "certificate"]).unwrap();
    }
    // Defined and never written: as if it were not there.
    let define = ["0x01c0000a", "-C", "o", "-s", "64", "-a", "ownerread|ownerwrite|authread|no_da"];
    swtpm.run_tool("tpm2_nvdefine", &define).unwrap();
    let ak = tpm.attestation_key().await.unwrap();
    let keys = tpm.endorsement().await.unwrap().keys;
    let kinds: Vec<_> = keys.iter().map(|key| (key.kind, key.certificate.is_some())).collect();
    assert_eq!(
        kinds,
        [
            (EndorsementKind::Rsa2048, true),
            (EndorsementKind::Rsa2048High, true),
            (EndorsementKind::EccP256High, true),
            (EndorsementKind::EccP384, true),
            (EndorsementKind::EccP256, false),
        ]
    );
    for key in &keys[1..3] {
        assert_eq!(key.certificate.as_ref(), Some(&certificate));
        let (blob, encrypted) = make_credential(&swtpm, &key.public, &ak.name, &[7; 32]);
        let opened = tpm.activate_credential(key.kind, &blob, &encrypted).await.unwrap();
        assert_eq!(opened.as_slice(), [7; 32], "{:?}", key.kind);
        assert_only_ours(&swtpm, 1);
    }
}

#[tokio::test]
async fn sha1_alone_is_not_quoted() {
    let how = Manufacture { pcr_banks: "sha1", ..Manufacture::default() };
    let swtpm = Swtpm::manufacture_as(&how).unwrap();
    let refused = start(&swtpm).quote(NONCE, &[0]).await;
    assert_eq!(refused, Err(TpmError::NoPcrBank));
}

#[tokio::test]
async fn only_registers_that_exist_can_be_quoted() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    assert_eq!(tpm.quote(NONCE, &[]).await, Err(TpmError::PcrSelection));
    assert_eq!(tpm.quote(NONCE, &[24]).await, Err(TpmError::PcrSelection));
    assert_eq!(tpm.quote(NONCE, &[3, 3]).await.unwrap().pcrs.len(), 1);
}

#[tokio::test]
async fn the_tls_key_signs_and_is_certified() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    assert_eq!(tpm.sign_tls([0; 32]).await, Err(TpmError::NoTlsKey));
    assert_eq!(tpm.certify_tls_key(NONCE).await, Err(TpmError::NoTlsKey));
    let key = tpm.create_tls_key().await.unwrap();
    assert_eq!(tpm.tls_key().await.unwrap(), key);
    // Some of these signatures have an r or s that starts with zero bytes.
    for round in 0..300u16 {
        let message = round.to_be_bytes();
        let signature = tpm.sign_tls(sha256(&message)).await.unwrap();
        verify(&key.public, &message, &signature);
    }
    let ak = tpm.attestation_key().await.unwrap();
    let certification = tpm.certify_tls_key(NONCE).await.unwrap();
    assert_eq!(certification.public, key.public);
    verify(&ak.public, &certification.attest, &raw_signature(&certification.signature));
    assert!(certification.attest.starts_with(&[0xff, b'T', b'C', b'G', 0x80, 0x17]));
    let name = [&[0, 0x0b][..], &sha256(&key.public)].concat();
    assert!(certification.attest.windows(34).any(|window| window == name));
    assert!(certification.attest.windows(32).any(|window| window == NONCE));
    assert_only_ours(&swtpm, 2);
}

#[tokio::test]
async fn a_stored_tls_key_is_used_again_and_a_new_one_replaces_it() {
    let swtpm = Swtpm::copy().unwrap();
    let first = start(&swtpm).create_tls_key().await.unwrap();
    let stored = TlsKey::from_bytes(&first.to_bytes()).unwrap();
    assert_eq!(stored, first);
    let tpm = with_key(&swtpm, &stored);
    let signature = tpm.sign_tls(sha256(b"one")).await.unwrap();
    verify(&first.public, b"one", &signature);
    let second = tpm.create_tls_key().await.unwrap();
    let signature = tpm.sign_tls(sha256(b"two")).await.unwrap();
    verify(&second.public, b"two", &signature);
    tpm.load_tls_key(first.clone()).await.unwrap();
    let signature = tpm.sign_tls(sha256(b"three")).await.unwrap();
    verify(&first.public, b"three", &signature);
    assert_only_ours(&swtpm, 2);
}

#[tokio::test]
async fn a_bound_tls_key_signs_only_while_its_registers_hold_the_same() {
    for (banks, bank) in [("sha256", PcrBank::Sha256), ("sha1,sha384", PcrBank::Sha384)] {
        let how = Manufacture { pcr_banks: banks, certificates: false };
        let mut swtpm = Swtpm::manufacture_as(&how).unwrap();
        let mut config = TpmConfig::new(swtpm.tcti(), SALT);
        config.tls_pcrs = vec![7, 16];
        let tpm = Tpm::start(config).unwrap();
        let key = tpm.create_tls_key().await.unwrap();
        assert_eq!(key.bound_to, Some(BoundTo { bank, pcrs: vec![7, 16] }));
        assert_eq!(TlsKey::from_bytes(&key.to_bytes()).as_ref(), Ok(&key));
        verify(&key.public, b"bound", &tpm.sign_tls(sha256(b"bound")).await.unwrap());
        tpm.certify_tls_key(NONCE).await.unwrap();
        let name = if bank == PcrBank::Sha256 { "sha256" } else { "sha384" };
        let value = format!("16:{name}={}", hex(&vec![3; if name == "sha256" { 32 } else { 48 }]));
        swtpm.run_tool("tpm2_pcrextend", &[&value]).unwrap();
        assert_eq!(tpm.sign_tls([1; 32]).await, Err(TpmError::BootChanged));
        assert_eq!(tpm.load_tls_key(key.clone()).await, Err(TpmError::BootChanged));
        let next = tpm.create_tls_key().await.unwrap();
        verify(&next.public, b"next", &tpm.sign_tls(sha256(b"next")).await.unwrap());
        assert_only_ours(&swtpm, 2);
        // As it was: the first key is good again, and the second is not.
        swtpm.restart().unwrap();
        assert_eq!(tpm.sign_tls([1; 32]).await, Err(TpmError::BootChanged));
        tpm.load_tls_key(key.clone()).await.unwrap();
        verify(&key.public, b"again", &tpm.sign_tls(sha256(b"again")).await.unwrap());
        assert_only_ours(&swtpm, 2);
    }
}

#[tokio::test]
async fn a_damaged_tls_key_is_told_from_a_cleared_tpm() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let key = tpm.create_tls_key().await.unwrap();
    let bytes = key.to_bytes();
    assert_eq!(TlsKey::from_bytes(&bytes[1..]), Err(BlobError::Format));
    assert_eq!(TlsKey::from_bytes(&bytes[..bytes.len() - 1]), Err(BlobError::Length));
    assert_eq!(TlsKey::from_bytes(&[&bytes[..], &[0]].concat()), Err(BlobError::Length));

    let mut damaged = key.clone();
    *damaged.private.last_mut().unwrap() ^= 1;
    assert_eq!(tpm.load_tls_key(damaged).await, Err(TpmError::Tampered));
    let mut damaged = key.clone();
    *damaged.public.last_mut().unwrap() ^= 1;
    assert_eq!(tpm.load_tls_key(damaged).await, Err(TpmError::Tampered));
    let mut damaged = key.clone();
    damaged.public.truncate(20);
    assert_eq!(tpm.load_tls_key(damaged).await, Err(TpmError::Tampered));
    // The key in use is still in use.
    let signature = tpm.sign_tls(sha256(b"still")).await.unwrap();
    verify(&key.public, b"still", &signature);

    let ak = tpm.attestation_key().await.unwrap();
    drop(tpm);
    swtpm.run_tool("tpm2_clear", &["-c", "p"]).unwrap();
    let tpm = with_key(&swtpm, &key);
    assert_eq!(tpm.sign_tls([0; 32]).await, Err(TpmError::Cleared));
    assert_eq!(tpm.certify_tls_key(NONCE).await, Err(TpmError::Cleared));
    assert_eq!(tpm.tls_key().await, Err(TpmError::Cleared));
    assert_eq!(tpm.load_tls_key(key).await, Err(TpmError::Cleared));
    assert_eq!(tpm.attestation_key().await.unwrap(), ak);
    assert_eq!(tpm.properties().await.unwrap().clock.reset_count, 0);
    tpm.create_tls_key().await.unwrap();
    assert_only_ours(&swtpm, 2);
}

#[tokio::test]
async fn keys_stay_at_persistent_handles_where_they_are_configured() {
    let swtpm = Swtpm::copy().unwrap();
    let handles =
        PersistentHandles { storage_root: Some(0x8100_0001), attestation_key: Some(0x8101_0020) };
    let configured = || TpmConfig { handles, ..TpmConfig::new(swtpm.tcti(), SALT) };
    let ordinary = start(&swtpm);
    let ak = ordinary.attestation_key().await.unwrap();
    ordinary.close().await;
    let tpm = Tpm::start(configured()).unwrap();
    let key = tpm.create_tls_key().await.unwrap();
    // The same keys as without, and only the TLS key takes room.
    assert_eq!(tpm.attestation_key().await.unwrap(), ak);
    assert_only_ours(&swtpm, 1);
    tpm.close().await;
    // From now on the owner's password is not needed.
    swtpm.run_tool("tpm2_changeauth", &["-c", "owner", "secret"]).unwrap();
    let tpm = Tpm::start(TpmConfig { tls_key: Some(key.clone()), ..configured() }).unwrap();
    verify(&key.public, b"kept", &tpm.sign_tls(sha256(b"kept")).await.unwrap());
    tpm.create_tls_key().await.unwrap();
    assert_only_ours(&swtpm, 1);
    tpm.close().await;

    let swapped = PersistentHandles {
        storage_root: handles.attestation_key,
        attestation_key: handles.storage_root,
    };
    let tpm = Tpm::start(TpmConfig { handles: swapped, ..configured() }).unwrap();
    let taken = TpmError::HandleTaken { handle: 0x8100_0001 };
    assert_eq!(tpm.attestation_key().await, Err(taken));
}

#[tokio::test]
async fn the_salt_makes_the_attestation_key() {
    let swtpm = Swtpm::copy().unwrap();
    let ak = start(&swtpm).attestation_key().await.unwrap();
    assert_eq!(ak.name, [&[0, 0x0b][..], &sha256(&ak.public)].concat());
    assert_eq!(start(&swtpm).attestation_key().await.unwrap(), ak);
    let other = Tpm::start(TpmConfig::new(swtpm.tcti(), [0x5b; 32])).unwrap();
    assert_ne!(other.attestation_key().await.unwrap(), ak);
}

#[tokio::test]
async fn properties_name_the_maker_and_count_wrong_attempts() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    tpm.self_test().await.unwrap();
    let before = tpm.properties().await.unwrap();
    assert_eq!(before.manufacturer, "IBM");
    assert_eq!(before.vendor, "SW   TPM");
    assert!(!before.lockout.locked);
    assert_eq!(before.lockout.failures, 0);
    // A quote carries the same firmware version and counters: they are not obfuscated.
    let attest = tpm.quote(NONCE, &[0]).await.unwrap().attest;
    assert!(attest.windows(8).any(|window| window == before.firmware.to_be_bytes()));

    let create = ["-C", "o", "-p", "right", "-c", "pin.ctx"];
    swtpm.run_tool("tpm2_createprimary", &create).unwrap();
    flush_foreign(&swtpm, 1);
    for _ in 0..before.lockout.limit {
        let wrong = ["-C", "pin.ctx", "-P", "wrong", "-u", "u", "-r", "r"];
        let refused = swtpm.tool("tpm2_create", &wrong).output().unwrap();
        assert!(!refused.status.success());
        flush_foreign(&swtpm, 1);
    }
    let after = tpm.properties().await.unwrap();
    assert!(after.lockout.locked);
    assert_eq!(after.lockout.failures, before.lockout.limit);
    // Our keys go on working.
    let key = tpm.create_tls_key().await.unwrap();
    verify(&key.public, b"x", &tpm.sign_tls(sha256(b"x")).await.unwrap());
}

#[tokio::test]
async fn thirty_rounds_of_everything_leave_nothing_behind() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let ak = tpm.attestation_key().await.unwrap();
    let keys = tpm.endorsement().await.unwrap().keys;
    let credentials: Vec<_> = keys
        .iter()
        .map(|key| (key.kind, make_credential(&swtpm, &key.public, &ak.name, b"secret")))
        .collect();
    for round in 0..30 {
        let key = tpm.create_tls_key().await.unwrap();
        tpm.load_tls_key(key).await.unwrap();
        for (kind, (blob, encrypted)) in &credentials {
            let secret = tpm.activate_credential(*kind, blob, encrypted).await;
            assert_eq!(secret.unwrap().as_slice(), b"secret");
            let refused = tpm.activate_credential(*kind, &[0, 1, 9], encrypted).await;
            assert_eq!(refused, Err(TpmError::CredentialRefused));
        }
        tpm.certify_tls_key(NONCE).await.unwrap();
        tpm.quote(NONCE, &[0, 1, 2, 3, 4, 5, 6, 7, 11]).await.unwrap();
        tpm.sign_tls([7; 32]).await.unwrap();
        tpm.properties().await.unwrap();
        tpm.self_test().await.unwrap();
        if round % 10 == 0 {
            tpm.endorsement().await.unwrap();
            assert_only_ours(&swtpm, 2);
            // Another client uses the TPM between our commands.
            let create = ["-C", "o", "-G", "ecc"];
            swtpm.run_tool("tpm2_createprimary", &create).unwrap();
            flush_foreign(&swtpm, 2);
        }
    }
    assert_only_ours(&swtpm, 2);
}

/// Without a resource manager the TPM is ours: what others left in it gives way.
#[tokio::test]
async fn objects_that_others_left_give_way_when_room_is_needed() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let key = tpm.create_tls_key().await.unwrap();
    swtpm.run_tool("tpm2_createprimary", &["-C", "o"]).unwrap();
    let kind = EndorsementKind::EccP256;
    let refused = tpm.activate_credential(kind, &[0, 1, 9], &[0, 1, 9]).await;
    assert_eq!(refused, Err(TpmError::CredentialRefused));
    assert_eq!(tpm.tls_key().await, Ok(key));
    assert_only_ours(&swtpm, 2);
}

#[tokio::test]
async fn requests_from_many_tasks_are_served_in_turn() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let key = tpm.create_tls_key().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20u8 {
        let tpm = tpm.clone();
        tasks.spawn(async move {
            tpm.quote([number; 32], &[0]).await.unwrap();
            (number, tpm.sign_tls(sha256(&[number])).await.unwrap())
        });
    }
    for (number, signature) in tasks.join_all().await {
        verify(&key.public, &[number], &signature);
    }
    assert_only_ours(&swtpm, 2);
}
