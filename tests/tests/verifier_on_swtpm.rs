//! A software TPM and tpm2-tools as the second opinion: what they make we believe, and what we make
//! they open.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
#![allow(clippy::disallowed_methods, reason = "tpm2-tools speak in files")]

use std::fs;

use signet_daemon::tpm::{Certification, Tpm, TpmConfig};
use signet_evidence::UnixTime;
use signet_evidence::binding::sha256;
use signet_evidence::tpm::{HashAlgorithm, Name, PcrValues, TpmtPublic};
use signet_tests::swtpm::Swtpm;
use signet_verifier::certificate::{
    Certificate, KeyPurpose, TrustAnchors, VerifiedPath, without_padding,
};
use signet_verifier::tpm::{
    ActivationCredential, AttestationKey, CertificationError, EndorsementKey, QuoteError,
    TemplateError, TlsKey, VerifiedCertification, VerifiedEndorsement, VerifiedQuote,
    make_credential,
};
use zeroize::Zeroizing;

const SECRET: [u8; 32] = *b"the secret the authority chose 1";

/// A software TPM with an EK of the given kind and an AK under it.
struct Bench {
    tpm: Swtpm,
}

impl Bench {
    fn new(ek: &str) -> Self {
        let bench = Self { tpm: Swtpm::copy().unwrap() };
        bench.run("tpm2_createek -c ek.ctx -u ek.pub -G", &[ek]);
        let create =
            "tpm2_createak -C ek.ctx -c ak.ctx -u ak.pub -n ak.name -G ecc -g sha256 -s ecdsa";
        bench.run(create, &[]);
        bench
    }

    /// Runs a tool, and makes room for the next: there is no resource manager here.
    fn run(&self, command: &str, more: &[&str]) {
        let mut words = command.split(' ');
        let program = words.next().unwrap();
        let arguments: Vec<&str> = words.chain(more.iter().copied()).collect();
        self.tpm.run_tool(program, &arguments).unwrap();
        self.tpm.run_tool("tpm2_flushcontext", &["-t"]).unwrap();
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.tpm.scratch().join(file)).unwrap()
    }

    /// A `TPM2B_PUBLIC` without its size.
    fn public(&self, file: &str) -> TpmtPublic {
        TpmtPublic::parse(&self.read(file)[2..]).unwrap()
    }

    fn attestation_key(&self) -> AttestationKey {
        AttestationKey::from_public(&self.public("ak.pub")).unwrap()
    }

    /// Has the TPM open `credential`; `None` when it refuses.
    fn activate(&self, credential: &ActivationCredential, with_policy: bool) -> Option<Vec<u8>> {
        let mut file = vec![0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
        for part in [&credential.credential_blob, &credential.encrypted_secret] {
            file.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
            file.extend_from_slice(part);
        }
        fs::write(self.tpm.scratch().join("credential"), file).unwrap();
        let mut arguments =
            vec!["-c", "ak.ctx", "-C", "ek.ctx", "-i", "credential", "-o", "secret"];
        if with_policy {
            self.run("tpm2_startauthsession --policy-session -S session", &[]);
            self.run("tpm2_policysecret -S session -c e", &[]);
            arguments.extend(["-P", "session:session"]);
        }
        let output = self.tpm.tool("tpm2_activatecredential", &arguments).output().unwrap();
        self.tpm.run_tool("tpm2_flushcontext", &["-t"]).unwrap();
        if with_policy {
            self.tpm.run_tool("tpm2_flushcontext", &["session"]).unwrap();
        }
        output.status.success().then(|| self.read("secret"))
    }
}

/// The first second of a certificate: software TPMs are certified when they are made.
fn made(certificate: &[u8]) -> UnixTime {
    Certificate::parse(certificate).unwrap().not_before()
}

fn activates(kind: &str, with_policy: bool) {
    let bench = Bench::new(kind);
    let ek = EndorsementKey::from_public(&bench.public("ek.pub")).unwrap();
    let ak = Name::of(&bench.public("ak.pub"));
    assert_eq!(ak.as_bytes(), bench.read("ak.name"));
    let seed = Zeroizing::new([0x5e; 32]);
    let credential = make_credential(&ek, &ak, &SECRET, &seed).unwrap();
    assert_eq!(bench.activate(&credential, with_policy).as_deref(), Some(SECRET.as_slice()));

    // Made for another key's name, the blob does not open.
    let other = Name::of(ek.public());
    let credential = make_credential(&ek, &other, &SECRET, &seed).unwrap();
    assert_eq!(bench.activate(&credential, with_policy), None);
}

#[test]
fn a_tpm_opens_our_credential_with_an_rsa_ek() {
    activates("rsa", true);
}

