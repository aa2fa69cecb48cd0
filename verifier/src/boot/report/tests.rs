use std::collections::BTreeSet;
use std::sync::Arc;

use signet_evidence::DeviceId;
use signet_evidence::eventlog::{EventLogError, Mismatch, MismatchCause};
use signet_evidence::tpm::HashAlgorithm;

use super::*;
use crate::certificate::TrustAnchors;
use crate::chains::SeenChains;
use crate::ecdsa::P256PublicKey;
use crate::policy::RegistrationPolicy;
use crate::records::KeptLog;

#[path = "../../../../evidence/examples/forge-event-logs/machine.rs"]
#[allow(dead_code, reason = "the generator of forged logs uses the rest")]
mod machine;
use machine::{Machine, SHA256};

const CLOCK: TpmClock = TpmClock { clock_ms: 1, reset_count: 2, restart_count: 3, safe: true };

/// P-256's generator: a point, whosever it is.
fn point() -> P256PublicKey {
    let point = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                 4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    P256PublicKey::from_uncompressed_point(&signet_evidence::thumbprint::unhex(point).unwrap())
        .unwrap()
}

fn device() -> EnrolledDevice {
    EnrolledDevice {
        id: DeviceId::from_bytes(&[&[1][..], &[7; 16]].concat()).unwrap(),
        ak: point(),
        revoked: false,
        clock: CLOCK,
        approved_pcrs: BTreeMap::new(),
        accepted: Vec::new(),
        groups: ["office".to_owned()].into(),
        event_log: None,
        endorsement_proven: true,
    }
}

fn settings(boot: BootPolicy, machines: &[&str]) -> AppraisalPolicy {
    let machines: Vec<_> =
        machines.iter().map(|text| MachinePolicy::from_toml(text).unwrap()).collect();
    AppraisalPolicy {
        audience: String::new(),
        trust_domain: String::new(),
        device_anchors: TrustAnchors::default(),
        ak_anchors: TrustAnchors::default(),
        chains: Arc::new(SeenChains::default()),
        rp_id: String::new(),
        required_pcrs: [0, 7].into(),
        boot,
        machines: machines.into(),
        registration: RegistrationPolicy::default(),
    }
}

fn pcrs(values: &[(u8, u8)]) -> PcrValues {
    PcrValues::of_bank(SHA256, values.iter().map(|(pcr, byte)| (*pcr, vec![*byte; 32]))).unwrap()
}

fn values(values: &[(u8, u8)]) -> BTreeMap<u8, Vec<u8>> {
    values.iter().map(|(pcr, byte)| (*pcr, vec![*byte; 32])).collect()
}

fn judged(
    quoted: PcrValues,
    sent: Option<&SentLog>,
    device: &EnrolledDevice,
    policy: &AppraisalPolicy,
) -> BootReport {
    report(CLOCK, 9, quoted, sent, device, policy)
}

#[test]
fn facts_and_states_have_names_that_lead_back() {
    let facts = LogFact::ALL.map(|(fact, _)| fact);
    assert_eq!(facts.map(|fact| LogFact::from_name(fact.as_str())), facts.map(Some));
    let names = facts.map(LogFact::as_str);
    assert_eq!(names[..4], ["matching", "not-matching", "missing", "truncated"]);
    assert_eq!(names[4..], ["too-long", "malformed", "unreadable", "other-bank"]);
    assert_eq!([LogFact::from_name(""), LogFact::from_name("Missing")], [None, None]);
    let states = BootState::ALL.map(|(state, _)| state);
    assert_eq!(states.map(|state| BootState::from_name(state.as_str())), states.map(Some));
    let names = states.map(BootState::as_str);
    assert_eq!(names, ["unjudged", "approved", "accepted", "recorded", "warned", "refused"]);
    assert_eq!([BootState::from_name(""), BootState::from_name("Warned")], [None, None]);
    // Tokens say what somebody answers for, and no more.
    let claims = states.map(BootState::claim);
    assert_eq!(claims, ["unjudged", "approved", "approved", "unjudged", "warned", "unjudged"]);
}

