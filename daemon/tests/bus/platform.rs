//! People without a security key: platform keys over D-Bus, as their evidence shows them.

use signet_evidence::binding::{platform_digest, platform_registration_challenge};
use signet_evidence::facts::finger_set_digest;
use signet_evidence::tpm::{
    Attested, FINGERPRINT_POLICY_REF, Name, TpmsAttest, TpmtPublic, TpmtSignature,
    policy_auth_value, policy_signed,
};
use signet_evidence::{FingerFacts, PlatformRegistration};
use signet_tests::fprintd::Fprintd;
use signet_tests::signetd::{Signetd, SignetdOptions};
use signet_tests::skip::without_root;
use signet_tests::swtpm::Swtpm;

use crate::authority::point;
use crate::client::{Answer, Caller, Options, Pending, Signal, bytes, text};
use crate::evidence::checked;
use crate::world::{self, World, key_with_pin, registration, session, with};

const PIN: &str = "271828";
const FINGER: &str = "right-index-finger";
const PRINT: &str = "alice-right-index";
const VIRTUAL: &str = "danger_accept_virtual_reader = true";

/// A workstation without security keys, its reader, and a caller.
struct Seat {
    world: World,
    fprintd: Fprintd,
    caller: Caller,
    me: String,
}

impl Seat {
    async fn new() -> Self {
        let world = World::enrolled(Vec::new(), VIRTUAL).await;
        let fprintd = Fprintd::start(&world.bus).unwrap();
        let me = Fprintd::me().unwrap();
        fprintd.enrol(&me, FINGER, PRINT).unwrap();
        let caller = world.caller().await;
        Self { world, fprintd, caller, me }
    }

    async fn begin_finger_key(&self) -> Pending {
        let options = with(registration(), "method", "fingerprint".into());
        self.caller.register("finger", &options).await.unwrap()
    }

    async fn finger_key(&self) -> Answer {
        let mut pending = self.begin_finger_key().await;
        pending.stage("finger-needed").await;
        self.fprintd.scan(PRINT).unwrap();
        pending.results().await
    }

    async fn login(&self, credential: &[u8]) -> Pending {
        self.caller.presence("login", &session(credential)).await.unwrap()
    }

    /// As [`Self::login`], up to the question for the finger.
    async fn at_reader(&self, credential: &[u8]) -> Pending {
        let mut pending = self.login(credential).await;
        assert_eq!(text(&pending.stage("finger-needed").await, "method"), "fingerprint");
        pending
    }

    async fn refused(&self, options: &Options) -> (String, String) {
        match self.caller.presence("refused", options).await {
            Ok(_) => panic!("accepted"),
            Err(error) => crate::client::refusal(error),
        }
    }
}

async fn pin_key(caller: &Caller, pin: &str) -> Answer {
    let mut pending = begin_pin_key(caller).await;
    pending.give_pin(pin).await.unwrap();
    pending.results().await
}

async fn begin_pin_key(caller: &Caller) -> Pending {
    let options = with(registration(), "method", "tpm-pin".into());
    let mut pending = caller.register("pin", &options).await.unwrap();
    let asked = pending.stage("new-pin-needed").await;
    assert_eq!(number(&asked, "min_length"), 6);
    assert_eq!(text(&asked, "method"), "tpm-pin");
    assert_eq!(text(&asked, "title"), "Choose a PIN for this machine");
    pending
}

fn number(answer: &Answer, name: &str) -> u32 {
    answer[name].try_clone().unwrap().try_into().unwrap()
}

fn signed_by(public: &[u8], message_digest_of: &[u8], signature: &[u8]) {
    let TpmtSignature::Ecdsa { r_s, .. } = TpmtSignature::parse(signature).unwrap() else {
        panic!("not an ECDSA signature")
    };
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
    aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, point(public))
        .verify(message_digest_of, &r_s)
        .unwrap();
}

/// The registration in evidence: certified by the AK over this very statement.
fn registered(made: &Answer) -> (PlatformRegistration, Option<FingerFacts>) {
    let evidence = checked(&bytes(made, "evidence"));
    assert!(!made.contains_key("aaguid"));
    let part = &evidence.registration.as_ref().unwrap().value;
    let signet_evidence::Registration::Platform(part) = part else { panic!("a security key") };
    let attest = TpmsAttest::parse(&part.certification.attest).unwrap();
    let challenge = platform_registration_challenge(evidence.statement_bytes());
    assert_eq!(attest.extra_data, challenge);
    let name = Name::of(&TpmtPublic::parse(&part.public).unwrap());
    let Attested::Certify(info) = attest.attested else { panic!("no certification") };
    assert_eq!(info.name, name);
    assert_eq!(name.as_bytes(), bytes(made, "credential_id"));
    let facts = evidence.statement.host_facts.and_then(|facts| facts.finger_facts());
    (part.clone(), facts)
}

