//! What people read: every finding, its rule and its words.

use super::machine::{Event, Machine, SHA256};
use super::{findings, held};
use signet_evidence::CertificateThumbprint;
use signet_evidence::eventlog::{
    EventLogError, Mismatch, MismatchCause, ReplayError, SecureBoot, UnprovenSecureBoot,
};
use signet_verifier::boot::{
    Allowed, Change, Finding, LogError, MachinePolicy, Measurement, SignatureStore,
};

const IMAGE: &str = "event 9 in PCR 4, boot image";

fn image(digest: u8) -> Measurement {
    Measurement { event: 9, pcr: 4, digest: vec![digest; 32], what: "boot image".into() }
}

fn allowed(digest: u8, what: &str) -> Allowed {
    Allowed { digest: vec![digest; 32], what: what.into() }
}

fn holding(what: &str) -> String {
    format!("{what}, which is not allowed")
}

/// Of the log and of whole PCRs.
fn of_the_log() -> Vec<(Finding, &'static str, String)> {
    let fault = EventLogError::Missing;
    let log = |error, rule, words: &str| (Finding::Log(error), rule, words.to_owned());
    let mismatch = |cause, words: &str| {
        let mismatch = Mismatch { first_unexplained: 3, cause, replayed: vec![0xcd; 32] };
        let said = format!(
            "the event log does not match PCR 7 (Secure Boot): the TPM holds abababababababab, \
             the log leads to cdcdcdcdcdcdcdcd; {words}"
        );
        (Finding::NotMatching { pcr: 7, quoted: vec![0xab; 32], mismatch }, "log.explains", said)
    };
    let bank = ReplayError::NoSuchBank { bank: SHA256 };
    let (required, explains) = ("log.required", "log.explains");
    let value = |allowed, words: &str| {
        let said = format!(
            "PCR 9 (files read by the boot loader) holds {}, allowed is {words}",
            "ab".repeat(32)
        );
        (Finding::PcrValue { pcr: 9, found: vec![0xab; 32], allowed }, "pcrs", said)
    };
    vec![
        log(LogError::Missing, required, "no event log was sent"),
        log(LogError::Unreadable, required, "the machine cannot read its event log"),
        log(LogError::Withheld, required, "the machine's event log is longer than may be sent"),
        log(LogError::Truncated(fault), explains, "the event log is cut"),
        log(LogError::TooLong(fault), explains, "the event log is longer than allowed"),
        log(LogError::Malformed(fault), explains, "the event log is malformed"),
        log(LogError::WeakBank, explains, "no PCRs of SHA-256 or SHA-384 were quoted"),
        log(LogError::OtherBank(bank), explains, "the event log has no digests of the quoted bank"),
        mismatch(MismatchCause::LogGoesOn, "event 3 and those after it were never measured"),
        mismatch(
            MismatchCause::OtherLocality(4),
            "it would match had the TPM been started at locality 4",
        ),
        mismatch(MismatchCause::Unknown, "no event from 3 on can be explained"),
        (
            Finding::NotInLog { pcr: 11, quoted: vec![0xab; 32] },
            explains,
            "PCR 11 (unified kernel image) holds abababababababab, and the event log has no event of it"
                .into(),
        ),
        (
            Finding::NothingMeasured { pcr: 0 },
            explains,
            "nothing was measured into PCR 0 (firmware)".into(),
        ),
        (
            Finding::NotQuoted { pcr: 14 },
            "pcrs",
            "PCR 14 (shim's key lists) was not quoted".into(),
        ),
        (Finding::NotQuoted { pcr: 15 }, "pcrs", "PCR 15 (other) was not quoted".into()),
        value(vec![], "nothing"),
        value(vec![allowed(1, "old"), allowed(2, "")], &{
            format!("{} (old) or {}", "01".repeat(32), "02".repeat(32))
        }),
    ]
}

