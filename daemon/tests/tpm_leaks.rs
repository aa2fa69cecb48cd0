//! The TPM actor leaves nothing in the TPM: after ten thousand operations, after every fault at every
//! command, and when the TPM restarts in the middle of anything.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::sync::{Arc, Mutex};

use signet_daemon::tpm::{EndorsementKind, Health, PinValue, Tpm, TpmConfig, TpmError, UserKey};
use signet_tests::faulty_tpm::{Fate, FaultyTpm};
use signet_tests::swtpm::Swtpm;

const NONCE: [u8; 32] = [0x11; 32];
/// AK and TLS key, no session.
const AT_REST: [usize; 3] = [2, 0, 0];

const START_AUTH_SESSION: u32 = 0x176;
const GET_TEST_RESULT: u32 = 0x17c;
const SIGN: u32 = 0x15d;

const GET_CAPABILITY: u32 = 0x17a;

const RC_FAILURE: u32 = 0x101;
const RC_OBJECT_MEMORY: u32 = 0x902;
const RC_SESSION_MEMORY: u32 = 0x903;
const RC_YIELDED: u32 = 0x908;
const RC_TESTING: u32 = 0x90a;
const RC_REFERENCE_H0: u32 = 0x910;
const RC_NV_RATE: u32 = 0x920;
const RC_RETRY: u32 = 0x922;

/// What the actor can be asked for.
#[derive(Clone, Copy, Debug)]
enum Operation {
    AttestationKey,
    Sign,
    Attest,
    CreateTlsKey,
    SignWithPin,
    ChangePin,
    CreatePinKey,
    RefusedCredential,
    SelfTest,
    Prepare,
}

const ALL: [Operation; 10] = [
    Operation::AttestationKey,
    Operation::Sign,
    Operation::Attest,
    Operation::CreateTlsKey,
    Operation::SignWithPin,
    Operation::ChangePin,
    Operation::CreatePinKey,
    Operation::RefusedCredential,
    Operation::SelfTest,
    Operation::Prepare,
];

fn pin() -> PinValue {
    PinValue::of("123456")
}

impl Operation {
    async fn run(self, tpm: &Tpm, key: &UserKey) -> Result<(), TpmError> {
        match self {
            Self::AttestationKey => tpm.attestation_key().await.map(drop),
            Self::Sign => tpm.sign_tls([7; 32]).await.map(drop),
            Self::Attest => {
                let whole = |quote, certified| ((quote, certified), [7; 32]);
                tpm.attest(NONCE, &[0, 1, 7], true, whole).await.map(drop)
            }
            Self::CreateTlsKey => tpm.create_tls_key().await.map(drop),
            Self::SignWithPin => tpm.sign_with_pin(key.clone(), pin(), [7; 32]).await.map(drop),
            Self::ChangePin => tpm.change_user_pin(key.clone(), pin(), pin()).await.map(drop),
            Self::CreatePinKey => tpm.create_pin_key(pin(), NONCE).await.map(drop),
            Self::RefusedCredential => {
                let kind = EndorsementKind::EccP256;
                match tpm.activate_credential(kind, &[0, 1, 9], &[0, 1, 9]).await {
                    Err(TpmError::CredentialRefused) => Ok(()),
                    other => other.map(drop),
                }
            }
            Self::SelfTest => tpm.self_test().await,
            Self::Prepare => tpm.prepare(&[0, 1, 7]).await,
        }
    }
}

/// An actor whose every command goes through the proxy, at rest.
struct Bench {
    tpm: Tpm,
    key: UserKey,
    wire: FaultyTpm,
    swtpm: Arc<Mutex<Swtpm>>,
}

impl Bench {
    async fn new() -> Self {
        let swtpm = Swtpm::copy().unwrap();
        // Power cuts after a PIN count as wrong ones (TPM 2.0 part 1 §19.8.2).
        let many = ["-s", "-n", "4000", "-t", "600", "-l", "600"];
        swtpm.run_tool("tpm2_dictionarylockout", &many).unwrap();
        let wire = FaultyTpm::before(&swtpm).unwrap();
        let tpm = Tpm::start(TpmConfig::new(wire.tcti(), [0x5a; 32])).unwrap();
        let key = tpm.create_pin_key(pin(), NONCE).await.unwrap().key;
        tpm.create_tls_key().await.unwrap();
        tpm.self_test().await.unwrap();
        let bench = Self { tpm, key, wire, swtpm: Arc::new(Mutex::new(swtpm)) };
        bench.assert_at_rest("new").await;
        bench
    }

