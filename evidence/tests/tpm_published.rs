//! Quotes that real and virtual TPMs made, read back to their bytes.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use serde_json::Value;
use signet_evidence::tpm::{
    Attested, HashAlgorithm, Name, PcrError, PcrValues, PublicParameters, TpmsAttest, TpmtPublic,
    TpmtSignature, WireError, pcr_digest,
};

const WINDOWS: &str = include_str!("../../fixtures/published/tpm-quotes/windows-gce-sha1.json");
const WINDOWS_CREATION: &str =
    include_str!("../../fixtures/published/tpm-quotes/windows-gce-creation.json");
const DEBIAN: &str = include_str!("../../fixtures/published/tpm-quotes/debian-12-vm-sha256.json");
const AZURE: &str = include_str!("../../fixtures/published/tpm-quotes/azure-snp-sha256.json");
const KEYLIME: &str = include_str!("../../fixtures/published/tpm-quotes/keylime.json");
const GCE: [&str; 6] = [
    include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-no-nonce-sha1.json"),
    include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-no-nonce-sha256.json"),
    include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-no-nonce-sha384.json"),
    include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-nonce9009-sha1.json"),
    include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-nonce9009-sha256.json"),
    include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-nonce9009-sha384.json"),
];

fn unhex(text: &str) -> Vec<u8> {
    signet_evidence::thumbprint::unhex(text).unwrap()
}

struct Published(Value);

impl Published {
    fn of(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    fn bytes(&self, member: &str) -> Vec<u8> {
        unhex(self.0[member].as_str().unwrap())
    }

    fn values(&self) -> PcrValues {
        let bank = match self.0["bank"].as_str().unwrap() {
            "sha1" => HashAlgorithm::Sha1,
            "sha256" => HashAlgorithm::Sha256,
            "sha384" => HashAlgorithm::Sha384,
            other => panic!("bank {other}"),
        };
        let values = self.0["pcrs"].as_object().unwrap().iter();
        PcrValues::of_bank(
            bank,
            values.map(|(index, value)| (index.parse().unwrap(), unhex(value.as_str().unwrap()))),
        )
        .unwrap()
    }

    fn attest(&self) -> TpmsAttest {
        let bytes = self.bytes("attest");
        let attest = TpmsAttest::parse(&bytes).unwrap();
        assert_eq!(attest.to_bytes(), bytes);
        attest
    }
}

#[test]
fn quotes_read_back_and_their_pcr_values_hash_to_the_signed_digest() {
    for text in GCE.into_iter().chain([WINDOWS, DEBIAN]) {
        let published = Published::of(text);
        let attest = published.attest();
        assert_eq!(attest.extra_data, published.bytes("extra_data"));
        let signature_bytes = published.bytes("signature");
        let signature = TpmtSignature::parse(&signature_bytes).unwrap();
        assert_eq!(signature.to_bytes(), signature_bytes);
        let Attested::Quote(quote) = &attest.attested else { panic!("not a quote") };
        let digest = pcr_digest(&quote.pcr_select, &published.values(), signature.hash());
        assert_eq!(digest.unwrap(), quote.pcr_digest);
    }
}

#[test]
fn the_pcr_digest_is_made_with_the_hash_of_the_scheme_not_of_the_bank() {
    let published = Published::of(GCE[2]);
    let Attested::Quote(quote) = published.attest().attested else { panic!("not a quote") };
    assert_eq!(quote.pcr_select[0].bank(), HashAlgorithm::Sha384);
    assert_eq!(quote.pcr_digest.len(), 32);
    let by_bank =
        pcr_digest(&quote.pcr_select, &published.values(), HashAlgorithm::Sha384).unwrap();
    assert_ne!(by_bank, quote.pcr_digest);
}

#[test]
fn azure_quotes_too() {
    let published = Published::of(AZURE);
    let attest = published.attest();
    assert_eq!(attest.extra_data, b"challenge");
    let Attested::Quote(quote) = &attest.attested else { panic!("not a quote") };
    let digest = pcr_digest(&quote.pcr_select, &published.values(), HashAlgorithm::Sha256);
    assert_eq!(digest.unwrap(), quote.pcr_digest);
}

#[test]
fn keylime_quote_reads_back() {
    let published = Published::of(KEYLIME);
    assert!(matches!(published.attest().attested, Attested::Quote(_)));
    let signature = published.bytes("signature");
    assert_eq!(TpmtSignature::parse(&signature).unwrap().to_bytes(), signature);
}

#[test]
fn attestation_keys_read_back_with_their_attributes() {
    for text in [WINDOWS, GCE[0], GCE[3]] {
        let bytes = Published::of(text).bytes("ak_public");
        let public = TpmtPublic::parse(&bytes).unwrap();
        assert_eq!(public.to_bytes(), bytes);
        assert!(matches!(&public.parameters, PublicParameters::Rsa(rsa)
            if rsa.key_bits == 2048 && rsa.public_exponent() == 65537 && rsa.modulus.len() == 256));
        let attributes = public.attributes;
        assert!(attributes.fixed_tpm() && attributes.fixed_parent() && attributes.restricted());
        assert!(attributes.sensitive_data_origin() && attributes.sign() && !attributes.decrypt());
        assert_eq!(Name::of(&public).as_bytes().len(), 2 + 32);
    }
}

#[test]
fn clock_fields_are_those_that_were_recorded() {
    // An AK under the owner hierarchy: counters are obfuscated (Part 1 §36.7).
    assert_eq!(Published::of(WINDOWS).attest().clock_info.reset_count, 1_045_281_252);
    assert_eq!(Published::of(GCE[0]).attest().clock_info.reset_count, 10);
}

#[test]
fn an_attestation_of_creation_is_refused_by_its_type() {
    let creation = Published::of(WINDOWS_CREATION).bytes("attest");
    assert_eq!(TpmsAttest::parse(&creation), Err(WireError::AttestType(0x801a)));
}

#[test]
fn values_that_were_not_quoted_are_refused() {
    let published = Published::of(GCE[1]);
    let Attested::Quote(quote) = published.attest().attested else { panic!("not a quote") };
    let bank = HashAlgorithm::Sha256;
    let quoted: Vec<u8> = quote.pcr_select[0].indices().collect();
    assert_eq!(quote.pcr_select.len(), 1);
    let mut values = PcrValues::default();
    for (bank, index, value) in published.values().iter().skip(1) {
        values.insert(bank, index, value.to_vec()).unwrap();
    }
    let missing = PcrError::Missing { bank, index: quoted[0] };
    assert_eq!(pcr_digest(&quote.pcr_select, &values, bank), Err(missing));

    let mut values = published.values();
    let index = *quoted.last().unwrap();
    let again = PcrError::Duplicate { bank, index };
    assert_eq!(values.insert(bank, index, vec![0; 32]), Err(again));
    let mut values = published.values();
    values.insert(HashAlgorithm::Sha1, 0, vec![0; 20]).unwrap();
    let not_selected = PcrError::NotSelected { bank: HashAlgorithm::Sha1, index: 0 };
    assert_eq!(pcr_digest(&quote.pcr_select, &values, bank), Err(not_selected));
}
