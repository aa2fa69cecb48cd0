//! The fingerprint reader through the real fprintd with libfprint's virtual device.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use futures_util::StreamExt;
use signet_daemon::config::Bus;
use signet_daemon::platform::Match;
use signet_daemon::platform::fprintd::{Notice, Reader, ReaderError, Retry};
use signet_evidence::FingerFacts;
use signet_evidence::facts::finger_set_digest;
use signet_tests::bus::PrivateBus;
use signet_tests::fprintd::Fprintd;
use tokio::sync::mpsc;
use zbus::{Connection, MatchRule, MessageStream, connection};

const USER: &str = "root";
const FINGER: &str = "right-index-finger";
const PRINT: &str = "alice-right-index";
const DEVICE: &str = "/net/reactivated/Fprint/Device/0";
const INTERFACE: &str = "net.reactivated.Fprint.Device";

struct Desk {
    fprintd: Fprintd,
    reader: Reader,
    bus: PrivateBus,
}

impl Desk {
    /// A reader with no finger enrolled.
    fn empty() -> Self {
        let bus = Fprintd::bus().unwrap();
        let fprintd = Fprintd::start(&bus).unwrap();
        let reader = Reader::new(Bus::Address(bus.address().to_owned()), true);
        Self { fprintd, reader, bus }
    }

    fn new() -> Self {
        let desk = Self::empty();
        desk.fprintd.enrol(USER, FINGER, PRINT).unwrap();
        desk
    }

    async fn facts(&self) -> FingerFacts {
        self.reader.facts(USER).await.unwrap()
    }

    /// A verification that runs by itself, with what it says on the way.
    async fn verifying(&self) -> Verifying {
        let (reader, facts) = (self.reader.clone(), self.facts().await);
        let (telling, notices) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut notice = |notice| telling.send(notice).unwrap();
            reader.verify(USER, &facts, [7; 32], &mut notice).await
        });
        Verifying { task, notices }
    }

    async fn connect(&self) -> Connection {
        connection::Builder::address(self.bus.address()).build().await.unwrap()
    }
}