#[test]
fn a_tpm_opens_our_credential_with_a_p256_ek() {
    activates("ecc", true);
}

/// The EK that swtpm itself makes and certifies: template H-3.
#[test]
fn a_tpm_opens_our_credential_with_its_certified_p384_ek() {
    let bench = Bench::new("ecc");
    bench.run("tpm2_readpublic -c 0x81010016 -o ek.pub", &[]);
    bench.run("tpm2_nvread 0x01c00016 -C o -o ek.der", &[]);
    let ek = EndorsementKey::from_public(&bench.public("ek.pub")).unwrap();
    let certificate = bench.read("ek.der");
    let certificate = without_padding(&certificate).unwrap();
    let makers = bench.tpm.ca_certificates();
    let anchors = TrustAnchors::from_der([makers.root_der().unwrap()]).unwrap();
    let verified = VerifiedEndorsement::verify(
        ek.clone(),
        certificate,
        &[makers.intermediate_der().unwrap()],
        &anchors,
        made(certificate),
    )
    .unwrap();

    let ak = Name::of(&bench.public("ak.pub"));
    let seed = Zeroizing::new([0; 32]);
    let credential = make_credential(verified.key(), &ak, &SECRET, &seed).unwrap();
    bench.run("tpm2_readpublic -c 0x81010016 -t ek.ctx", &[]);
    assert_eq!(bench.activate(&credential, false).as_deref(), Some(SECRET.as_slice()));
}

/// PolicyB with SHA-256 (TCG EK Credential Profile 2.6 appendix B.6.5).
const POLICY_B: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3,
    0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];
const HIGH_RANGE: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|restricted|decrypt";

/// Templates H-1 and H-2, made by tpm2-tools word by word.
#[test]
fn a_tpm_opens_our_credential_with_its_high_range_eks() {
    for algorithm in ["rsa2048:null:aes128cfb", "ecc256:null:aes128cfb"] {
        let bench = Bench::new("ecc");
        fs::write(bench.tpm.scratch().join("policy"), POLICY_B).unwrap();
        let create = "tpm2_createprimary -C e -g sha256 -L policy -c ek.ctx -G";
        bench.run(create, &[algorithm, "-a", HIGH_RANGE]);
        bench.run("tpm2_readpublic -c ek.ctx -o ek.pub", &[]);
        let ek = EndorsementKey::from_public(&bench.public("ek.pub")).unwrap();
        let ak = Name::of(&bench.public("ak.pub"));
        let seed = Zeroizing::new([0x5e; 32]);
        let credential = make_credential(&ek, &ak, &SECRET, &seed).unwrap();
        let opened = bench.activate(&credential, false);
        assert_eq!(opened.as_deref(), Some(SECRET.as_slice()), "{algorithm}");
        let credential = make_credential(&ek, &Name::of(ek.public()), &SECRET, &seed).unwrap();
        assert_eq!(bench.activate(&credential, false), None, "{algorithm}");
    }
}

#[test]
fn a_high_range_template_with_another_policy_is_no_endorsement_key() {
    let bench = Bench::new("ecc");
    fs::write(bench.tpm.scratch().join("policy"), [0x11; 32]).unwrap();
    let create = "tpm2_createprimary -C e -g sha256 -L policy -c ek.ctx -G";
    bench.run(create, &["ecc256:null:aes128cfb", "-a", HIGH_RANGE]);
    bench.run("tpm2_readpublic -c ek.ctx -o ek.pub", &[]);
    let refused = EndorsementKey::from_public(&bench.public("ek.pub")).unwrap_err();
    assert_eq!(refused, TemplateError::AuthPolicy);
}

/// A TLS key that signs only while registers hold what they held: its policy is in the certified Name, and
/// asks nothing else of the verifier.
#[tokio::test]
async fn a_tls_key_bound_to_registers_is_believed_as_any_other() {
    const DATA: [u8; 32] = [0x3c; 32];
    let swtpm = Swtpm::copy().unwrap();
    let mut config = TpmConfig::new(swtpm.tcti(), [7; 32]);
    config.tls_pcrs = vec![4, 7];
    let tpm = Tpm::start(config).unwrap();
    let key = tpm.create_tls_key().await.unwrap();
    let public = TpmtPublic::parse(&key.public).unwrap();
    assert_eq!(public.auth_policy.len(), 32);
    assert!(!public.attributes.user_with_auth());
    let ak = TpmtPublic::parse(&tpm.attestation_key().await.unwrap().public).unwrap();
    let ak = AttestationKey::from_public(&ak).unwrap();
    let whole =
        |_, certification: Option<Certification>| (certification.unwrap(), sha256(b"message"));
    let (certified, signature) = tpm.attest(DATA, &[4, 7], true, whole).await.unwrap();
    let verify = |public: &[u8]| {
        let Certification { attest, signature, .. } = &certified;
        VerifiedCertification::verify(&ak, attest, signature, &DATA, public)
    };
    let verified = verify(&certified.public).unwrap();
    assert_eq!(verified.name(), &Name::of(&public));
    let bound = TlsKey::from_public(&public).unwrap();
    bound.public_key().verify_fixed(b"message", &signature).unwrap();

    // The same key without its policy has another Name.
    let mut free = public.clone();
    free.auth_policy.clear();
    assert_eq!(verify(&free.to_bytes()).unwrap_err(), CertificationError::Name);
}

