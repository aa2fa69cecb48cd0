//! The keys in software that the world holds, private halves and all, and the certificates that only the
//! recorder can give them, because it alone has the CA.

use std::collections::BTreeMap;

use rcgen::ExtendedKeyUsagePurpose;
use signet_evidence::DeviceId;
use signet_evidence::binding::sha256;
use signet_test_authenticators::{AttestationBatch, scalar};
use signet_verifier::appraise::device_spiffe_id;

use super::TRUST_DOMAIN;
use crate::attester::{Fault, TestCa, ak_usage};
use crate::forge::SoftwareKey;
use crate::forge::platform::{finger_key, pin_key};
use crate::world::{Bytes, Software};

/// Keys, each the digest of its name: nobody can take them for secrets.
pub(super) fn keys(ca: &TestCa, batch: &AttestationBatch) -> Result<Software, Fault> {
    let mut secrets = BTreeMap::new();
    for role in ["tls", "ak", "credential", "platform", "release"] {
        let secret = sha256(format!("signet fixtures: {role} in software").as_bytes());
        secrets.insert(role.to_owned(), Bytes(secret.to_vec()));
    }
    let maker = scalar(&batch.key).ok_or("the maker's key")?;
    secrets.insert("maker".to_owned(), Bytes(maker.to_vec()));
    let key = |role: &str| SoftwareKey::from_scalar(&secrets[role].0);
    let (ak, platform, release) = (key("ak")?, key("platform")?, key("release")?);
    let client = || vec![ExtendedKeyUsagePurpose::ClientAuth];
    let other_ca = TestCa::generate("Another AK CA")?;
    let point = ak.point();
    let ak_certificates = BTreeMap::from([
        ("sound".to_owned(), Bytes(ca.attestation_key(&point)?)),
        ("expired".to_owned(), Bytes(ca.any(&[], vec![ak_usage()], 2020..2026, &point)?)),
        ("not-yet".to_owned(), Bytes(ca.any(&[], vec![ak_usage()], 2028..2120, &point)?)),
        ("client".to_owned(), Bytes(ca.any(&[], client(), 2020..2120, &point)?)),
        ("any-usage".to_owned(), {
            let any = vec![ExtendedKeyUsagePurpose::Any];
            Bytes(ca.any(&[], any, 2020..2120, &point)?)
        }),
        ("no-usage".to_owned(), Bytes(ca.any(&[], Vec::new(), 2020..2120, &point)?)),
        ("other-ca".to_owned(), Bytes(other_ca.attestation_key(&point)?)),
        ("other-key".to_owned(), Bytes(ca.attestation_key(&key("credential")?.point())?)),
    ]);
    let maker_certificates =
        BTreeMap::from([("sound".to_owned(), Bytes(batch.certificate.clone()))]);
    Ok(Software {
        tls: Bytes(key("tls")?.point().to_vec()),
        ak_certificates,
        maker_certificates,
        credential: Bytes(sha256(b"signet fixtures: credential id in software").to_vec()),
        credential_key: Bytes(key("credential")?.cose_key().to_bytes()),
        pin_key: Bytes(pin_key(&platform.point()).to_bytes()),
        finger_key: Bytes(finger_key(&platform.point(), &release.point()).to_bytes()),
        secrets,
    })
}

/// Client certificates of the TLS key in software, by what is wrong with them.
pub(super) fn peers(
    ca: &TestCa,
    device: &DeviceId,
    tls: &[u8],
) -> Result<BTreeMap<String, Bytes>, Fault> {
    let id = device_spiffe_id(TRUST_DOMAIN, device);
    let id = id.as_str();
    let other_domain = device_spiffe_id("evil.example", device);
    let other_device =
        device_spiffe_id(TRUST_DOMAIN, &DeviceId::from_random(&[0xdd; 16]).ok_or("id")?);
    let user = format!("spiffe://{TRUST_DOMAIN}/user/alice");
    let client = || vec![ExtendedKeyUsagePurpose::ClientAuth];
    let other_ca = TestCa::generate("Another CA")?;
    // The same name as the real CA's, and another key.
    let namesake = TestCa::generate("Signet fixture device CA")?;
    let years = 2020..2120;
    let certificates = [
        ("software", ca.device(TRUST_DOMAIN, device, tls)?),
        ("software-expired", ca.any(&[id], client(), 2020..2026, tls)?),
        ("software-not-yet", ca.any(&[id], client(), 2028..2120, tls)?),
        ("software-server", {
            ca.any(&[id], vec![ExtendedKeyUsagePurpose::ServerAuth], years.clone(), tls)?
        }),
        ("software-no-usage", ca.any(&[id], Vec::new(), years.clone(), tls)?),
        ("software-ak-usage", ca.any(&[id], vec![ak_usage()], years.clone(), tls)?),
        ("software-nameless", ca.any(&[], client(), years.clone(), tls)?),
        ("software-two-names", ca.any(&[id, &other_device], client(), years.clone(), tls)?),
        ("software-other-domain", ca.any(&[&other_domain], client(), years.clone(), tls)?),
        ("software-other-device", ca.any(&[&other_device], client(), years.clone(), tls)?),
        ("software-user", ca.any(&[&user], client(), years, tls)?),
        ("software-other-ca", other_ca.device(TRUST_DOMAIN, device, tls)?),
        ("software-namesake-ca", namesake.device(TRUST_DOMAIN, device, tls)?),
    ];
    Ok(certificates.into_iter().map(|(name, der)| (name.to_owned(), Bytes(der))).collect())
}