#[test]
fn what_became_of_a_log_is_one_fact() {
    let machine = Machine::genuine();
    let log = machine.log();
    let quoted = |bank: HashAlgorithm| {
        let values = machine.pcrs(bank).into_iter();
        let values = values.map(|(pcr, value)| (u8::try_from(pcr).unwrap(), value));
        PcrValues::of_bank(bank, values).unwrap()
    };
    let sha1 = PcrValues::of_bank(HashAlgorithm::Sha1, [(0, vec![0; 20])]).unwrap();
    let long = vec![1; Limits::default().bytes + 1];
    // The running system extends PCR 10 behind the log's back; that contradicts nothing.
    let mut running = quoted(SHA256);
    running.insert(SHA256, 10, vec![1; 32]).unwrap();
    for (log, quoted, fact) in [
        (Ok(&log[..]), &quoted(SHA256), LogFact::Matching),
        (Ok(&log), &quoted(HashAlgorithm::Sha384), LogFact::Matching),
        (Ok(&log), &running, LogFact::Matching),
        (Ok(&log), &pcrs(&[(7, 7)]), LogFact::NotMatching),
        (Ok(&log), &sha1, LogFact::OtherBank),
        (Ok(&log[..log.len() - 1]), &quoted(SHA256), LogFact::Truncated),
        (Ok(&long), &quoted(SHA256), LogFact::TooLong),
        (Ok(&[1; 40]), &quoted(SHA256), LogFact::Malformed),
        (Ok(&[]), &quoted(SHA256), LogFact::Missing),
        (Err(LogError::Missing), &quoted(SHA256), LogFact::Missing),
        (Err(LogError::Withheld), &quoted(SHA256), LogFact::TooLong),
        (Err(LogError::Unreadable), &quoted(SHA256), LogFact::Unreadable),
    ] {
        assert_eq!(LogFact::of(log, quoted), fact, "{log:02x?}");
    }
}

/// A log that is only named is the one that this machine sent before, or none.
#[test]
fn a_log_is_the_one_that_was_sent_or_the_one_that_is_kept() {
    let log = Machine::genuine().log();
    let digest = sha256(&log);
    let kept = KeptLog { digest, bytes: log.clone() };
    let knowing = EnrolledDevice { event_log: Some(kept), ..device() };
    let policy = settings(BootPolicy::Monitor, &[]);
    let seen = |sent: Option<SentLog>, device: &EnrolledDevice| {
        let report = judged(pcrs(&[(23, 0)]), sent.as_ref(), device, &policy);
        (report.log, report.log_digest, report.sent_log.is_some())
    };
    let whole = SentLog::Whole(log);
    assert_eq!(seen(Some(whole.clone()), &device()), (LogFact::Matching, Some(digest), true));
    let known = |digest| Some(SentLog::Known(digest));
    assert_eq!(seen(known(digest), &knowing), (LogFact::Matching, Some(digest), false));
    let missing = (LogFact::Missing, None, false);
    assert_eq!(seen(known([0; 32]), &knowing), missing);
    assert_eq!(seen(known(digest), &device()), missing);
    assert_eq!(seen(None, &knowing), missing);
    let withheld = |why| seen(Some(SentLog::Withheld(why)), &knowing).0;
    let why = [WithheldLog::Missing, WithheldLog::TooLong, WithheldLog::Unreadable];
    let facts = [LogFact::Missing, LogFact::TooLong, LogFact::Unreadable];
    assert_eq!(why.map(withheld), facts);
}

const SEVENTH: &str = "[log]\nrequired = false\nexplains = []\n[pcrs]\n7 = []";

#[test]
fn without_a_policy_file_the_enrolment_is_judged_or_nothing() {
    let (enforced, monitored) =
        (settings(BootPolicy::Enforce, &[]), settings(BootPolicy::Monitor, &[]));
    let enrolled = EnrolledDevice { approved_pcrs: values(&[(0, 1), (7, 1)]), ..device() };
    let state = |quoted: &[(u8, u8)], device: &EnrolledDevice, policy: &AppraisalPolicy| {
        judged(pcrs(quoted), None, device, policy).state
    };
    let (same, other) = ([(0, 1), (7, 1)], [(0, 1), (7, 2)]);
    assert_eq!(state(&same, &enrolled, &enforced), BootState::Approved);
    assert_eq!(state(&other, &enrolled, &enforced), BootState::Refused);
    assert_eq!(state(&[(0, 1)], &enrolled, &enforced), BootState::Refused);
    assert_eq!(state(&other, &enrolled, &monitored), BootState::Unjudged);
    // A policy for other machines is none.
    let others = format!("name = \"x\"\n{SEVENTH}\n[groups]\nlab = \"enforce\"");
    let elsewhere = settings(BootPolicy::Monitor, &[&others]);
    assert_eq!(state(&other, &enrolled, &elsewhere), BootState::Unjudged);
    assert_eq!(judged_pcrs(&elsewhere, &enrolled.groups), [0, 7].into());
}

