//! Policies for machines, judged on the logs of real machines and on forged ones.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

#[path = "../../evidence/examples/forge-event-logs/machine.rs"]
#[allow(dead_code, reason = "the generator of forged logs uses the rest")]
mod machine;
#[path = "boot_policy/rules.rs"]
mod rules;
#[path = "boot_policy/words.rs"]
mod words;

use machine::{ACTION, Event, Machine, SHA256, grub, secure_boot};
use signet_evidence::eventlog::{
    EventLog, EventLogError, Limits, MismatchCause, PcrComparison, ReplayError, SecureBoot,
    UnprovenSecureBoot,
};
use signet_evidence::thumbprint::unhex;
use signet_evidence::tpm::{HashAlgorithm, PcrValues, TpmtPublic};
use signet_verifier::boot::{
    Baseline, BaselineError, Change, Finding, LogError, MachinePolicy, Mode, PolicyError,
    ProvenLog, SignatureStore, Verdict, changed_values, differences, judge,
};
use signet_verifier::tpm::{AttestationKey, VerifiedQuote};

const GCE: &[u8] = include_bytes!("../../fixtures/published/eventlogs/gce-cos-85.bin");
const COS_101: &[u8] = include_bytes!("../../fixtures/published/eventlogs/cos-101-amd-sev.bin");
const KEYLIME: &[u8] = include_bytes!("../../fixtures/published/eventlogs/keylime-mb.bin");
const RED_HAT: &[u8] = include_bytes!("../../fixtures/published/eventlogs/rhel8-uefi.bin");
const DEBIAN: &[u8] = include_bytes!("../../fixtures/published/eventlogs/debian-10.bin");
const ARCH: &[u8] = include_bytes!("../../fixtures/published/eventlogs/arch-linux-workstation.bin");
const DEBIAN_VM: &[u8] = include_bytes!("../../fixtures/published/eventlogs/debian-12-vm.bin");
const DEBIAN_VM_QUOTE: &str =
    include_str!("../../fixtures/published/tpm-quotes/debian-12-vm-sha256.json");
const GCE_QUOTE: &str =
    include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-no-nonce-sha256.json");

/// The PCR values of a published quote.
fn quote(text: &str) -> PcrValues {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let pcrs = value["pcrs"].as_object().unwrap().iter();
    let values =
        pcrs.map(|(pcr, value)| (pcr.parse().unwrap(), unhex(value.as_str().unwrap()).unwrap()));
    PcrValues::of_bank(SHA256, values).unwrap()
}

/// What a TPM would hold that measured all of this log and nothing else.
fn held(log: &[u8]) -> PcrValues {
    let log = EventLog::parse(log, &Limits::default()).unwrap();
    let mut values = log.replay(SHA256).unwrap().values().clone();
    for pcr in 0..16 {
        values.entry(pcr).or_insert_with(|| vec![0; 32]);
    }
    PcrValues::of_bank(SHA256, values).unwrap()
}

fn held_by(machine: &Machine) -> PcrValues {
    let values = machine.pcrs(SHA256).into_iter();
    let values = values.map(|(pcr, value)| (u8::try_from(pcr).unwrap(), value));
    let others = [10, 11, 12, 13].map(|pcr| (pcr, vec![0; 32]));
    PcrValues::of_bank(SHA256, values.chain(others)).unwrap()
}

fn proven<'a>(log: &'a [u8], quoted: &PcrValues) -> ProvenLog<'a> {
    ProvenLog::verify(Some(log), quoted, &Limits::default()).unwrap()
}

