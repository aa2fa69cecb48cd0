//! Rotations of the CAs' keys under a serving authority: nobody who renews in time is refused on the way, and
//! nobody who did not is taken afterwards.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use signet_authority::keys::{
    self, CERTIFICATE_AUTHORITIES, CaRing, CaTimes, KeyState, Urgency, rotate_ca,
};
use signet_evidence::UnixTime;
use signet_verifier::certificate::{TrustAnchors, VerifiedPath};

use house::House;

/// Short: who shakes hands goes by the system's clock, and certificates are valid from five minutes before.
const TIMES: CaTimes =
    CaTimes { ahead: Duration::from_secs(100), overlap: Duration::from_secs(100) };

struct Seat {
    house: House,
    ahead: Arc<AtomicI64>,
}

impl Seat {
    async fn new() -> Self {
        let (house, ahead) = House::in_time().await;
        Self { house, ahead }
    }

    fn now(&self) -> UnixTime {
        self.house.authority.now()
    }

    fn pass(&self, time: Duration) {
        self.ahead.fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::SeqCst);
    }

    fn ca(&self, name: &str) -> &CaRing {
        let authorities = self.house.authority.keys.authorities();
        let mut named = authorities.into_iter().zip(CERTIFICATE_AUTHORITIES);
        named.find(|(_, (file, _))| *file == name).unwrap().0
    }

    /// Makes another key of a CA, and returns when the authority has it.
    async fn rotate(&self, name: &str, urgency: Urgency) {
        let before = self.ca(name).list(self.now());
        let ca = CERTIFICATE_AUTHORITIES.into_iter().find(|(file, _)| *file == name).unwrap();
        let directory = self.house.authority.config.keys();
        rotate_ca(&directory, ca, TIMES, urgency, self.now()).unwrap().unwrap();
        while self.ca(name).list(self.now()) == before {
            tokio::task::yield_now().await;
        }
    }

    fn states(&self, name: &str) -> Vec<KeyState> {
        self.ca(name).list(self.now()).into_iter().map(|one| one.state).collect()
    }

    /// What the authority answers a machine; `None` when there is no connection.
    async fn machine(&self, client: &reqwest::Client) -> Option<StatusCode> {
        let answer = client.get(self.house.clients("/v1/authenticators")).send().await;
        answer.ok().map(|answer| answer.status())
    }

    /// The same for a gateway.
    async fn gateway(&self, client: &reqwest::Client) -> Option<StatusCode> {
        let answer = client.get(self.house.gateways("/metrics")).send().await;
        answer.ok().map(|answer| answer.status())
    }

    async fn bundle(&self, file: &str) -> Vec<CertificateDer<'static>> {
        let url = self.house.clients(&format!("/ca/{file}"));
        let answer = self.house.stranger().get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let text = answer.bytes().await.unwrap();
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().unwrap()
    }
}

const GOOD: Option<StatusCode> = Some(StatusCode::OK);

#[tokio::test]
async fn a_machine_goes_on_while_its_ca_changes_and_ends_with_it_unless_it_renewed() {
    let seat = Seat::new().await;
    let old = seat.house.machine("alice").await;
    // One connection that stays, beside those that are made anew.
    let kept = old.client(&seat.house);
    assert_eq!(seat.machine(&kept).await, GOOD);
    let works = async || {
        assert_eq!(seat.machine(&kept).await, GOOD);
        assert_eq!(seat.machine(&old.client(&seat.house)).await, GOOD);
    };
    seat.rotate("device-ca", Urgency::Scheduled).await;
    works().await;
    assert_eq!(seat.states("device-ca"), [KeyState::Signing, KeyState::Next]);
    assert_eq!(seat.bundle("device.pem").await.len(), 2, "gateways can have it in time");
    let early = seat.house.machine("bob").await;
    assert!(leads_to(&early.identity().0, &seat.bundle("device.pem").await[..1], seat.now()));

    seat.pass(TIMES.ahead);
    assert_eq!(seat.states("device-ca"), [KeyState::Leaving, KeyState::Signing]);
    works().await;
    let new = seat.house.machine("carol").await;
    assert!(leads_to(&new.identity().0, &seat.bundle("device.pem").await[1..], seat.now()));
    assert_eq!(seat.machine(&new.client(&seat.house)).await, GOOD);

    seat.pass(TIMES.overlap);
    while seat.machine(&old.client(&seat.house)).await.is_some() {}
    assert_eq!(seat.machine(&kept).await, None, "no connection outlives it");
    assert_eq!(seat.machine(&new.client(&seat.house)).await, GOOD);
    assert_eq!(seat.states("device-ca"), [KeyState::Signing]);
    assert_eq!(seat.bundle("device.pem").await.len(), 1);
    let directory = seat.house.authority.config.keys();
    assert!(!directory.join("device-ca.key").exists(), "its secret is gone");
    let file = keys::read_certificates(&directory.join("device-ca.pem")).unwrap();
    assert_eq!(file, seat.bundle("device.pem").await);
    // The next one, from there.
    seat.rotate("device-ca", Urgency::Scheduled).await;
    assert_eq!(seat.machine(&new.client(&seat.house)).await, GOOD);
}