struct Verifying {
    task: tokio::task::JoinHandle<Result<Match, ReaderError>>,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Verifying {
    async fn expect(&mut self, expected: Notice) {
        assert_eq!(self.notices.recv().await, Some(expected));
    }

    async fn end(self) -> Result<(), ReaderError> {
        self.task.await.unwrap().map(drop)
    }
}

/// Calls a method of the reader as another program.
async fn call(other: &Connection, method: &str, user: &str) -> zbus::Result<zbus::Message> {
    let service = Some("net.reactivated.Fprint");
    other.call_method(service, DEVICE, Some(INTERFACE), method, &(user,)).await
}

#[tokio::test]
async fn a_virtual_reader_counts_only_where_the_configuration_says_so() {
    let desk = Desk::new();
    let facts = desk.facts().await;
    assert_eq!(facts.driver, "Virtual device for debugging");
    assert_eq!(facts.fingers, finger_set_digest([FINGER]));
    assert_eq!(desk.reader.driver().await.as_ref(), Ok(&facts.driver));
    let strict = Reader::new(Bus::Address(desk.bus.address().to_owned()), false);
    assert_eq!(strict.driver().await, Err(ReaderError::Virtual));
    assert_eq!(strict.facts(USER).await, Err(ReaderError::Virtual));
    let refused = strict.verify(USER, &facts, [7; 32], &mut |_| ()).await;
    assert_eq!(refused.map(drop), Err(ReaderError::Virtual));
}

#[tokio::test]
async fn the_right_finger_matches_and_scans_of_no_use_are_told() {
    let desk = Desk::new();
    for (command, retry) in [
        ("RETRY 0", Retry::ScanAgain),
        ("RETRY 1", Retry::SwipeTooShort),
        ("RETRY 2", Retry::NotCentered),
        ("RETRY 3", Retry::RemoveAndRetry),
    ] {
        let mut verifying = desk.verifying().await;
        verifying.expect(Notice::FingerNeeded).await;
        desk.fprintd.command(command).unwrap();
        verifying.expect(Notice::Retry(retry)).await;
        desk.fprintd.scan(PRINT).unwrap();
        assert_eq!(verifying.end().await, Ok(()));
    }
}

#[tokio::test]
async fn a_wrong_finger_may_be_followed_by_the_right_one_and_three_are_too_many() {
    let desk = Desk::new();
    for right in [true, false] {
        let mut verifying = desk.verifying().await;
        for tries_left in [2, 1] {
            verifying.expect(Notice::FingerNeeded).await;
            desk.fprintd.scan("mallory").unwrap();
            verifying.expect(Notice::NoMatch { tries_left }).await;
        }
        verifying.expect(Notice::FingerNeeded).await;
        desk.fprintd.scan(if right { PRINT } else { "mallory" }).unwrap();
        let expected = if right { Ok(()) } else { Err(ReaderError::NoMatch) };
        assert_eq!(verifying.end().await, expected);
    }
}

#[tokio::test]
async fn false_results_of_other_programs_are_ignored() {
    let desk = Desk::new();
    let mut verifying = desk.verifying().await;
    verifying.expect(Notice::FingerNeeded).await;
    let (mallory, witness) = (desk.connect().await, desk.connect().await);
    let rule = MatchRule::builder().interface(INTERFACE).member("VerifyStatus");
    let mut seen =
        MessageStream::for_match_rule(rule.build().unwrap(), &witness, None).await.unwrap();
    let bus = zbus::fdo::DBusProxy::new(&mallory).await.unwrap();
    let everybody = bus.list_names().await.unwrap();
    let body = ("verify-match", true);
    let signal = |to| mallory.emit_signal(to, DEVICE, INTERFACE, "VerifyStatus", &body);
    signal(None::<zbus::names::BusName<'_>>).await.unwrap();
    // And to each program on the bus itself, as a match rule would not even be needed.
    for name in everybody.iter().filter(|name| name.as_str().starts_with(':')) {
        signal(Some(name.inner().clone())).await.unwrap();
    }
    // The witness, who checks no sender, has them: so has the verification.
    for _ in 0..2 {
        let message = seen.next().await.unwrap().unwrap();
        let said: (String, bool) = message.body().deserialize().unwrap();
        assert_eq!(said, ("verify-match".to_owned(), true));
    }
    for tries_left in [2, 1] {
        desk.fprintd.scan("mallory").unwrap();
        verifying.expect(Notice::NoMatch { tries_left }).await;
        verifying.expect(Notice::FingerNeeded).await;
    }
    desk.fprintd.scan("mallory").unwrap();
    assert_eq!(verifying.end().await, Err(ReaderError::NoMatch));
}

#[tokio::test]
async fn a_reader_in_use_is_told_and_given_back_by_every_way_out() {
    let desk = Desk::new();
    let other = desk.connect().await;
    call(&other, "Claim", USER).await.unwrap();
    assert_eq!(desk.verifying().await.end().await, Err(ReaderError::Busy));
    other.close().await.unwrap();

    // A failure, a match and a request that is dropped in the middle.
    let mut verifying = desk.verifying().await;
    verifying.expect(Notice::FingerNeeded).await;
    desk.fprintd.command("ERROR 0").unwrap();
    assert_eq!(verifying.end().await, Err(ReaderError::Failed));
    let mut verifying = desk.verifying().await;
    verifying.expect(Notice::FingerNeeded).await;
    verifying.task.abort();
    assert!(verifying.task.await.unwrap_err().is_cancelled());
    let mut verifying = desk.verifying().await;
    verifying.expect(Notice::FingerNeeded).await;
    desk.fprintd.scan(PRINT).unwrap();
    assert_eq!(verifying.end().await, Ok(()));
    let other = desk.connect().await;
    call(&other, "Claim", USER).await.unwrap();
}

#[tokio::test]
async fn the_fingers_are_those_of_the_person_and_of_the_moment() {
    let desk = Desk::empty();
    assert_eq!(desk.reader.facts(USER).await, Err(ReaderError::NoFingers));
    desk.fprintd.enrol(USER, FINGER, PRINT).unwrap();
    let before = desk.facts().await;
    desk.fprintd.enrol(USER, "left-thumb", "mallory-thumb").unwrap();
    assert_ne!(desk.facts().await, before);
    let changed = desk.reader.verify(USER, &before, [7; 32], &mut |_| ()).await;
    assert_eq!(changed.map(drop), Err(ReaderError::Changed));
    assert_eq!(desk.reader.facts("nobody").await, Err(ReaderError::NoFingers));
    desk.fprintd.delete(USER).unwrap();
    let none = desk.reader.verify(USER, &before, [7; 32], &mut |_| ()).await;
    assert_eq!(none.map(drop), Err(ReaderError::NoFingers));
}

#[tokio::test]
async fn a_service_that_ends_in_the_middle_ends_the_verification() {
    let mut desk = Desk::new();
    let mut verifying = desk.verifying().await;
    verifying.expect(Notice::FingerNeeded).await;
    desk.fprintd.kill().unwrap();
    assert_eq!(verifying.end().await, Err(ReaderError::ServiceEnded));
    assert_eq!(desk.reader.driver().await, Err(ReaderError::NoService));
    desk.fprintd.restart().unwrap();
    let mut verifying = desk.verifying().await;
    verifying.expect(Notice::FingerNeeded).await;
    desk.fprintd.scan(PRINT).unwrap();
    assert_eq!(verifying.end().await, Ok(()));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let mut desk = Desk::new();
    desk.fprintd.allow(&[]).unwrap();
    assert_eq!(desk.reader.facts(USER).await, Err(ReaderError::Denied));
    desk.fprintd.restart_without_reader().unwrap();
    assert_eq!(desk.reader.driver().await, Err(ReaderError::NoReader));
    let address = "unix:path=/nonexistent/bus".to_owned();
    let nowhere = Reader::new(Bus::Address(address), true);
    assert_eq!(nowhere.driver().await, Err(ReaderError::NoBus));
}