fn learned(logs: &[(&[u8], PcrValues)]) -> MachinePolicy {
    let machines: Vec<_> = logs.iter().map(|(log, quoted)| proven(log, quoted)).collect();
    let text = Baseline::learn(&machines).unwrap().to_toml("learned", Mode::Enforce);
    MachinePolicy::from_toml(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

fn findings(quoted: &PcrValues, log: Option<&[u8]>, policy: &MachinePolicy) -> Vec<Finding> {
    judge(quoted, log.ok_or(LogError::Missing), &Limits::default(), policy, Mode::Enforce)
        .findings()
        .to_vec()
}

fn said(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// A whole machine: OVMF with Microsoft's keys, Debian's shim, GRUB and kernel, IMA. Its own AK signed, its
/// log leads to what was signed, and the policy that is learned from it minds another command line.
#[test]
fn a_measured_machine_is_believed_from_its_quote_to_its_command_line() {
    let published: serde_json::Value = serde_json::from_str(DEBIAN_VM_QUOTE).unwrap();
    let bytes = |member: &str| unhex(published[member].as_str().unwrap()).unwrap();
    let ak = TpmtPublic::parse(&bytes("ak_public")).unwrap();
    let ak = AttestationKey::from_public(&ak).unwrap();
    let (attest, signature, data) = (bytes("attest"), bytes("signature"), bytes("extra_data"));
    let values = Some(quote(DEBIAN_VM_QUOTE));
    let believed = VerifiedQuote::verify(&ak, &attest, &signature, &data, values).unwrap();
    let quoted = believed.pcr_values().unwrap();
    let blind = learned(&[(DEBIAN_VM, quoted.clone())]);
    assert!(blind.rules.secure_boot && blind.rules.boot_texts.is_none());
    assert_eq!(findings(quoted, Some(DEBIAN_VM), &blind), []);

    // This quote leaves out PCR 12, so that nothing is known of all texts.
    let quoted = &held(DEBIAN_VM);
    let policy = learned(&[(DEBIAN_VM, quoted.clone())]);
    assert_eq!(findings(quoted, Some(DEBIAN_VM), &policy), []);
    let other = with_other_word(DEBIAN_VM, b"ima_policy=tcb", b"ima_policy=non");
    let found = said(&findings(&held(&other), Some(&other), &policy));
    assert!(found.iter().any(|word| word.contains("ima_policy=non")), "{found:?}");
    // Without the TPM's word for it the text is nobody's.
    let found = said(&findings(quoted, Some(&other), &policy));
    assert!(found.iter().all(|word| !word.contains("ima_policy=non")), "{found:?}");
    assert_ne!(found, Vec::<String>::new());
}

/// What the log would be had GRUB measured another word wherever it measured this one.
fn with_other_word(log: &[u8], word: &[u8], other: &[u8]) -> Vec<u8> {
    let mut forged = log.to_vec();
    let at = |place: &usize| log[*place..].starts_with(word);
    for place in (0..log.len()).filter(at) {
        // The label, which is not measured, ends with a colon; the text ends with a zero.
        let label = log[..place].windows(2).rposition(|two| two == b": ").unwrap();
        let end = place + log[place..].iter().position(|byte| *byte == 0).unwrap();
        let digest = SHA256.digest(&[&log[label + 2..end]]);
        forged[place..place + word.len()].copy_from_slice(other);
        let place = log.windows(32).position(|window| window == digest).unwrap();
        let digest = SHA256.digest(&[&forged[label + 2..end]]);
        forged[place..place + 32].copy_from_slice(&digest);
    }
    assert_ne!(forged, log);
    forged
}

#[test]
fn real_machines_satisfy_the_policy_that_is_learned_from_them() {
    let quoted = quote(GCE_QUOTE);
    let policy = learned(&[(GCE, quoted.clone())]);
    assert!(policy.rules.secure_boot);
    let judgement = judge(&quoted, Ok(GCE), &Limits::default(), &policy, Mode::Enforce);
    assert_eq!((judgement.findings(), judgement.verdict()), (&[][..], Verdict::Approved));
    assert_eq!(judgement.secure_boot(), Some(SecureBoot::On));
    for log in [KEYLIME, RED_HAT, COS_101, ARCH] {
        let policy = learned(&[(log, held(log))]);
        assert_eq!(findings(&held(log), Some(log), &policy), []);
    }
}

#[test]
fn another_release_is_refused_with_what_changed() {
    let policy = learned(&[(GCE, quote(GCE_QUOTE))]);
    let found = findings(&held(COS_101), Some(COS_101), &policy);
    let rules: std::collections::BTreeSet<_> = found.iter().map(Finding::rule).collect();
    assert_eq!(rules, ["measurements", "rules.boot_texts"].into());
    // Its shim is newer, and in the same place.
    let changed = found.iter().find(|finding| {
        matches!(finding,
        Finding::Measurement { found, before } if found.pcr == 4 && !before.is_empty())
    });
    let said = changed.unwrap().to_string();
    assert!(said.contains("boot image") && said.contains("changed: it is"), "{said}");
}

#[test]
fn four_facts_about_a_log() {
    let machine = Machine::genuine();
    let (log, quoted) = (machine.log(), held_by(&machine));
    let policy = learned(&[(&log, quoted.clone())]);
    let tight = Limits { bytes: 1024, ..Limits::default() };
    let one = |log: Option<&[u8]>, limits: &Limits| {
        judge(&quoted, log.ok_or(LogError::Missing), limits, &policy, Mode::Enforce)
            .findings()
            .to_vec()
    };
    let default = Limits::default();
    assert_eq!(one(None, &default), [Finding::Log(LogError::Missing)]);
    assert_eq!(one(Some(&[]), &default), [Finding::Log(LogError::Missing)]);
    let last = log.len() - 1;
    let cut = EventLogError::Truncated { offset: log.len() - 40, needed: 40, left: 39 };
    assert_eq!(one(Some(&log[..last]), &default), [Finding::Log(LogError::Truncated(cut))]);
    let long = EventLogError::TooLong { length: log.len(), limit: 1024 };
    assert_eq!(one(Some(&log), &tight), [Finding::Log(LogError::TooLong(long))]);
    let mut changed = machine.clone();
    changed.events.swap(20, 23);
    let found = one(Some(&changed.log()), &default);
    assert!(matches!(&found[0], Finding::NotMatching { pcr: 4, mismatch, .. }
        if mismatch.cause == MismatchCause::Unknown && mismatch.first_unexplained == 16));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].to_string().starts_with(
        "the event log does not match PCR 4 (boot loaders and kernel): the TPM holds "
    ));
}

#[test]
fn digests_of_sha1_are_no_proof_of_sha256() {
    let policy = learned(&[(GCE, quote(GCE_QUOTE))]);
    let no_bank = ReplayError::NoSuchBank { bank: SHA256 };
    let expected = [Finding::Log(LogError::OtherBank(no_bank))];
    assert_eq!(findings(&quote(GCE_QUOTE), Some(DEBIAN), &policy), expected);
    let sha1 = (0..24).map(|pcr| (pcr, vec![0; 20]));
    let sha1 = PcrValues::of_bank(HashAlgorithm::Sha1, sha1).unwrap();
    assert_eq!(findings(&sha1, Some(DEBIAN), &policy), [Finding::Log(LogError::WeakBank)]);
}

#[test]
fn a_changed_command_line_is_refused_and_explained() {
    let before = Machine::genuine();
    let after = Machine::workstation(1, "/vmlinuz-6.12 root=UUID=0b7c ro quiet init=/bin/sh");
    let (old, new) = (before.log(), after.log());
    let policy = learned(&[(&old, held_by(&before))]);
    let found = findings(&held_by(&after), Some(&new), &policy);
    assert_eq!(
        said(&found),
        [
            "the boot loader measured \"linux /vmlinuz-6.12 root=UUID=0b7c ro quiet init=/bin/sh\" \
             (event 25 in PCR 8), which is not allowed",
            "the boot loader measured \"/vmlinuz-6.12 root=UUID=0b7c ro quiet init=/bin/sh\" \
             (event 27 in PCR 8), which is not allowed",
        ]
    );
    assert_eq!(found[0].rule(), "rules.boot_texts");
    let changes = differences(&proven(&old, &held_by(&before)), &proven(&new, &held_by(&after)));
    let pcrs: Vec<_> = changes
        .iter()
        .map(|change| match change {
            Change::Changed { old, new } if old.pcr == new.pcr => new.pcr,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(pcrs, [8, 8]);
}

#[test]
fn registers_alone_tell_where_something_changed() {
    let values = |seventh: u8| {
        let values = [(4, vec![4; 32]), (7, vec![seventh; 32])];
        PcrValues::of_bank(HashAlgorithm::Sha256, values).unwrap()
    };
    assert_eq!(changed_values(&values(1), &values(1)), []);
    let changes = changed_values(&values(1), &values(2));
    let told = format!("PCR 7 (Secure Boot) was {}, is {}", "01".repeat(32), "02".repeat(32));
    assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
}

#[test]
fn a_forged_label_does_not_hide_a_command_line() {
    let approved = Machine::genuine();
    let policy = learned(&[(&approved.log(), held_by(&approved))]);
    let evil = "/vmlinuz-6.12 root=UUID=0b7c ro init=/bin/sh";
    let mut machine = Machine::workstation(1, evil);
    machine.events.push(grub("grub_cmd: ", "/vmlinuz-6.12 root=UUID=0b7c ro quiet"));
    let quoted = held_by(&machine);
    for event in machine.events.iter_mut().filter(|event| event.pcr == 8) {
        let text = String::from_utf8(event.data.clone()).unwrap();
        let swapped = match text.strip_prefix("kernel_cmdline: ") {
            Some(line) => format!("grub_cmd: {line}"),
            None => text.replace("grub_cmd: /vm", "kernel_cmdline: /vm"),
        };
        event.data = swapped.into_bytes();
    }
    let found = findings(&quoted, Some(&machine.log()), &policy);
    let texts: Vec<_> = found
        .iter()
        .map(|finding| match finding {
            Finding::BootText { text, .. } => text.clone(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(texts, [format!("linux {evil}"), evil.to_owned()]);
    // Nor does it help to hide what the label stands before.
    let line = machine.number(format!("{evil}\0").as_bytes());
    machine.event(line).data = b"grub_cmd: nothing\0".to_vec();
    let found = findings(&quoted, Some(&machine.log()), &policy);
    assert!(found.iter().any(|finding| matches!(finding, Finding::BootTextHidden(hidden)
        if hidden.what == "hidden boot loader text (said to be grub_cmd: nothing)")));
}

#[test]
fn secure_boot_that_is_off_is_seen_whatever_the_log_claims() {
    let approved = Machine::genuine();
    let policy = learned(&[(&approved.log(), held_by(&approved))]);
    let mut machine = Machine::workstation(0, "/vmlinuz-6.12 root=UUID=0b7c ro quiet");
    let quoted = held_by(&machine);
    let found = findings(&quoted, Some(&machine.log()), &policy);
    assert_eq!(found, [Finding::SecureBoot(SecureBoot::Off)]);
    assert_eq!(found[0].advice(), "switch Secure Boot on in the firmware");
    machine.event(4).data = secure_boot(&[1]);
    let hidden = SecureBoot::Unproven(UnprovenSecureBoot::Opaque(4));
    let found = findings(&quoted, Some(&machine.log()), &policy);
    assert_eq!(found[0], Finding::SecureBoot(hidden));
    // What cannot be believed of SecureBoot cannot be believed of the databases either.
    let stores = [SignatureStore::Pk, SignatureStore::Kek, SignatureStore::Db];
    assert_eq!(found[1..], stores.map(Finding::StoreUnproven));
    let claimed = approved.log();
    assert!(matches!(
        findings(&quoted, Some(&claimed), &policy)[..],
        [
            Finding::NotMatching { pcr: 7, .. },
            Finding::SecureBoot(SecureBoot::Unproven(UnprovenSecureBoot::NotProven)),
            ..
        ]
    ));
}

#[test]
fn certificates_and_signers_that_nobody_allowed() {
    let log = RED_HAT;
    let policy = |rules: &str| {
        MachinePolicy::from_toml(&format!("name = \"x\"\nmode = \"enforce\"\n[rules]\n{rules}"))
            .unwrap()
    };
    let microsoft = "48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507";
    let signers = policy(&format!("signers = [{{ digest = \"{microsoft}\" }}]"));
    assert_eq!(
        said(&findings(&held(log), Some(log), &signers)),
        ["an image was verified by the certificate \"Red Hat Secure Boot CA 5\" \
          (40175d4c7c5ab4bd753a493f47952f1d8dcf1c219b836968a693e48bd4766135) of Shim (event 27), \
          which is not allowed"]
    );
    let db = policy(&format!("db_certificates = [{{ digest = \"{microsoft}\" }}]"));
    assert_eq!(
        said(&findings(&held(log), Some(log), &db)),
        ["db holds the certificate \"Microsoft Windows Production PCA 2011\" \
          (e8e95f0733a55e8bad7be0a1413ee23c51fcea64b3c8fa6a786935fddcc71961), \
          which is not allowed"]
    );
    let dbx = policy(&format!("dbx_images = [{{ digest = \"{microsoft}\", what = \"a test\" }}]"));
    assert!(matches!(findings(&held(log), Some(log), &dbx)[..], [Finding::NotForbidden(_)]));
    // Arch's owner put single images into db.
    let none = policy("db_certificates = []");
    let found = findings(&held(ARCH), Some(ARCH), &none);
    let images = found.iter().filter(|finding| matches!(finding, Finding::Image { .. })).count();
    assert_eq!((images, found.len()), (9, 12));
}

#[test]
fn shim_that_checks_nothing_is_no_secure_boot() {
    let mut machine = Machine::genuine();
    let data = machine::variable("50ab5d6046e00043abb63dd810dd8b23", "MokSBState", &[1]);
    machine.events.insert(22, Event::whole(7, 0x8000_00e0, &data));
    let policy =
        MachinePolicy::from_toml("name = \"x\"\nmode = \"warn\"\n[rules]\nsecure_boot = true");
    let quoted = held_by(&machine);
    let judgement =
        judge(&quoted, Ok(&machine.log()), &Limits::default(), &policy.unwrap(), Mode::Warn);
    assert_eq!(judgement.findings(), [Finding::ShimValidationOff { event: 23 }]);
    assert_eq!(judgement.verdict(), Verdict::Warned);
}

#[test]
fn pcr_values_need_no_log() {
    let quoted = quote(GCE_QUOTE);
    let value = signet_evidence::thumbprint::hex(quoted.value(SHA256, 7).unwrap());
    let text = format!(
        "name = \"x\"\nmode = \"enforce\"\n[log]\nrequired = false\n\
         [pcrs]\n7 = [{{ digest = \"{value}\", what = \"2021\" }}]\n"
    );
    let policy = MachinePolicy::from_toml(&text).unwrap();
    assert_eq!(findings(&quoted, None, &policy), []);
    let other = MachinePolicy::from_toml(&text.replace(&value, &"0".repeat(64))).unwrap();
    let found = findings(&quoted, None, &other);
    assert!(matches!(&found[..], [Finding::PcrValue { pcr: 7, allowed, .. }]
        if allowed[0].what == "2021"));
    // A rule about what was measured cannot be waived by sending no log.
    let rules = format!("{text}[rules]\nsecure_boot = true");
    let policy = MachinePolicy::from_toml(&rules).unwrap();
    assert_eq!(findings(&quoted, None, &policy), [Finding::Log(LogError::Missing)]);
    let few = PcrValues::of_bank(SHA256, [(0, vec![0; 32])]).unwrap();
    let policy = MachinePolicy::from_toml(&text).unwrap();
    assert_eq!(findings(&few, None, &policy), [Finding::NotQuoted { pcr: 7 }]);
}

#[test]
fn modes_by_group() {
    let policy = MachinePolicy::from_toml(
        "name = \"x\"\nmode = \"monitor\"\n[groups]\npilot = \"enforce\"\noffice = \"warn\"",
    )
    .unwrap();
    assert_eq!(policy.mode_for([]), Some(Mode::Monitor));
    assert_eq!(policy.mode_for(["office"]), Some(Mode::Warn));
    assert_eq!(policy.mode_for(["office", "pilot", "other"]), Some(Mode::Enforce));
    let only = MachinePolicy::from_toml("name = \"x\"\n[groups]\npilot = \"warn\"").unwrap();
    assert_eq!((only.mode_for(["office"]), only.mode_for(["pilot"])), (None, Some(Mode::Warn)));
    let quoted = PcrValues::of_bank(SHA256, [(0, vec![0; 32])]).unwrap();
    let verdicts = [Mode::Monitor, Mode::Warn, Mode::Enforce].map(|mode| {
        judge(&quoted, Err(LogError::Missing), &Limits::default(), &policy, mode).verdict()
    });
    assert_eq!(verdicts, [Verdict::Recorded, Verdict::Warned, Verdict::Refused]);
}

#[test]
fn a_policy_with_a_mistake_is_no_policy() {
    let parse = |text: &str| MachinePolicy::from_toml(text).unwrap_err();
    for text in [
        "",
        "name = \"x\"\nmode = \"strict\"",
        "name = \"x\"\nmode = \"warn\"\n[rules]\nsecureboot = true",
        "name = \"x\"\nmode = \"warn\"\n[pcrs]\n24 = []",
        "name = \"x\"\nmode = \"warn\"\n[pcrs]\n7 = [{ digest = \"00\" }]",
    ] {
        assert!(matches!(parse(text), PolicyError::Shape(_)), "{text}");
    }
    assert!(matches!(parse("name = \"x\""), PolicyError::ForNobody { .. }));
    let pcr = parse("name = \"x\"\nmode = \"warn\"\n[log]\nexplains = [24]");
    assert!(matches!(pcr, PolicyError::NoSuchPcr { pcr: 24, .. }));
    let digest = "0".repeat(96);
    let sha384 =
        format!("name = \"x\"\nmode = \"warn\"\n[rules]\nsigners = [{{ digest = \"{digest}\" }}]");
    assert!(matches!(parse(&sha384), PolicyError::Thumbprint { .. }));
}

#[test]
fn a_baseline_of_several_machines_keeps_what_they_share() {
    let one = Machine::genuine();
    let mut two = Machine::workstation(1, "/vmlinuz-6.12 root=UUID=ffff ro quiet");
    two.events.insert(10, Event::of(2, 0x8000_0004, &[0; 32], b"another option rom"));
    let logs = [one.log(), two.log()];
    let machines = [proven(&logs[0], &held_by(&one)), proven(&logs[1], &held_by(&two))];
    let baseline = Baseline::learn(&machines).unwrap();
    assert_eq!(baseline.machines(), 2);
    let differing: Vec<_> = baseline.differing().into_iter().map(|(what, _)| what).collect();
    assert_eq!(differing.len(), 5, "{differing:?}");
    let text = baseline.to_toml("two", Mode::Warn);
    assert!(
        text.contains("  # \"/vmlinuz-6.12 root=UUID=ffff ro quiet\", # on 1 of 2\n"),
        "{text}"
    );
    let policy = MachinePolicy::from_toml(&text).unwrap();
    let found = findings(&held_by(&two), Some(&logs[1]), &policy);
    let rules: Vec<_> = found.iter().map(Finding::rule).collect();
    assert_eq!(rules, ["measurements", "rules.boot_texts", "rules.boot_texts"]);
    // A person decides what may differ.
    let pattern =
        format!("{text}boot_text_patterns = [\"*linux*/vmlinuz-* root=UUID=* ro quiet\"]");
    assert!(MachinePolicy::from_toml(&pattern).is_ok());
    assert_eq!(Baseline::learn(&[]), Err(BaselineError::NoMachine));
}

#[test]
fn differences_in_words() {
    let one = Machine::genuine();
    let mut two = one.clone();
    let shim = two.events.iter().position(|event| event.kind == 0x8000_0003).unwrap();
    let newer = HashAlgorithm::Sha256.digest(&[b"newer shim"]);
    two.events[shim].digests[0].1.clone_from(&newer);
    two.events.push(Event::whole(5, ACTION, b"Something new"));
    two.events.swap(26, 27);
    let (old, new) = (one.log(), two.log());
    let (before, after) = (held_by(&one), held_by(&two));
    let changes = differences(&proven(&old, &before), &proven(&new, &after));
    let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("event 21 in PCR 4, boot image (said to be \\EFI\\shimx64.efi), was "),
        "{said:?}"
    );
    assert!(said[1].starts_with("event 30 in PCR 5, text \"Something new\", is new: "), "{said:?}");
    // A PCR that one of the quotes does not confirm is not compared.
    let changes = differences(&proven(&old, &before), &proven(&new, &before));
    assert_eq!(changes, [Change::Unproven { pcr: 4 }, Change::Unproven { pcr: 5 }]);
    let same = differences(&proven(&old, &before), &proven(&old, &before));
    assert_eq!(same, []);
    assert_eq!(proven(&old, &before).compared()[&7], PcrComparison::Explained);
}

#[test]
fn a_rule_is_not_satisfied_by_a_pcr_that_shows_nothing() {
    let policy = MachinePolicy::from_toml(
        "name = \"x\"\nmode = \"enforce\"\n[log]\nexplains = []\n[rules]\nsigners = []",
    )
    .unwrap();
    let mut machine = Machine::genuine();
    let unquoted = (0..7).map(|pcr| (pcr, vec![0; 32]));
    let unquoted = PcrValues::of_bank(SHA256, unquoted).unwrap();
    let found = findings(&unquoted, Some(&machine.log()), &policy);
    assert_eq!(found, [Finding::NotQuoted { pcr: 7 }]);
    machine.events.retain(|event| event.pcr != 7);
    let found = findings(&held_by(&machine), Some(&machine.log()), &policy);
    assert_eq!(found, [Finding::NothingMeasured { pcr: 7 }]);
}