/// The assertion in evidence: by this key over this very statement. The message whose SHA-256 is
/// signed is the tag and the statement.
fn assert_asserted(made: &Answer, public: &[u8]) -> Option<FingerFacts> {
    let evidence = checked(&bytes(made, "evidence"));
    let part = &evidence.assertion.as_ref().unwrap().value;
    let signet_evidence::Assertion::Platform(part) = part else { panic!("a security key") };
    assert_eq!(part.key.as_bytes(), bytes(made, "credential_id"));
    let message = [b"signet-platform-v1\0", evidence.statement_bytes()].concat();
    assert_eq!(
        signet_evidence::binding::sha256(&message),
        platform_digest(evidence.statement_bytes())
    );
    signed_by(public, &message, &part.signature);
    evidence.statement.host_facts.and_then(|facts| facts.finger_facts())
}

#[tokio::test]
async fn a_pin_that_the_tpm_checks_stands_for_a_person() {
    let mut world = World::enrolled(Vec::new(), "").await;
    let caller = world.caller().await;
    let made = pin_key(&caller, PIN).await;
    let (part, facts) = registered(&made);
    assert_eq!((part.authorisation_key, facts), (None, None));
    let public = TpmtPublic::parse(&part.public).unwrap();
    assert_eq!(public.auth_policy, policy_auth_value());
    let credential = bytes(&made, "credential_id");
    let id = signet_evidence::thumbprint::hex(&credential);
    for tries_left in [2, 1] {
        let mut pending = caller.presence("login", &session(&credential)).await.unwrap();
        let asked = pending.stage("pin-needed").await;
        assert_eq!(number(&asked, "tries_left"), tries_left);
        assert_eq!(text(&asked, "method"), "tpm-pin");
        assert_eq!(text(&asked, "title"), "Sign in");
        pending.give_pin(PIN).await.unwrap();
        assert_eq!(assert_asserted(&pending.results().await, &part.public), None);
        let status = caller.daemon.status().await.unwrap();
        let named: Vec<String> = status["platform_keys"].try_clone().unwrap().try_into().unwrap();
        assert_eq!(named, [format!("tpm-pin {id}")]);
        // It is there again after a restart of daemon and TPM; for the TPM, losing its power after a
        // PIN was used counts like a wrong one (TCG Part 1 §19.8.2).
        world.tpm.restart().unwrap();
        world.signetd.restart().unwrap();
    }
    let log = world.signetd.log();
    assert!(!log.contains(PIN), "{log}");
}