fn of_secure_boot() -> Vec<(Finding, &'static str, String)> {
    use UnprovenSecureBoot as Why;
    let unproven = |why, words: &str| {
        let words = format!("it is not proven that Secure Boot is on: {words}");
        (Finding::SecureBoot(SecureBoot::Unproven(why)), "rules.secure_boot", words)
    };
    let state =
        |state, words: &str| (Finding::SecureBoot(state), "rules.secure_boot", words.to_owned());
    vec![
        state(SecureBoot::On, "Secure Boot is on"),
        state(SecureBoot::Off, "Secure Boot is off"),
        unproven(Why::NotProven, "the log does not explain PCR 7"),
        unproven(Why::NotMeasured, "the firmware did not measure it"),
        unproven(Why::NoSeparator, "the firmware did not close PCR 7"),
        unproven(Why::ErrorSeparator(5), "the firmware closed PCR 7 with an error (event 5)"),
        unproven(Why::Opaque(5), "event 5 hides what was measured"),
        unproven(Why::Repeated(5), "event 5 measured it again"),
        unproven(Why::Value(5), "event 5 measured neither on nor off"),
        unproven(Why::DebugMode(5), "a debugger was attached to the firmware (event 5)"),
        (
            Finding::ShimValidationOff { event: 5 },
            "rules.secure_boot",
            "shim was told not to check what it starts (event 5)".into(),
        ),
    ]
}

/// Of the signature databases.
fn of_stores() -> Vec<(Finding, &'static str, String)> {
    let mut all = Vec::new();
    for (store, rule, name) in [
        (SignatureStore::Pk, "rules.pk_certificates", "PK"),
        (SignatureStore::Kek, "rules.kek_certificates", "KEK"),
        (SignatureStore::Db, "rules.db_certificates", "db"),
        (SignatureStore::Dbx, "rules.dbx_images", "dbx"),
    ] {
        let digest = "ab".repeat(32);
        let thumbprint = CertificateThumbprint([0xab; 32]);
        let certificate = |subject| Finding::Certificate { store, thumbprint, subject };
        let hidden = Finding::StoreUnproven(store);
        all.extend([
            (hidden, rule, format!("the event log does not show what {name} holds")),
            (certificate(None), rule, holding(&format!("{name} holds the certificate {digest}"))),
            (
                certificate(Some("An Owner".into())),
                rule,
                holding(&format!("{name} holds the certificate \"An Owner\" ({digest})")),
            ),
            (
                Finding::Image { store, digest: vec![0xab; 32] },
                rule,
                holding(&format!("{name} holds the digest {digest} of an image")),
            ),
            (
                Finding::OtherEntries { store, count: 2 },
                rule,
                format!(
                    "{name} holds 2 entries that are neither certificates nor digests of images"
                ),
            ),
        ]);
    }
    let image = Finding::NotForbidden(allowed(0xab, "old shim"));
    let words = format!("dbx does not forbid {} (old shim)", "ab".repeat(32));
    all.push((image, "rules.dbx_images", words));
    all
}

/// Of what was started.
fn of_the_boot() -> Vec<(Finding, &'static str, String)> {
    let signer = |thumbprint: Option<[u8; 32]>, subject: Option<&str>| Finding::Signer {
        event: 5,
        variable: "Shim".into(),
        thumbprint: thumbprint.map(CertificateThumbprint),
        subject: subject.map(str::to_owned),
    };
    let text = |text: &str, shown: &str| {
        let words = holding(&format!("the boot loader measured \"{shown}\" (event 5 in PCR 8)"));
        let (event, pcr) = (5, 8);
        (Finding::BootText { event, pcr, text: text.into() }, "rules.boot_texts", words)
    };
    let measurement = |before, words: String| {
        (Finding::Measurement { found: image(0xab), before }, "measurements", words)
    };
    let digest = "ab".repeat(32);
    vec![
        measurement(vec![], holding(&format!("{IMAGE}, is {digest}"))),
        measurement(
            vec![allowed(1, "GRUB")],
            format!("{IMAGE}, changed: it is {digest}, allowed is {} (GRUB)", "01".repeat(32)),
        ),
        (
            signer(Some([0xab; 32]), Some("A Maker")),
            "rules.signers",
            holding(&format!(
                "an image was verified by the certificate \"A Maker\" ({digest}) of Shim (event 5)"
            )),
        ),
        (
            signer(None, None),
            "rules.signers",
            "an image was verified by Shim (event 5), which holds no certificate".into(),
        ),
        (
            Finding::SignerHidden(image(1)),
            "rules.signers",
            format!("{IMAGE}, hides what verified an image"),
        ),
        (
            Finding::BootTextHidden(image(1)),
            "rules.boot_texts",
            format!("{IMAGE}, hides what the boot loader did"),
        ),
        text("ro quiet", "ro quiet"),
        // What would move the cursor or turn the direction is written out.
        text("ro\n\u{202e}tesnu\u{200b}", "ro\\u{a}\\u{202e}tesnu\\u{200b}"),
        text(&"a".repeat(200), &"a".repeat(200)),
        text(&"a".repeat(201), &format!("{}…", "a".repeat(200))),
    ]
}

