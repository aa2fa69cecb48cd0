//! A chain of certificates that was seen before is believed for nothing but its signatures.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use signet_evidence::{CertificateThumbprint, UnixTime};
use signet_verifier::certificate::{KeyPurpose, PathError, TrustAnchors};
use signet_verifier::chains::SeenChains;

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;
const DAY: i64 = 86_400;
const CLIENT: KeyPurpose = KeyPurpose::ClientAuthentication;

struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// Valid in 2025 and 2026.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Ca {
    fn root(name: &str) -> Self {
        let (params, key) = (ca_params(name), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn under(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_der([&self.der]).unwrap()
    }

    fn machine(&self) -> Vec<u8> {
        let mut params = params("machine");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().to_vec()
    }
}

/// Which anchor it led to.
fn judge(
    seen: &SeenChains,
    leaf: &[u8],
    intermediates: &[&Ca],
    anchors: &TrustAnchors,
    now: i64,
) -> Result<CertificateThumbprint, PathError> {
    let intermediates: Vec<Vec<u8>> = intermediates.iter().map(|ca| ca.der.clone()).collect();
    let path = seen.verify(leaf, &intermediates, anchors, CLIENT, UnixTime(now))?;
    assert_eq!(path.leaf().der(), leaf);
    Ok(path.anchor())
}

#[test]
fn what_has_run_out_since_is_refused_and_holds_again_when_the_clock_was_wrong() {
    let (seen, ca) = (SeenChains::default(), Ca::root("root"));
    let (leaf, anchors) = (ca.machine(), ca.anchors());
    let at = |now| judge(&seen, &leaf, &[], &anchors, now).map(|_| ());
    let (first, last) = (1_735_689_600, 1_798_761_600);
    for _ in 0..2 {
        assert_eq!(at(NOW), Ok(()));
        assert_eq!(at(last), Ok(()));
        assert_eq!(at(last + 1), Err(PathError::Expired));
        assert_eq!(at(first), Ok(()));
        assert_eq!(at(first - 1), Err(PathError::NotYetValid));
        assert_eq!(at(i64::MIN), Err(PathError::NotYetValid));
        assert_eq!(at(i64::MAX), Err(PathError::Expired));
    }
}

#[test]
fn an_intermediate_that_has_run_out_ends_the_chain_before_its_leaf() {
    let (seen, root) = (SeenChains::default(), Ca::root("root"));
    let mut short = ca_params("intermediate");
    short.not_after = date_time_ymd(2026, 1, 2);
    let intermediate = root.under(short);
    let leaf = intermediate.machine();
    let at = |now| judge(&seen, &leaf, &[&intermediate], &root.anchors(), now).map(|_| ());
    assert_eq!(at(NOW), Ok(()));
    assert_eq!(at(NOW + DAY), Ok(()));
    assert_eq!(at(NOW + DAY + 1), Err(PathError::Expired));
}

/// The first path found may end while another goes on.
#[test]
fn another_path_is_looked_for_when_the_remembered_one_has_run_out() {
    let (seen, root) = (SeenChains::default(), Ca::root("root"));
    let key = KeyPair::generate().unwrap().serialize_der();
    let key = || KeyPair::try_from(key.as_slice()).unwrap();
    let certify = |year| {
        let mut params = ca_params("intermediate");
        params.not_after = date_time_ymd(year, 1, 2);
        let der = params.signed_by(&key(), &root.issuer).unwrap().der().to_vec();
        Ca { der, issuer: Issuer::new(params, key()) }
    };
    let (short, long) = (certify(2026), certify(2027));
    let leaf = short.machine();
    for intermediates in [[&short, &long], [&long, &short]] {
        let at = |now| judge(&seen, &leaf, &intermediates, &root.anchors(), now).map(|_| ());
        assert_eq!(at(NOW), Ok(()));
        assert_eq!(at(NOW + 30 * DAY), Ok(()));
        assert_eq!(at(NOW), Ok(()));
        assert_eq!(at(1_798_761_601), Err(PathError::Expired));
    }
}

#[test]
fn other_anchors_make_it_another_chain() {
    let (seen, ours, other) = (SeenChains::default(), Ca::root("root"), Ca::root("root"));
    let leaf = ours.machine();
    let both = TrustAnchors::from_der([&other.der, &ours.der]).unwrap();
    for _ in 0..2 {
        let anchor = Ok(CertificateThumbprint::of_der(&ours.der));
        assert_eq!(judge(&seen, &leaf, &[], &ours.anchors(), NOW), anchor);
        assert_eq!(judge(&seen, &leaf, &[], &both, NOW), anchor);
        // Of the same name, and with another key.
        let refused = judge(&seen, &leaf, &[], &other.anchors(), NOW);
        assert_eq!(refused, Err(PathError::SignatureInvalid));
        let none = TrustAnchors::default();
        assert_eq!(judge(&seen, &leaf, &[], &none, NOW), Err(PathError::UnknownIssuer));
    }
}

#[test]
fn another_purpose_or_another_set_of_intermediates_is_another_chain() {
    let (seen, root) = (SeenChains::default(), Ca::root("root"));
    let intermediate = root.under(ca_params("intermediate"));
    let (leaf, anchors) = (intermediate.machine(), root.anchors());
    assert!(judge(&seen, &leaf, &[&intermediate], &anchors, NOW).is_ok());
    assert_eq!(judge(&seen, &leaf, &[], &anchors, NOW), Err(PathError::UnknownIssuer));
    let ak = KeyPurpose::AttestationKey;
    let intermediates = [intermediate.der.clone()];
    let refused = seen.verify(&leaf, &intermediates, &anchors, ak, UnixTime(NOW)).map(|_| ());
    assert_eq!(refused, Err(PathError::Purpose(ak)));
    // The same bytes, cut elsewhere.
    let cut = leaf.len() - 1;
    let moved = [&leaf[cut..], &intermediate.der].concat();
    let refused = seen.verify(&leaf[..cut], &[moved], &anchors, CLIENT, UnixTime(NOW)).map(|_| ());
    assert!(matches!(refused, Err(PathError::Leaf(_))), "{refused:?}");
    // One flipped bit of the leaf's signature.
    let mut forged = leaf.clone();
    *forged.last_mut().unwrap() ^= 1;
    let refused = judge(&seen, &forged, &[&intermediate], &anchors, NOW);
    assert_eq!(refused, Err(PathError::SignatureInvalid));
}

#[test]
fn a_full_memory_forgets_and_judges_right_all_the_same() {
    let (seen, ca, stranger) = (SeenChains::at_most(4), Ca::root("root"), Ca::root("other"));
    let anchors = ca.anchors();
    let machines: Vec<_> = (0..16).map(|_| ca.machine()).collect();
    let strangers: Vec<_> = (0..16).map(|_| stranger.machine()).collect();
    for _ in 0..3 {
        for (machine, stranger) in machines.iter().zip(&strangers) {
            assert!(judge(&seen, machine, &[], &anchors, NOW).is_ok());
            let refused = judge(&seen, stranger, &[], &anchors, NOW);
            assert_eq!(refused, Err(PathError::UnknownIssuer));
            let later = judge(&seen, machine, &[], &anchors, NOW + 400 * DAY);
            assert_eq!(later, Err(PathError::Expired));
        }
    }
}