#[tokio::test]
async fn wrong_pins_are_counted_until_none_is_taken_and_the_owner_opens_it() {
    let world = World::enrolled(Vec::new(), "").await;
    let caller = world.caller().await;
    let credential = bytes(&pin_key(&caller, PIN).await, "credential_id");
    for tries_left in [2, 1] {
        let mut pending = caller.presence("login", &session(&credential)).await.unwrap();
        assert_eq!(number(&pending.stage("pin-needed").await, "tries_left"), tries_left);
        pending.give_pin("000000").await.unwrap();
        let (outcome, words) = pending.outcome().await;
        assert_eq!(outcome, "PinInvalid");
        assert!(words.contains(&format!(": {}", tries_left - 1)), "{words}");
    }
    let mut pending = caller.presence("login", &session(&credential)).await.unwrap();
    // Nobody is asked for a PIN that would not be taken.
    let (outcome, words) = loop {
        match pending.next().await {
            Signal::Progress(stage, _) => assert_ne!(stage, "pin-needed"),
            Signal::Completed(outcome, words, _) => break (outcome, words),
        }
    };
    assert_eq!(outcome, "TpmLockout");
    assert!(words.contains("17 minutes") && words.contains("tpm2_dictionarylockout"), "{words}");
    world.tpm.run_tool("tpm2_dictionarylockout", &["--clear-lockout"]).unwrap();
    let mut pending = caller.presence("login", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    pending.results().await;
}

#[tokio::test]
async fn a_pin_is_changed_with_the_present_one_and_the_key_stays_the_same() {
    const OTHER: &str = "314159";
    let mut world = World::enrolled(Vec::new(), "").await;
    let caller = world.caller().await;
    let options = Options::from([("method", "tpm-pin".into())]);
    let refused =
        crate::client::refusal(caller.upkeep("ChangePin", "none", &options).await.err().unwrap());
    assert_eq!(refused.0, "NoCredential");
    assert!(refused.1.contains("signet key add --platform pin"), "{}", refused.1);
    for (name, value) in [("method", "fingerprint"), ("path", "/dev/hidraw0")] {
        let options = with(Options::from([("method", "tpm-pin".into())]), name, value.into());
        let refused =
            crate::client::refusal(caller.upkeep("ChangePin", "no", &options).await.err().unwrap());
        assert_eq!(refused.0, "InvalidArgument", "{name}");
    }
    let made = pin_key(&caller, PIN).await;
    let (part, _) = registered(&made);
    let credential = bytes(&made, "credential_id");
    let change = async |pins: &[&str]| {
        caller.upkeep("ChangePin", "change", &options).await.unwrap().served(pins).await
    };

    let short = change(&[PIN, "12345"]).await;
    assert_eq!(short.outcome, "PinTooShort");
    let wrong = change(&["000000", OTHER]).await;
    assert_eq!(wrong.outcome, "PinInvalid");
    assert!(wrong.words.ends_with(": 1"), "{}", wrong.words);
    let changed = change(&[PIN, OTHER]).await;
    let (_, asked) = &changed.stages[0];
    assert_eq!(text(asked, "title"), "Change the PIN of this machine's own key");
    changed.ok();

    world.signetd.restart().unwrap();
    let mut new = caller.presence("new", &session(&credential)).await.unwrap();
    new.stage("pin-needed").await;
    new.give_pin(OTHER).await.unwrap();
    // The key that was registered, so the authority need not hear of it.
    assert_eq!(assert_asserted(&new.results().await, &part.public), None);
    let mut old = caller.presence("old", &session(&credential)).await.unwrap();
    assert_eq!(old.served(&[PIN]).await.outcome, "PinInvalid");
}

#[tokio::test]
async fn a_locked_tpm_asks_for_no_pin_to_change() {
    let world = World::enrolled(Vec::new(), "").await;
    let caller = world.caller().await;
    pin_key(&caller, PIN).await;
    let options = Options::from([("method", "tpm-pin".into())]);
    let change = async |pins: &[&str]| {
        caller.upkeep("ChangePin", "change", &options).await.unwrap().served(pins).await
    };
    // Of three tries one is never spent.
    for _ in 0..2 {
        assert_eq!(change(&["000000", "314159"]).await.outcome, "PinInvalid");
    }
    let locked = change(&[]).await;
    assert_eq!(locked.outcome, "TpmLockout");
    assert!(locked.words.contains("17 minutes"), "{}", locked.words);
}

#[tokio::test]
async fn short_pins_make_no_key() {
    let world = World::enrolled(Vec::new(), "").await;
    let caller = world.caller().await;
    let mut pending = begin_pin_key(&caller).await;
    pending.give_pin("12345").await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "PinTooShort");
    assert!(words.contains("at least 6"), "{words}");
    // Six letters are six characters, however many bytes.
    pin_key(&caller, "пароль").await;
}

#[tokio::test]
async fn a_finger_on_the_reader_of_the_machine_stands_for_a_person() {
    let seat = Seat::new().await;
    let made = seat.finger_key().await;
    let (part, facts) = registered(&made);
    let authorisation = TpmtPublic::parse(part.authorisation_key.as_ref().unwrap()).unwrap();
    let public = TpmtPublic::parse(&part.public).unwrap();
    let policy = policy_signed(&Name::of(&authorisation), FINGERPRINT_POLICY_REF);
    assert_eq!(public.auth_policy, policy);
    let facts = facts.unwrap();
    assert_eq!(facts.driver, "Virtual device for debugging");
    assert_eq!(facts.fingers, finger_set_digest([FINGER]));

    let mut pending = seat.at_reader(&bytes(&made, "credential_id")).await;
    for (command, reason) in [
        ("RETRY 0", "retry-scan"),
        ("RETRY 1", "swipe-too-short"),
        ("RETRY 2", "finger-not-centered"),
        ("RETRY 3", "remove-and-retry"),
    ] {
        seat.fprintd.command(command).unwrap();
        assert_eq!(text(&pending.stage("finger-retry").await, "reason"), reason);
    }
    seat.fprintd.scan("mallory").unwrap();
    assert_eq!(number(&pending.stage("wrong-finger").await, "tries_left"), 2);
    pending.stage("finger-needed").await;
    seat.fprintd.scan(PRINT).unwrap();
    assert_eq!(assert_asserted(&pending.results().await, &part.public), Some(facts));
    let status = seat.caller.daemon.status().await.unwrap();
    assert_eq!(text(&status, "fingerprint_reader"), "Virtual device for debugging");
}