    /// Nothing but our two keys is in the TPM, and the next request is served.
    async fn assert_at_rest(&self, what: &str) {
        self.tpm.sign_tls([1; 32]).await.unwrap();
        assert_eq!(self.handles(), AT_REST, "{what}");
        assert_eq!(self.tpm.health(), (Health::Ok, None), "{what}");
    }

    fn handles(&self) -> [usize; 3] {
        self.swtpm.lock().unwrap().handles().unwrap()
    }

    /// How many commands an operation sends.
    async fn commands(&self, operation: Operation) -> usize {
        let count = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&count);
        self.wire.set_rule(move |_| {
            *counter.lock().unwrap() += 1;
            Fate::Pass
        });
        operation.run(&self.tpm, &self.key).await.unwrap();
        self.wire.heal();
        let count = *count.lock().unwrap();
        assert!((1..40).contains(&count), "{operation:?} {count}");
        count
    }

    /// From the command `at` of now on, so many commands meet this fate.
    fn fail(&self, at: usize, times: usize, fate: Fate) {
        let mut seen = 0;
        self.wire.set_rule(move |_| {
            seen += 1;
            if (at + 1..=at + times).contains(&seen) { fate.clone() } else { Fate::Pass }
        });
    }
}

#[tokio::test]
async fn ten_thousand_operations_leave_nothing_behind() {
    let bench = Bench::new().await;
    // Without the proxy: it is for faults.
    let tcti = bench.swtpm.lock().unwrap().tcti();
    bench.tpm.close().await;
    let tpm = Tpm::start(TpmConfig::new(tcti, [0x5a; 32])).unwrap();
    tpm.create_tls_key().await.unwrap();
    for round in 0..10_000_u32 {
        let operation = match round % 100 {
            // Each kind that opens sessions or loads keys, a thousand in all.
            place @ 0..10 => ALL[usize::try_from(place).unwrap()],
            place if place % 4 == 0 => Operation::Sign,
            place if place % 16 == 1 => Operation::Attest,
            _ => Operation::AttestationKey,
        };
        operation.run(&tpm, &bench.key).await.unwrap();
        if round % 1000 == 999 {
            tpm.sign_tls([1; 32]).await.unwrap();
            assert_eq!(bench.handles(), AT_REST, "{round}");
        }
    }
    tpm.close().await;
    assert_eq!(bench.handles(), [0, 0, 0]);
}

