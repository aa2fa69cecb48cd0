//! What of an event counts, at the edges: only what its digest covers, and a hint decides nothing.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use signet_evidence::eventlog::{
    BootFacts, Content, EventLog, EventLogError, Limits, PcrComparison, SecureBoot,
    UnprovenSecureBoot, hint,
};
use signet_evidence::tpm::PcrValues;

#[path = "../examples/forge-event-logs/machine.rs"]
#[allow(dead_code, reason = "the generator of forged logs uses the rest")]
mod machine;

use machine::{ACTION, Event, Machine, SHA256, SHA384, locality};

/// A log of these events alone.
fn log(events: &[Event]) -> EventLog<'static> {
    let banks = vec![(SHA256.id(), 32), (SHA384.id(), 48)];
    let machine = Machine { banks, locality: 0, events: events.to_vec() };
    EventLog::parse(machine.log().leak(), &Limits::default()).unwrap()
}

/// What is made of an event that logs one thing and measured another.
fn seen(logged: &[u8], measured: &[u8]) -> (Content<'static>, Option<String>) {
    let log = log(&[Event::of(9, 6, logged, measured)]);
    let event = &log.events()[1];
    (Content::of(event, SHA256), hint(event))
}

fn text(text: &str) -> Content<'static> {
    Content::Text { text: text.to_owned(), label: None }
}

/// `TCG_PCClientTaggedEvent`: an id, a length, and the content, which alone may be what was hashed.
#[test]
fn a_tagged_event_is_its_content_where_that_was_measured() {
    let tagged = |length: u32, content: &[u8]| {
        [&0xfeed_beef_u32.to_le_bytes()[..], &length.to_le_bytes(), content].concat()
    };
    let words = Some("quiet splash".to_owned());
    let logged = tagged(12, b"quiet splash");
    assert_eq!(seen(&logged, b"quiet splash"), (text("quiet splash"), words.clone()));
    // The whole event may be hashed as well: then its head is part of what was measured.
    assert_eq!(seen(&logged, &logged), (Content::Bytes(logged.clone().leak()), words.clone()));
    assert_eq!(seen(&logged, b"quiet"), (Content::Opaque, words));
    let bytes = [0xff, 0xfe, 0x01];
    assert_eq!(seen(&tagged(3, &bytes), &bytes), (Content::Bytes(&[0xff, 0xfe, 0x01]), None));
    for length in [0, 11, 13, u32::MAX] {
        let lying = tagged(length, b"quiet splash");
        assert_eq!(seen(&lying, b"quiet splash"), (Content::Opaque, None), "{length}");
    }
}

#[test]
fn text_is_read_up_to_its_bound() {
    let longest = "a".repeat(16 << 10);
    let bytes = longest.as_bytes();
    assert_eq!(seen(bytes, bytes).0, text(&longest));
    let longer = [bytes, b"a"].concat();
    assert_eq!(seen(&longer, &longer), (Content::Bytes(longer.clone().leak()), None));
    assert_eq!(seen(b"", b""), (Content::Bytes(&[]), None));
    assert_eq!(seen(b"a\nb\tc\0", b"a\nb\tc\0").0, text("a\nb\tc"));
    assert_eq!(seen(b"a\x1b[2J", b"a\x1b[2J").0, Content::Bytes(b"a\x1b[2J"));
}

/// `UEFI_IMAGE_LOAD_EVENT` ends in a device path; the file in it is for people.
#[test]
fn the_name_of_an_image_is_that_of_its_own_path() {
    let node = |kind: u8, sub: u8, content: &[u8]| {
        let length = u16::try_from(content.len() + 4).unwrap().to_le_bytes();
        [&[kind, sub][..], &length, content].concat()
    };
    let name: Vec<u8> = "\\a.efi\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (pci, file) = (node(1, 1, &[0, 2]), node(4, 4, &name));
    let hinted = |nodes: &[&[u8]]| {
        let (content, hint) = seen(&[&[0; 32], &nodes.concat()[..]].concat(), b"image");
        assert_eq!(content, Content::Opaque);
        hint
    };
    let named = Some("\\a.efi".to_owned());
    assert_eq!(hinted(&[&file]), named);
    assert_eq!(hinted(&[&pci, &file, &node(0x7f, 0xff, &[])]), named);
    // What stands behind the end of a path is of another.
    assert_eq!(hinted(&[&pci, &node(0x7f, 0x01, &[]), &file]), None);
    assert_eq!(hinted(&[&pci, &file[..7]]), None);
    assert_eq!(hinted(&[&pci]), None);
}

/// Of what firmware says in PCR 7 in words, the debugger alone takes the belief away (PFP 1.06 §3.3.4.8).
#[test]
fn a_debugger_and_nothing_else_that_firmware_says_is_a_doubt() {
    let secure_boot = |words: &[u8]| {
        let mut machine = Machine::genuine();
        machine.events.insert(4, Event::whole(7, ACTION, words));
        let log = EventLog::parse(machine.log().leak(), &Limits::default()).unwrap();
        BootFacts::of(&log, SHA256, &[7].into()).secure_boot
    };
    assert_eq!(secure_boot(b"DMA Protection Disabled"), SecureBoot::On);
    let debugged = SecureBoot::Unproven(UnprovenSecureBoot::DebugMode(5));
    assert_eq!(secure_boot(b"UEFI Debug Mode"), debugged);
}

/// A PCR without an event holds what a reset leaves there, or something else was measured.
#[test]
fn what_a_reset_leaves_is_no_measurement() {
    let log = log(&[locality(3)]);
    let ends = |first: u8, middle: u8, last: u8| {
        let mut value = vec![middle; 32];
        (value[0], value[31]) = (first, last);
        value
    };
    use PcrComparison::{NotInLog, Untouched};
    for (pcr, value, expected) in [
        (0, ends(0, 0, 0), Untouched),
        (0, ends(0, 0, 3), Untouched),
        (0, ends(0, 0, 4), NotInLog),
        (0, ends(1, 0, 3), NotInLog),
        (0, ends(3, 3, 3), NotInLog),
        (1, ends(0, 0, 0), Untouched),
        (1, ends(0, 0, 3), NotInLog),
        (1, ends(0xff, 0xff, 0xff), NotInLog),
        (16, ends(0xff, 0xff, 0xff), NotInLog),
        (17, ends(0xff, 0xff, 0xff), Untouched),
        (17, ends(0, 0, 0), Untouched),
        (17, ends(0xff, 0xff, 0xfe), NotInLog),
        (22, ends(0xff, 0xff, 0xff), Untouched),
        (23, ends(0xff, 0xff, 0xff), NotInLog),
    ] {
        let quoted = PcrValues::of_bank(SHA256, [(pcr, value.clone())]).unwrap();
        let compared = log.compare(SHA256, &quoted).unwrap();
        assert_eq!(compared, [(pcr, expected)].into(), "PCR {pcr} {value:02x?}");
    }
}

#[test]
fn a_log_may_be_as_long_as_its_limits_and_no_longer() {
    let machine = Machine::genuine();
    let (log, events) = (machine.log(), machine.events.len() + 1);
    let within = |bytes, events| {
        let limits = Limits { bytes, events, ..Limits::default() };
        EventLog::parse(&log, &limits).map(|log| log.events().len())
    };
    let (length, limit) = (log.len(), log.len() - 1);
    assert_eq!(within(length, events), Ok(events));
    assert_eq!(within(limit, events), Err(EventLogError::TooLong { length, limit }));
    let limit = events - 1;
    assert_eq!(within(length, limit), Err(EventLogError::TooManyEvents { limit }));
}