#[tokio::test]
async fn a_changed_set_of_fingers_is_in_the_next_statement() {
    let seat = Seat::new().await;
    let made = seat.finger_key().await;
    let (part, _) = registered(&made);
    seat.fprintd.enrol(&seat.me, "left-thumb", "mallory-thumb").unwrap();
    let mut pending = seat.at_reader(&bytes(&made, "credential_id")).await;
    // The new finger opens the reader: only the facts tell that it is new.
    seat.fprintd.scan("mallory-thumb").unwrap();
    let facts = assert_asserted(&pending.results().await, &part.public).unwrap();
    assert_eq!(facts.fingers, finger_set_digest(["left-thumb", FINGER]));
}

#[tokio::test]
async fn only_fingers_of_the_user_who_enrolled_count() {
    let seat = Seat::new().await;
    let credential = bytes(&seat.finger_key().await, "credential_id");
    // Another user of the machine, whose finger is known to the same reader.
    let other = if seat.me == "nobody" { "daemon" } else { "nobody" };
    seat.fprintd.enrol(other, FINGER, "mallory").unwrap();
    let mut pending = seat.at_reader(&credential).await;
    seat.fprintd.scan("mallory").unwrap();
    pending.stage("wrong-finger").await;
    seat.fprintd.scan(PRINT).unwrap();
    pending.results().await;
}

/// The polkit rule of docs/operating.md, for `user`.
fn written_rule(user: &str) -> String {
    let operating = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let operating = std::fs::read_to_string(operating).unwrap();
    let (_, rest) = operating.split_once("```js\n").unwrap();
    let (rule, _) = rest.split_once("```").unwrap();
    assert!(rule.contains("subject.user == \"signet\""), "{rule}");
    rule.replace("\"signet\"", &format!("\"{user}\""))
}

/// The real polkitd decides, and signetd is an ordinary user: without a rule it may do nothing, with
/// the documented one all that it needs.
#[tokio::test]
async fn an_unprivileged_daemon_needs_the_documented_polkit_rule() {
    const NOBODY: u32 = 65534;
    if without_root("starting polkitd and a daemon of another user") {
        return;
    }
    for (rule, allowed) in [("", false), (written_rule("nobody").as_str(), true)] {
        let bus = Fprintd::bus().unwrap();
        let fprintd = Fprintd::start_with_rules(&bus, rule).unwrap();
        // fprintd asks polkit for this as well; root may.
        fprintd.enrol("root", FINGER, PRINT).unwrap();
        let tpm = Swtpm::copy().unwrap();
        let options = SignetdOptions {
            bus: bus.address().to_owned(),
            tcti: tpm.tcti(),
            authenticators: Vec::new(),
            extra: VIRTUAL.to_owned(),
        };
        let program = std::path::Path::new(world::SIGNETD);
        let signetd = Signetd::start_as(NOBODY, program, &options).unwrap();
        let authority = crate::authority::Authority::new();
        let world = World { signetd, keys: Vec::new(), tpm, bus, authority };
        let caller = world.caller().await;
        world.enrol(&caller).await;
        let options = with(registration(), "method", "fingerprint".into());
        match (caller.register("finger", &options).await, allowed) {
            (Ok(mut pending), true) => {
                pending.stage("finger-needed").await;
                fprintd.scan(PRINT).unwrap();
                registered(&pending.results().await);
            }
            (Err(error), false) => {
                let (name, words) = crate::client::refusal(error);
                assert_eq!(name, "ReaderMissing");
                assert!(words.contains("polkit rule"), "{words}");
            }
            (answer, _) => panic!("{:?} with the rule {rule:?}", answer.map(drop)),
        }
    }
}