/// The worst of all policies counts, and each judges by the mode of this machine's groups.
#[test]
fn the_strictest_policy_decides() {
    let of = |name: &str, mode: &str| format!("name = \"{name}\"\nmode = \"{mode}\"\n{SEVENTH}");
    let state = |modes: &[&str]| {
        let texts: Vec<String> = modes.iter().map(|mode| of(mode, mode)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let policy = settings(BootPolicy::Enforce, &texts);
        assert_eq!(judged_pcrs(&policy, &BTreeSet::new()), [7].into());
        let report = judged(pcrs(&[(0, 1), (7, 1)]), None, &device(), &policy);
        let names: Vec<&str> = report.judgements.iter().map(BootJudgement::policy).collect();
        assert_eq!(names, modes);
        report.state
    };
    assert_eq!(state(&["monitor"]), BootState::Recorded);
    assert_eq!(state(&["monitor", "warn"]), BootState::Warned);
    assert_eq!(state(&["warn", "monitor"]), BootState::Warned);
    assert_eq!(state(&["enforce", "warn"]), BootState::Refused);
}

/// An administrator accepted these very values of everything that is judged, and no others.
#[test]
fn what_was_accepted_is_a_state_as_a_whole() {
    let text = format!("name = \"x\"\nmode = \"enforce\"\n{SEVENTH}\n4 = []");
    let policy = settings(BootPolicy::Monitor, &[&text]);
    let state = |quoted: &[(u8, u8)], accepted: &[&[(u8, u8)]]| {
        let accepted = accepted.iter().map(|state| values(state)).collect();
        let device = EnrolledDevice { accepted, ..device() };
        judged(pcrs(quoted), None, &device, &policy).state
    };
    let (accepted, refused) = (BootState::Accepted, BootState::Refused);
    let now = [(4, 1), (7, 1), (9, 9)];
    assert_eq!(state(&now, &[]), refused);
    assert_eq!(state(&now, &[&[(4, 1), (7, 1)]]), accepted);
    assert_eq!(state(&now, &[&[(4, 2), (7, 2)], &[(4, 1), (7, 1), (9, 3)]]), accepted);
    assert_eq!(state(&now, &[&[(4, 1), (7, 2)], &[(4, 2), (7, 1)]]), refused);
    assert_eq!(state(&now, &[&[(7, 1)]]), refused);
    // What was not quoted is not the same as what was not accepted.
    assert_eq!(state(&[(7, 1)], &[&[(7, 1)]]), refused);
}

/// The reason that explains all others is the code; what is refused says whose policy minds what.
#[test]
fn a_refusal_has_the_code_of_its_first_cause() {
    let mismatch =
        Mismatch { first_unexplained: 1, cause: MismatchCause::Unknown, replayed: vec![] };
    let truncated = LogError::Truncated(EventLogError::Missing);
    let findings = [
        (Finding::ShimValidationOff { event: 5 }, RejectionCode::BootPolicyRefused),
        (Finding::NotMatching { pcr: 7, quoted: vec![], mismatch }, RejectionCode::BootLogMismatch),
        (Finding::NotQuoted { pcr: 7 }, RejectionCode::PcrSelectionInsufficient),
        (Finding::Log(truncated), RejectionCode::BootLogTruncated),
    ];
    let refused = |findings: Vec<Finding>| {
        let judgements = vec![BootJudgement::of_baseline(findings)];
        let report = judged(pcrs(&[]), None, &device(), &settings(BootPolicy::Monitor, &[]));
        BootReport { judgements, state: BootState::Refused, ..report }.refusal().unwrap_err()
    };
    for number in 1..=findings.len() {
        let (found, codes): (Vec<_>, Vec<_>) = findings[..number].iter().cloned().unzip();
        let expected = codes[number - 1];
        assert_eq!(refused(found.clone()).code(), expected);
        assert_eq!(refused(found.into_iter().rev().collect()).code(), expected);
    }
    let same_code = [
        (Finding::NothingMeasured { pcr: 0 }, RejectionCode::BootLogMismatch),
        (Finding::NotInLog { pcr: 8, quoted: vec![] }, RejectionCode::BootLogMismatch),
        (Finding::Log(LogError::Missing), RejectionCode::BootLogMissing),
        (Finding::Log(LogError::Unreadable), RejectionCode::BootLogMissing),
        (Finding::Log(LogError::Withheld), RejectionCode::BootLogTooLong),
        (Finding::Log(LogError::WeakBank), RejectionCode::BootLogMalformed),
    ];
    for (finding, code) in same_code {
        assert_eq!(refused(vec![finding]).code(), code);
    }
}

#[test]
fn a_refusal_says_which_policies_mind_what() {
    let of = |name: &str, mode: &str| format!("name = \"{name}\"\nmode = \"{mode}\"\n{SEVENTH}");
    let texts = [of("first", "enforce"), of("mild", "warn"), of("second", "enforce")];
    let policy = settings(BootPolicy::Monitor, &texts.each_ref().map(String::as_str));
    let report = judged(pcrs(&[]), None, &device(), &policy);
    let minds = "minds: PCR 7 (Secure Boot) was not quoted";
    let rejection = report.clone().refusal().unwrap_err();
    assert_eq!(
        rejection.chain(),
        format!(
            "pcr-selection-insufficient: machine policy \"first\" {minds}; \
             machine policy \"second\" {minds}"
        )
    );
    assert_eq!(rejection.boot(), Some(&report));
    // A person hears of it once.
    assert_eq!(Vec::from_iter(report.findings()), [&Finding::NotQuoted { pcr: 7 }]);
    let warned = BootReport { state: BootState::Warned, ..report };
    assert_eq!(warned.clone().refusal().unwrap(), warned);
}
