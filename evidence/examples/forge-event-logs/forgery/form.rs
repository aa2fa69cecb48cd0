//! Logs that are none: cut, too long, or against the format.

use super::{Forgery, edited, forgery, patched};
use crate::machine::{Event, Machine, SHA384, locality};

pub(super) fn all() -> Vec<Forgery> {
    [bytes(), spec_id(), digests(), localities(), banks()].into_iter().flatten().collect()
}

/// Logs that end too early or claim too much.
fn bytes() -> Vec<Forgery> {
    let genuine = Machine::genuine();
    let log = genuine.log();
    let second = genuine.offset(2);
    let last = genuine.events.len();
    let cut = |at: usize| log[..at].to_vec();
    let last_size = log.len() - genuine.events[last - 1].data.len() - 4;
    let one_more = u32::try_from(genuine.events[last - 1].data.len() + 1).unwrap();
    vec![
        forgery(("missing", "nothing"), "Missing", "no byte at all", Vec::new()),
        forgery(
            ("too-long", "more-bytes-than-allowed"),
            format!("TooLong {{ length: {}, limit: 1024 }}", log.len()),
            "a genuine log where 1,024 bytes are allowed",
            log.clone(),
        )
        .within("bytes=1024"),
        forgery(
            ("too-long", "more-events-than-allowed"),
            "TooManyEvents { limit: 10 }",
            "a genuine log where 10 events are allowed",
            log.clone(),
        )
        .within("events=10"),
        forgery(
            ("truncated", "in-the-first-event"),
            "Truncated { offset: 8, needed: 20, left: 12 }",
            "cut in the digest of the Spec ID event",
            cut(20),
        ),
        forgery(
            ("truncated", "in-a-digest"),
            format!("Truncated {{ offset: {}, needed: 32, left: 16 }}", second + 14),
            "cut in the SHA-256 digest of event 2",
            cut(second + 30),
        ),
        forgery(
            ("truncated", "in-a-length"),
            format!("Truncated {{ offset: {last_size}, needed: 4, left: 2 }}"),
            "cut in the length of the last event's data",
            cut(last_size + 2),
        ),
        forgery(
            ("truncated", "in-the-last-event"),
            format!("Truncated {{ offset: {}, needed: 40, left: 39 }}", last_size + 4),
            "the last byte is missing",
            cut(log.len() - 1),
        ),
        forgery(
            ("truncated", "length-one-too-many"),
            format!("Truncated {{ offset: {}, needed: 41, left: 40 }}", last_size + 4),
            "the last event claims one byte that is not there",
            patched(last_size, &one_more.to_le_bytes()),
        ),
        forgery(
            ("length-overflow", "all-ones"),
            format!("LengthOverflow {{ offset: {last_size}, length: 4294967295, limit: 131072 }}"),
            "the last event claims 4 GiB",
            patched(last_size, &[0xff; 4]),
        ),
        forgery(
            ("length-overflow", "in-the-first-event"),
            "LengthOverflow { offset: 28, length: 2147483648, limit: 131072 }",
            "the Spec ID event claims 2 GiB",
            patched(28, &0x8000_0000_u32.to_le_bytes()),
        ),
        forgery(
            ("length-overflow", "one-above-the-limit"),
            format!("LengthOverflow {{ offset: {last_size}, length: 131073, limit: 131072 }}"),
            "the last event claims one byte more than any may have",
            patched(last_size, &131_073_u32.to_le_bytes()),
        ),
    ]
}

/// Offsets in the first event: its data begins at 32.
fn spec_id() -> Vec<Forgery> {
    let spec = |name, reason: &str, comment, at, bytes: &[u8]| {
        forgery(("spec-id", name), format!("SpecId({reason})"), comment, patched(at, bytes))
    };
    let banks = |name, reason: &str, comment, banks: &[(u16, u16)]| {
        let log = edited(|machine| machine.banks = banks.to_vec()).log();
        forgery(("spec-id", name), format!("SpecId({reason})"), comment, log)
    };
    vec![
        spec("version", "Version", "Spec ID Event04", 46, b"4"),
        spec("with-a-digest", "Measured", "the Spec ID event has a digest", 8, &[1]),
        spec("in-another-pcr", "Measured", "the Spec ID event is in PCR 7", 0, &[7]),
        spec("no-banks", "BankCount { found: 0 }", "it declares no bank", 56, &[0]),
        spec(
            "many-banks",
            "BankCount { found: 4294967295 }",
            "it declares 4 billion banks",
            56,
            &[0xff; 4],
        ),
        spec("one-bank-more", "Length", "it declares three banks where two are", 56, &[3]),
        spec("one-bank-less", "Length", "it declares one bank where two are", 56, &[1]),
        spec("vendor-info", "Length", "it claims vendor information that is not there", 68, &[9]),
        banks(
            "short-digest",
            "DigestLength { id: 11, length: 20 }",
            "SHA-256 with 20 bytes",
            &[(11, 20), (12, 48)],
        ),
        banks(
            "long-digest",
            "DigestLength { id: 39, length: 65535 }",
            "an unknown bank with 65,535 bytes",
            &[(11, 32), (39, 0xffff)],
        ),
        banks(
            "same-bank-twice",
            "DuplicateBank { id: 11 }",
            "SHA-256 twice",
            &[(11, 32), (11, 32)],
        ),
    ]
}