#[test]
fn every_finding_names_its_rule_and_says_what_was_found() {
    for all in [of_the_log(), of_secure_boot(), of_stores(), of_the_boot()] {
        for (finding, rule, words) in all {
            assert_eq!((finding.rule(), finding.to_string()), (rule, words));
        }
    }
}

#[test]
fn a_change_is_told_by_what_was_and_what_is() {
    let (old, new) = (image(1), image(2));
    let (was, is) = ("01".repeat(32), "02".repeat(32));
    let other = Measurement { what: "text \"x\"".into(), ..image(2) };
    for (change, words) in [
        (
            Change::Changed { old: old.clone(), new: new.clone() },
            format!("{IMAGE}, was {was}, is {is}"),
        ),
        (
            Change::Changed { old: old.clone(), new: other },
            format!("event 9 in PCR 4 was boot image ({was}), is text \"x\" ({is})"),
        ),
        (Change::Removed(old), format!("{IMAGE}, was {was}, is gone")),
        (Change::Added(new), format!("{IMAGE}, is new: {is}")),
        (
            Change::Reordered { pcr: 6 },
            "PCR 6 (manufacturer) has the same events in another order".into(),
        ),
        (
            Change::Unproven { pcr: 3 },
            "the quote does not confirm the log of PCR 3 (option ROM configuration)".into(),
        ),
        (
            Change::Value { pcr: 10, old: vec![1; 32], new: vec![2; 32] },
            format!("PCR 10 (files measured by Linux) was {was}, is {is}"),
        ),
    ] {
        assert_eq!(change.to_string(), words);
    }
}

/// A digest of something that no log holds is called after its PCR, whose events are of one sort.
#[test]
fn what_the_log_does_not_hold_is_called_after_its_pcr() {
    let named = [
        (0, 1, "firmware"),
        (1, 1, "firmware configuration"),
        (2, 1, "option ROM or driver"),
        (3, 1, "something"),
        (4, 0x8000_0003, "boot image"),
        (4, 0x8000_0004, "boot manager code"),
        (5, 0x8000_0003, "partition table or boot manager data"),
        (6, 1, "something"),
        (7, 1, "hidden Secure Boot event"),
        (8, 0xd, "hidden boot loader text"),
        (9, 0xd, "file read by the boot loader"),
        (12, 0xd, "hidden boot loader text"),
        (14, 0xd, "shim's key list"),
        (15, 1, "something"),
    ];
    let mut machine = Machine::genuine();
    machine.events = named.map(|(pcr, kind, _)| Event::of(pcr, kind, &[0xff], b"image")).to_vec();
    let lists: String = (0..16).map(|pcr| format!("{pcr} = []\n")).collect();
    let policy =
        format!("name = \"x\"\nmode = \"enforce\"\n[log]\nexplains = []\n[measurements]\n{lists}");
    let (log, policy) = (machine.log(), MachinePolicy::from_toml(&policy).unwrap());
    let found = findings(&held(&log), Some(&log), &policy);
    let what = |finding: &Finding| match finding {
        Finding::Measurement { found, .. } => found.what.clone(),
        other => panic!("{other}"),
    };
    assert_eq!(found.iter().map(what).collect::<Vec<_>>(), named.map(|(_, _, words)| words));
}