#[tokio::test]
async fn a_gateway_renews_into_the_next_ca_and_is_refused_when_it_did_not() {
    let seat = Seat::new().await;
    let (old, late) = (seat.house.gateway("edge"), seat.house.gateway("edge"));
    seat.rotate("gateway-ca", Urgency::Scheduled).await;
    assert_eq!(seat.gateway(&old).await, GOOD);
    seat.pass(TIMES.ahead);
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let url = seat.house.gateways("/v1/gateway/certificate");
    let answer = old.post(url).body(request).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let renewed = CertificateDer::from_pem_slice(&answer.bytes().await.unwrap()).unwrap();
    let trusted = seat.ca("gateway-ca").trusted(seat.now());
    assert!(leads_to(&renewed, &trusted[1..], seat.now()));
    let der = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let renewed = seat.house.client_with((renewed, der));
    assert_eq!(seat.gateway(&renewed).await, GOOD);
    assert_eq!(seat.gateway(&late).await, GOOD);
    seat.pass(TIMES.overlap);
    while seat.gateway(&late).await.is_some() {}
    assert_eq!(seat.gateway(&renewed).await, GOOD);
}

#[tokio::test]
async fn in_an_emergency_nothing_of_the_stolen_key_counts_and_its_connections_end() {
    let seat = Seat::new().await;
    let (machine, gateway) = (seat.house.machine("alice").await, seat.house.gateway("edge"));
    let mut stream = gateway.get(seat.house.gateways("/v1/events")).send().await.unwrap();
    seat.rotate("gateway-ca", Urgency::Emergency).await;
    while let Ok(Some(_)) = stream.chunk().await {}
    assert_eq!(seat.gateway(&gateway).await, None);
    assert_eq!(seat.gateway(&seat.house.gateway("edge")).await, GOOD);
    assert_eq!(seat.machine(&machine.client(&seat.house)).await, GOOD, "it has another CA");

    seat.rotate("device-ca", Urgency::Emergency).await;
    while seat.machine(&machine.client(&seat.house)).await.is_some() {}
    assert_eq!(seat.bundle("device.pem").await.len(), 1);
    assert!(seat.ca("device-ca").links(seat.now()).is_empty(), "the thief could make links, too");
    let again = seat.house.machine("alice").await;
    assert_eq!(seat.machine(&again.client(&seat.house)).await, GOOD);
}

#[tokio::test]
async fn the_authority_shows_a_certificate_of_its_next_ca_when_that_one_issues() {
    let seat = Seat::new().await;
    let first = seat.house.shown_by("localhost").await;
    seat.rotate("server-ca", Urgency::Scheduled).await;
    let both = seat.bundle("server.pem").await;
    assert_eq!(both.len(), 2, "whoever renews knows it in time");
    assert_eq!(seat.house.shown_by("localhost").await, first);
    seat.pass(TIMES.ahead);
    let second = loop {
        let shown = seat.house.shown_by("localhost").await;
        if shown != first {
            break shown;
        }
    };
    assert!(leads_to(&second[0], &both[1..], seat.now()));
    assert!(!leads_to(&second[0], &both[..1], seat.now()));
    // Whoever got to know the next one by the link that the first one signed trusts it as well.
    let links = seat.ca("server-ca").links(seat.now());
    assert!(leads_to(&second[0], &links, seat.now()));
}

#[test]
fn one_rotation_of_a_ca_is_under_way_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, now) = (folder.path().join("keys"), UnixTime(1_800_000_000));
    keys::create(&directory, now).unwrap();
    let ca = CERTIFICATE_AUTHORITIES[1];
    let rotate =
        |at: Duration| rotate_ca(&directory, ca, TIMES, Urgency::Scheduled, now.plus(at)).unwrap();
    let rotated = rotate(Duration::ZERO).unwrap();
    assert_eq!(rotated.issues_from, now.plus(TIMES.ahead));
    assert_eq!(rotated.ends, now.plus(TIMES.ahead + TIMES.overlap));
    assert_eq!(rotate(TIMES.ahead), None);
    assert!(rotate(TIMES.ahead + TIMES.overlap).is_some());
    assert!(!directory.join("ak-ca.key").exists());
    // An organisation certifies the newest key; the one before it stays as it was.
    let request = keys::certificate_request(&directory, ca.0, ca.1).unwrap();
    let root = rcgen::Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let request = rcgen::CertificateSigningRequestParams::from_pem(&request).unwrap();
    let imported = request.signed_by(&root).unwrap();
    let before = keys::load(&directory).unwrap().ak_ca.trusted(now);
    keys::import_certificate(&directory, ca.0, imported.der().clone(), now).unwrap();
    let expected = [&before[..2], &[imported.der().clone()]].concat();
    assert_eq!(keys::load(&directory).unwrap().ak_ca.trusted(now), expected);
    // What was judged at a time is judged again by the CAs of that time.
    let loaded = keys::load(&directory).unwrap();
    for (at, trusted) in [(Duration::ZERO, 3), (TIMES.ahead + TIMES.overlap, 2)] {
        assert_eq!(loaded.ak_ca.trusted(now.plus(at)).len(), trusted);
    }
}

fn leads_to(leaf: &[u8], anchors: &[CertificateDer<'_>], now: UnixTime) -> bool {
    let anchors = TrustAnchors::from_der(anchors).unwrap();
    VerifiedPath::verify(leaf, &[], &anchors, None, now).is_ok()
}