#[tokio::test]
async fn every_fault_at_every_command_leaves_nothing_behind() {
    let bench = Bench::new().await;
    for operation in ALL {
        let commands = bench.commands(operation).await;
        for at in 0..commands {
            for fate in [
                Fate::Answer(RC_FAILURE),
                Fate::Answer(RC_OBJECT_MEMORY),
                Fate::Answer(RC_SESSION_MEMORY),
                Fate::Answer(RC_REFERENCE_H0),
                Fate::Lose,
                Fate::LoseAnswer,
                Fate::CutAnswer,
            ] {
                bench.fail(at, 1, fate.clone());
                let _ = operation.run(&bench.tpm, &bench.key).await;
                bench.wire.heal();
                // One self-test that went wrong is remembered until one goes right.
                let tested = bench.tpm.self_test().await;
                assert_eq!(tested, Ok(()), "{operation:?} {at} {fate:?}");
                bench.assert_at_rest(&format!("{operation:?} {at} {fate:?}")).await;
            }
        }
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_of_anything_is_survived() {
    let bench = Bench::new().await;
    for operation in ALL {
        let commands = bench.commands(operation).await;
        for at in 0..commands {
            let swtpm = Arc::clone(&bench.swtpm);
            let mut seen = 0;
            bench.wire.set_rule(move |_| {
                if seen == at {
                    swtpm.lock().unwrap().restart().unwrap();
                }
                seen += 1;
                Fate::Pass
            });
            let result = operation.run(&bench.tpm, &bench.key).await;
            assert_eq!(result, Ok(()), "{operation:?} {at}");
            bench.wire.heal();
            bench.assert_at_rest(&format!("{operation:?} {at}")).await;
        }
    }
}

#[tokio::test]
async fn a_busy_tpm_is_asked_again_and_in_the_end_called_busy() {
    let bench = Bench::new().await;
    for code in [RC_RETRY, RC_YIELDED, RC_TESTING, RC_NV_RATE] {
        // libtss2 itself asks five times for most of them.
        bench.fail(0, 7, Fate::Answer(code));
        Operation::Sign.run(&bench.tpm, &bench.key).await.unwrap();
        bench.assert_at_rest("busy for a while").await;
    }
    bench.wire.set_rule(|command| match command.code() {
        SIGN => Fate::Answer(RC_NV_RATE),
        _ => Fate::Pass,
    });
    assert_eq!(Operation::Sign.run(&bench.tpm, &bench.key).await, Err(TpmError::Busy));
    assert_eq!(bench.tpm.health(), (Health::Busy, Some(TpmError::Busy)));
    bench.wire.heal();
    bench.assert_at_rest("busy for long").await;
}

#[tokio::test]
async fn failure_mode_is_told_from_a_command_that_failed() {
    let bench = Bench::new().await;
    bench.fail(0, 1, Fate::Answer(RC_FAILURE));
    match Operation::Sign.run(&bench.tpm, &bench.key).await {
        Err(TpmError::Protocol(code)) => assert_eq!(code.0, RC_FAILURE),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.tpm.health(), (Health::Ok, None));
    bench.wire.set_rule(|command| match command.code() {
        // No data, and TPM_RC_FAILURE as the result of the test.
        GET_TEST_RESULT => {
            Fate::Bytes([&[0x80, 0x01, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0][..], &[0, 0, 1, 1]].concat())
        }
        _ => Fate::Answer(RC_FAILURE),
    });
    for operation in ALL {
        let result = operation.run(&bench.tpm, &bench.key).await;
        assert_eq!(result, Err(TpmError::FailureMode), "{operation:?}");
        assert_eq!(bench.tpm.health(), (Health::Failed, Some(TpmError::FailureMode)));
    }
    bench.wire.heal();
    bench.assert_at_rest("failure mode").await;
}

/// With libtss2 4.2 an unsalted session that encrypts gives a wrong secret as success.
#[tokio::test]
async fn no_session_that_encrypts_is_unsalted() {
    const RH_NULL: [u8; 4] = [0x40, 0, 0, 7];
    let bench = Bench::new().await;
    let started = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&started);
    bench.wire.set_rule(move |command| {
        if command.code() == START_AUTH_SESSION {
            // tpmKey, bind, nonceCaller, encryptedSalt, sessionType, symmetric.
            let bytes = command.bytes();
            let sized =
                |at: usize| at + 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
            let symmetric = sized(sized(18)) + 1;
            let encrypts = bytes[symmetric..symmetric + 2] != [0x00, 0x10];
            assert!(!encrypts || bytes[10..14] != RH_NULL);
            *counter.lock().unwrap() += 1;
        }
        Fate::Pass
    });
    for operation in ALL {
        operation.run(&bench.tpm, &bench.key).await.unwrap();
    }
    assert!(*started.lock().unwrap() >= 4);
}

/// After TPM2_Clear the kernel's resource manager cannot load what it saved for us: it answers no command on
/// that file, and the transport says "I/O error". A new connection has what it needs to name the reason.
#[tokio::test]
async fn a_clear_behind_the_resource_manager_is_named_by_the_first_answer() {
    for operation in
        [Operation::Prepare, Operation::Sign, Operation::Attest, Operation::SignWithPin]
    {
        let bench = Bench::new().await;
        bench.swtpm.lock().unwrap().run_tool("tpm2_clear", &["-c", "l"]).unwrap();
        let mut opened_again = false;
        bench.wire.set_rule(move |command| {
            // The first command on a connection asks for the handles that are in use.
            opened_again |=
                command.code() == GET_CAPABILITY && command.bytes()[10..14] == [0, 0, 0, 1];
            if opened_again { Fate::Pass } else { Fate::Lose }
        });
        let told = match operation {
            Operation::SignWithPin => TpmError::UserKeyLost,
            _ => TpmError::Cleared,
        };
        assert_eq!(operation.run(&bench.tpm, &bench.key).await, Err(told), "{operation:?}");
        assert_eq!(bench.tpm.health(), (Health::Ok, None));
    }
}