#[tokio::test]
async fn three_wrong_fingers_end_the_request() {
    let seat = Seat::new().await;
    let credential = bytes(&seat.finger_key().await, "credential_id");
    let mut pending = seat.at_reader(&credential).await;
    for _ in 0..2 {
        seat.fprintd.scan("mallory").unwrap();
        pending.stage("wrong-finger").await;
        pending.stage("finger-needed").await;
    }
    seat.fprintd.scan("mallory").unwrap();
    assert_eq!(pending.outcome().await.0, "UvInvalid");
}

#[tokio::test]
async fn a_false_result_of_another_program_signs_nothing() {
    let seat = Seat::new().await;
    let credential = bytes(&seat.finger_key().await, "credential_id");
    let mut pending = seat.at_reader(&credential).await;
    let mallory = seat.world.caller().await.connection;
    let bus = zbus::fdo::DBusProxy::new(&mallory).await.unwrap();
    let names = bus.list_names().await.unwrap();
    let unique = names.iter().filter(|name| name.as_str().starts_with(':'));
    let targets = unique.map(|name| Some(name.inner().clone())).chain([None]);
    for target in targets {
        let (path, interface) =
            ("/net/reactivated/Fprint/Device/0", "net.reactivated.Fprint.Device");
        let body = ("verify-match", true);
        mallory.emit_signal(target, path, interface, "VerifyStatus", &body).await.unwrap();
    }
    // The bus keeps the order: had a false signal counted, the request would be over.
    for _ in 0..2 {
        seat.fprintd.scan("mallory").unwrap();
        pending.stage("wrong-finger").await;
        pending.stage("finger-needed").await;
    }
    seat.fprintd.scan("mallory").unwrap();
    assert_eq!(pending.outcome().await.0, "UvInvalid");
}

#[tokio::test]
async fn what_keeps_a_finger_from_being_read_is_named() {
    let mut seat = Seat::new().await;
    let credential = bytes(&seat.finger_key().await, "credential_id");
    // In use by another program.
    let other = seat.world.caller().await.connection;
    let (service, path) = ("net.reactivated.Fprint", "/net/reactivated/Fprint/Device/0");
    let interface = Some("net.reactivated.Fprint.Device");
    other.call_method(Some(service), path, interface, "Claim", &(&seat.me,)).await.unwrap();
    assert_eq!(seat.login(&credential).await.outcome().await.0, "ReaderBusy");
    other.close().await.unwrap();
    // Killed in the middle, gone, back again.
    let mut pending = seat.at_reader(&credential).await;
    seat.fprintd.kill().unwrap();
    assert_eq!(pending.outcome().await.0, "ReaderFailed");
    let (name, words) = seat.refused(&session(&credential)).await;
    assert_eq!(name, "ReaderMissing");
    assert!(words.contains("fprintd"), "{words}");
    let status = seat.caller.daemon.status().await.unwrap();
    assert!(text(&status, "fingerprint_reader").contains("start fprintd"));
    seat.fprintd.restart().unwrap();
    let mut pending = seat.at_reader(&credential).await;
    seat.fprintd.scan(PRINT).unwrap();
    pending.results().await;
    // Cancelled: the next one finds the reader free.
    let mut pending = seat.at_reader(&credential).await;
    pending.request.cancel().await.unwrap();
    assert_eq!(pending.outcome().await.0, "Cancelled");
    let mut pending = seat.at_reader(&credential).await;
    seat.fprintd.scan(PRINT).unwrap();
    pending.results().await;
    // Not allowed, and no finger.
    seat.fprintd.delete(&seat.me).unwrap();
    assert_eq!(seat.refused(&session(&credential)).await.0, "NoEnrolledFingers");
    seat.fprintd.allow(&[]).unwrap();
    let (name, words) = seat.refused(&session(&credential)).await;
    assert_eq!(name, "ReaderMissing");
    assert!(words.contains("polkit"), "{words}");
}

#[tokio::test]
async fn a_virtual_reader_is_refused_where_it_is_not_for_tests() {
    let world = World::enrolled(Vec::new(), "").await;
    let fprintd = Fprintd::start(&world.bus).unwrap();
    fprintd.enrol(&Fprintd::me().unwrap(), FINGER, PRINT).unwrap();
    let caller = world.caller().await;
    let options = with(registration(), "method", "fingerprint".into());
    let refused = caller.register("finger", &options).await.map(drop).unwrap_err();
    let (name, words) = crate::client::refusal(refused);
    assert_eq!(name, "ReaderMissing");
    assert!(words.contains("virtual"), "{words}");
}

