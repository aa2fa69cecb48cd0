//! What older keys do: the same firmwares behind a pipe that hides what is new in their getInfo.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use signet_ctap::operation::{UvMethod, choose};
use signet_ctap::reports::{Report, Reports};
use signet_ctap::{DescriptorReports, PinProtocol};
use signet_test_authenticators::KeyOptions;

use crate::person::{Person, Seen};
use crate::*;

/// Replaces bytes in answers of several packets.
struct Rewritten {
    inner: DescriptorReports,
    replacements: Vec<(&'static [u8], &'static [u8])>,
    message: Vec<Report>,
    done: VecDeque<Report>,
}

impl Rewritten {
    fn open(key: &VirtualKey, replacements: &[(&'static [u8], &'static [u8])]) -> Self {
        assert!(replacements.iter().all(|(from, to)| from.len() == to.len()));
        Self {
            inner: DescriptorReports::open(&key.socket()).unwrap(),
            replacements: replacements.to_vec(),
            message: Vec::new(),
            done: VecDeque::new(),
        }
    }

    /// The message's packets with their contents replaced.
    fn rewrite(&mut self) {
        let start = |place: usize| if place == 0 { 7 } else { 5 };
        let mut bytes: Vec<u8> =
            self.message.iter().enumerate().flat_map(|(i, r)| r[start(i)..].to_vec()).collect();
        for (from, to) in &self.replacements {
            while let Some(at) = bytes.windows(from.len()).position(|window| window == *from) {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
        }
        let mut bytes = bytes.into_iter();
        for (place, mut report) in self.message.drain(..).enumerate() {
            report[start(place)..].fill_with(|| bytes.next().unwrap());
            self.done.push_back(report);
        }
    }
}

impl Reports for Rewritten {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Report>> {
        while self.done.is_empty() {
            let report = ready!(self.inner.poll_receive(cx))?;
            self.message.push(report);
            let length = usize::from(u16::from_be_bytes([self.message[0][5], self.message[0][6]]));
            if 57 + 59 * (self.message.len() - 1) >= length {
                self.rewrite();
            }
        }
        Poll::Ready(Ok(self.done.pop_front().unwrap()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, report: &Report) -> Poll<io::Result<()>> {
        self.inner.poll_send(cx, report)
    }

    fn send_now(&mut self, report: &Report) -> io::Result<()> {
        self.inner.send_now(report)
    }
}

const NO_TOKENS: (&[u8], &[u8]) = (b"pinUvAuthToken", b"hidUvAuthToken");
const NO_CTAP_2_1: [(&[u8], &[u8]); 2] = [(b"FIDO_2_1", b"FIDO_x_x"), (b"FIDO_2_3", b"FIDO_x_x")];
/// Member 6 of getInfo.
const PROTOCOLS_2_AND_1: &[u8] = &[0x06, 0x82, 0x02, 0x01];
const PROTOCOL_1_ONLY: &[u8] = &[0x06, 0x82, 0x09, 0x01];

async fn open_rewritten(key: &VirtualKey, replacements: &[(&'static [u8], &'static [u8])]) -> Key {
    Key::open(Rewritten::open(key, replacements), timing()).await.unwrap()
}

#[tokio::test]
async fn protocol_one_sets_changes_and_uses_the_pin() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_rewritten(&key, &[(PROTOCOLS_2_AND_1, PROTOCOL_1_ONLY)]).await;
        assert_eq!(opened.info().pin_protocols, [PinProtocol::One], "{firmware:?}");
        opened.set_pin(&secret("998877")).await.unwrap();
        opened.change_pin(&secret("998877"), &secret(PIN)).await.unwrap();
        let made = register(&mut opened, &registration(BY_PIN)).await;
        assert_by_pin(&mut opened, &assertion(&made, BY_PIN)).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_without_permissions_gives_a_plain_token() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_rewritten(&key, &[NO_TOKENS]).await;
        assert!(!opened.info().has_permissions());
        opened.set_pin(&secret(PIN)).await.unwrap();
        let made = register(&mut opened, &registration(BY_PIN)).await;
        let signed = assert_by_pin(&mut opened, &assertion(&made, BY_PIN)).await.unwrap();
        assert_eq!(signed.uv_method, Some(UvMethod::Pin));
    }
}

#[tokio::test]
async fn a_sensor_without_tokens_verifies_during_the_command() {
    let key = KeyOptions::new(Firmware::OpenSk).finger("right").start().unwrap();
    let mut opened = open_rewritten(&key, &[NO_TOKENS]).await;
    let person = || Person { key: Some(&key), fingers: ["right"].into(), ..Person::default() };
    let request = registration(BY_FINGER);
    let (made, _) = person().attend(async |p| opened.register(&request, &p).await).await;
    let request = assertion(&made.unwrap(), BY_FINGER);
    let (signed, seen) = person().attend(async |p| opened.assert(&request, &p).await).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::BuiltIn));
    assert_eq!(seen.first(), Some(&Seen::Finger));

    let stranger = Person { key: Some(&key), fingers: ["left"].into(), ..Person::default() };
    let (result, _) = stranger.attend(async |p| opened.assert(&request, &p).await).await;
    assert!(matches!(result, Err(OperationError::WrongFinger)), "{result:?}");
}

/// Such a key says by its status that only the PIN helps; the policy decides whether it may.
#[tokio::test]
async fn a_sensor_without_tokens_falls_back_to_the_pin_where_allowed() {
    let key = KeyOptions::new(Firmware::OpenSk).finger("right").start().unwrap();
    let mut opened = open_rewritten(&key, &[NO_TOKENS]).await;
    opened.set_pin(&secret(PIN)).await.unwrap();
    let stranger = || Person { key: Some(&key), fingers: ["left"].into(), pins: [PIN].into() };
    let (result, seen) =
        stranger().attend(async |p| opened.register(&registration(BY_FINGER), &p).await).await;
    assert!(matches!(result, Err(OperationError::WrongFinger)), "{result:?}");
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Pin { .. })));

    let request = registration(BY_PIN);
    let (made, _) = stranger().attend(async |p| opened.register(&request, &p).await).await;
    let made = made.unwrap();
    assert_eq!(made.uv_method, Some(UvMethod::Pin));
    let request = assertion(&made, BY_PIN);
    let (signed, seen) = stranger().attend(async |p| opened.assert(&request, &p).await).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::Pin));
    assert!(seen.contains(&Seen::FingerBlocked), "{seen:?}");
}

#[tokio::test]
async fn keys_without_selection_are_chosen_by_a_request_that_fails() {
    for with_pin in [false, true] {
        let keys = BOTH.map(|firmware| KeyOptions::new(firmware).manual_touch().start().unwrap());
        let mut opened = Vec::new();
        for key in &keys {
            let mut key = open_rewritten(key, &NO_CTAP_2_1).await;
            assert!(!key.info().has_ctap_2_1());
            if with_pin {
                key.set_pin(&secret(PIN)).await.unwrap();
            }
            opened.push(key);
        }
        for chosen in [1, 0] {
            let person = Person { key: Some(&keys[chosen]), ..Person::default() };
            let candidates = opened.iter_mut().enumerate().collect();
            let (place, _) =
                person.attend(async |p| choose(candidates, &p).await.map(|(place, _)| place)).await;
            assert_eq!(place.unwrap(), chosen);
        }
    }
}