fn digests() -> Vec<Forgery> {
    let at = Machine::genuine().offset(5);
    let digests = |name, reason: String, comment, edit: &dyn Fn(&mut Event)| {
        let log = edited(|machine| edit(machine.event(5))).log();
        forgery(name, reason, comment, log)
    };
    let count = |found: u32| format!("DigestCount {{ offset: {at}, found: {found}, declared: 2 }}");
    vec![
        digests(("digest-count", "one-less"), count(1), "event 5 has one digest", &|event| {
            event.digests.pop();
        }),
        digests(("digest-count", "one-more"), count(3), "event 5 has three digests", &|event| {
            event.digests.push((4, vec![0; 20]))
        }),
        forgery(
            ("digest-count", "lies"),
            count(u32::MAX),
            "event 5 claims 4 billion digests",
            patched(at + 8, &[0xff; 4]),
        ),
        digests(("digest-count", "none"), count(0), "event 5 has no digest", &|event| {
            event.digests.clear()
        }),
        digests(
            ("unknown-algorithm", "not-declared"),
            format!("UnknownAlgorithm {{ offset: {}, id: 18 }}", at + 12),
            "event 5 has a digest of SM3, which is not declared",
            &|event| event.digests[0].0 = 18,
        ),
        digests(
            ("duplicate-digest", "same-bank"),
            format!("DuplicateDigest {{ offset: {}, id: 11 }}", at + 12 + 34),
            "event 5 has two digests of SHA-256",
            &|event| event.digests[1] = event.digests[0].clone(),
        ),
        digests(
            ("no-such-pcr", "24"),
            format!("NoSuchPcr {{ offset: {at}, pcr: 24 }}"),
            "event 5 is in PCR 24",
            &|event| event.pcr = 24,
        ),
        digests(
            ("no-such-pcr", "all-ones"),
            format!("NoSuchPcr {{ offset: {at}, pcr: 4294967295 }}"),
            "event 5 is in PCR 4294967295",
            &|event| event.pcr = u32::MAX,
        ),
    ]
}

fn localities() -> Vec<Forgery> {
    let wrong = |name, comment, edit: &dyn Fn(&mut Machine), event| {
        let machine = edited(|machine| edit(machine));
        let reason = format!("StartupLocality {{ offset: {} }}", machine.offset(event));
        forgery(("startup-locality", name), reason, comment, machine.log())
    };
    vec![
        wrong(
            "twice",
            "a second locality follows the first",
            &|machine| machine.events.insert(1, locality(0)),
            2,
        ),
        wrong(
            "after-pcr-0",
            "the locality stands behind the first event of PCR 0",
            &|machine| machine.events.swap(0, 1),
            2,
        ),
        wrong(
            "nine",
            "the TPM is said to have been started at locality 9",
            &|machine| machine.events[0] = locality(9),
            1,
        ),
        wrong(
            "without-a-value",
            "the event ends before the locality",
            &|machine| {
                machine.events[0].data.pop();
            },
            1,
        ),
        forgery(
            ("mismatch", "another-locality"),
            "PCR 0 at 2: OtherLocality(3)",
            "the log says locality 0 where it was 3",
            edited(|machine| machine.events[0] = locality(0)).log(),
        ),
        forgery(
            ("mismatch", "locality-removed"),
            "PCR 0 at 1: OtherLocality(3)",
            "the log says no locality where it was 3",
            edited(|machine| {
                machine.events.remove(0);
            })
            .log(),
        ),
    ]
}

fn banks() -> Vec<Forgery> {
    let only = |keep: usize| {
        edited(|machine| {
            machine.banks = vec![machine.banks[keep]];
            for event in &mut machine.events {
                event.digests = vec![event.digests[keep].clone()];
            }
        })
        .log()
    };
    let strong = edited(|machine| {
        let other = machine.event(20).digests[1].clone();
        machine.event(21).digests[1] = other;
    });
    vec![
        forgery(
            ("no-such-bank", "old-format"),
            "NoSuchBank { bank: Sha256 }",
            "digests of SHA-1 against a quote of SHA-256",
            Machine::genuine().old_log(),
        ),
        forgery(
            ("no-such-bank", "sha384-only"),
            "NoSuchBank { bank: Sha256 }",
            "digests of SHA-384 against a quote of SHA-256",
            only(1),
        ),
        forgery(
            ("no-such-bank", "sha256-only"),
            "NoSuchBank { bank: Sha384 }",
            "digests of SHA-256 against a quote of SHA-384",
            only(0),
        )
        .in_bank(SHA384),
        forgery(
            ("mismatch", "one-bank-forged"),
            "PCR 4 at 16: Unknown",
            "true in SHA-256, forged in SHA-384, against a quote of SHA-384",
            strong.log(),
        )
        .in_bank(SHA384),
    ]
}