#[test]
fn the_certified_rsa_ek_of_the_tpm_is_believed() {
    let bench = Bench::new("ecc");
    bench.run("tpm2_readpublic -c 0x81010001 -o ek.pub", &[]);
    bench.run("tpm2_nvread 0x01c00002 -C o -o ek.der", &[]);
    let ek = EndorsementKey::from_public(&bench.public("ek.pub")).unwrap();
    let certificate = bench.read("ek.der");
    let certificate = without_padding(&certificate).unwrap();
    let makers = bench.tpm.ca_certificates();
    let intermediates = [makers.intermediate_der().unwrap()];
    let anchors = TrustAnchors::from_der([makers.root_der().unwrap()]).unwrap();
    let now = made(certificate);
    VerifiedEndorsement::verify(ek, certificate, &intermediates, &anchors, now).unwrap();
    let purpose = Some(KeyPurpose::EndorsementKey);
    let path = VerifiedPath::verify(certificate, &intermediates, &anchors, purpose, now).unwrap();
    assert_eq!(path.leaf().purposes(), [KeyPurpose::EndorsementKey]);
}

#[test]
fn a_quote_by_tpm2_tools_is_believed() {
    let bench = Bench::new("ecc");
    let extend = format!("tpm2_pcrextend 7:sha256={}", "ab".repeat(32));
    bench.run(&extend, &[]);
    let qualifying_data = [0x51; 32];
    let quote = format!(
        "tpm2_quote -c ak.ctx -l sha256:0,4,7 -g sha256 -m attest -s signature -q {}",
        "51".repeat(32)
    );
    bench.run(&quote, &[]);
    bench.run("tpm2_pcrread sha256:0,4,7 -o pcrs", &[]);
    let values: Vec<(u8, Vec<u8>)> =
        [0, 4, 7].into_iter().zip(bench.read("pcrs").chunks(32).map(<[u8]>::to_vec)).collect();
    let values = PcrValues::of_bank(HashAlgorithm::Sha256, values).unwrap();
    let (ak, attest, signature) =
        (bench.attestation_key(), bench.read("attest"), bench.read("signature"));
    let verify = |qualifying_data: &[u8], values| {
        VerifiedQuote::verify(&ak, &attest, &signature, qualifying_data, values)
    };
    let verified = verify(&qualifying_data, Some(values.clone())).unwrap();
    assert_eq!(verified.pcr_values(), Some(&values));
    assert_ne!(values.value(HashAlgorithm::Sha256, 7), Some([0; 32].as_slice()));
    assert!(verified.clock_info().safe);
    assert_eq!(verify(&[0; 32], None).unwrap_err(), QuoteError::ExtraData);
    let other = PcrValues::of_bank(HashAlgorithm::Sha256, [0, 4, 7].map(|pcr| (pcr, vec![0; 32])));
    assert_eq!(verify(&qualifying_data, other.ok()).unwrap_err(), QuoteError::PcrDigest);
}

#[test]
fn a_certification_by_tpm2_tools_is_believed() {
    let bench = Bench::new("ecc");
    let create = "tpm2_createprimary -C o -g sha256 -G ecc:ecdsa-sha256 -c tls.ctx -a";
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign";
    bench.run(create, &[attributes]);
    bench.run("tpm2_readpublic -c tls.ctx -o tls.pub", &[]);
    bench.run("tpm2_certify -c tls.ctx -C ak.ctx -g sha256 -o attest -s signature", &[]);
    let verified = VerifiedCertification::verify(
        &bench.attestation_key(),
        &bench.read("attest"),
        &bench.read("signature"),
        // The fixed qualifying data of this tool.
        &[0x00, 0xff, 0x55, 0xaa],
        &bench.read("tls.pub")[2..],
    )
    .unwrap();
    assert_eq!(verified.name(), &Name::of(&bench.public("tls.pub")));
}