#[tokio::test]
async fn a_security_key_answers_first_where_one_is_plugged_in() {
    let world = World::enrolled(vec![key_with_pin().await], "").await;
    let caller = world.caller().await;
    let made = world::register(&caller, "register", Options::new()).await;
    let security_key = bytes(&made, "credential_id");
    let credential = bytes(&pin_key(&caller, PIN).await, "credential_id");
    let both = with(
        session(&security_key),
        "allow_credentials",
        vec![security_key.clone(), credential.clone()].into(),
    );
    let mut pending = caller.presence("both", &both).await.unwrap();
    assert!(!pending.stage("pin-needed").await.contains_key("method"));
    pending.give_pin(world::PIN).await.unwrap();
    assert_eq!(bytes(&pending.results().await, "credential_id"), security_key);
    // Where the caller says so, and where no security key is allowed.
    for options in [with(both, "method", "tpm-pin".into()), session(&credential)] {
        let mut pending = caller.presence("platform", &options).await.unwrap();
        assert_eq!(text(&pending.stage("pin-needed").await, "method"), "tpm-pin");
        pending.give_pin(PIN).await.unwrap();
        assert_eq!(bytes(&pending.results().await, "credential_id"), credential);
    }
    let wanted = with(session(&security_key), "method", "fingerprint".into());
    let refused = caller.presence("none", &wanted).await.map(drop).unwrap_err();
    assert_eq!(crate::client::refusal(refused).0, "NoCredential");
    let unknown = with(session(&security_key), "method", "face".into());
    let refused = caller.presence("none", &unknown).await.map(drop).unwrap_err();
    assert_eq!(crate::client::refusal(refused).0, "InvalidArgument");
}

#[tokio::test]
async fn a_security_key_authorises_a_platform_key() {
    let world = World::enrolled(vec![key_with_pin().await], "").await;
    let caller = world.caller().await;
    let made = world::register(&caller, "register", Options::new()).await;
    let security_key = bytes(&made, "credential_id");
    let options = with(registration(), "authorise_with", vec![security_key.clone()].into());
    let options = with(options, "method", "tpm-pin".into());
    let mut pending = caller.register("second", &options).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(world::PIN).await.unwrap();
    pending.stage("new-pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    let made = pending.results().await;
    registered(&made);
    let evidence = checked(&bytes(&made, "evidence"));
    let by = evidence.assertion.unwrap().value.security_key().unwrap().credential_id.clone();
    assert_eq!(by, security_key);
    // A platform key is only as good as the host, and brings no further key.
    let platform_key = vec![bytes(&made, "credential_id")];
    let options = with(registration(), "authorise_with", platform_key.into());
    for method in ["tpm-pin", "security-key"] {
        let options = with(options.clone(), "method", method.into());
        let refused = caller.register("third", &options).await.map(drop).unwrap_err();
        assert_eq!(crate::client::refusal(refused).0, "NoCredential");
    }
}

#[tokio::test]
async fn lost_keys_are_told_by_name_and_forgotten_with_the_next_enrolment() {
    let seat = Seat::new().await;
    let credential = bytes(&seat.finger_key().await, "credential_id");
    // The authorisation key is gone, or is another one.
    let file = seat.world.signetd.state_dir().join("fingerprint-authorisation");
    std::fs::remove_file(&file).unwrap();
    let (outcome, words) = seat.login(&credential).await.outcome().await;
    assert_eq!(outcome, "PlatformKeyLost");
    assert!(words.contains("signet key add --platform"), "{words}");
    let second = bytes(&seat.finger_key().await, "credential_id");
    assert_eq!(seat.login(&credential).await.outcome().await.0, "PlatformKeyLost");
    let mut pending = seat.at_reader(&second).await;
    seat.fprintd.scan(PRINT).unwrap();
    pending.results().await;
    // The whole TPM is cleared: the machine says so, and a new enrolment forgets the dead keys.
    seat.world.tpm.run_tool("tpm2_clear", &["-c", "p"]).unwrap();
    let pin = session(&second);
    let mut pending = seat.caller.presence("cleared", &pin).await.unwrap();
    pending.stage("finger-needed").await;
    seat.fprintd.scan(PRINT).unwrap();
    assert_eq!(pending.outcome().await.0, "PlatformKeyLost");
    seat.world.enrol(&seat.caller).await;
    let status = seat.caller.daemon.status().await.unwrap();
    let named: Vec<String> = status["platform_keys"].try_clone().unwrap().try_into().unwrap();
    assert_eq!(named, Vec::<String>::new());
}
