//! One workstation: private bus, software TPM, software keys, `signetd`.

use std::path::Path;

use signet_ctap::{Key, Timing};
use signet_test_authenticators::{Firmware, KeyOptions, VirtualKey};
use signet_tests::bus::PrivateBus;
use signet_tests::signetd::{Signetd, SignetdOptions};
use signet_tests::swtpm::Swtpm;
use zbus::Variant;
use zeroize::Zeroizing;

use crate::authority::Authority;
use crate::client::{Answer, Caller, Options, bytes, options};

/// The program under test.
pub const SIGNETD: &str = env!("CARGO_BIN_EXE_signetd");
pub const PIN: &str = "4711-x";
pub const CHALLENGE: [u8; 39] = [0xc4; 39];

pub struct World {
    pub signetd: Signetd,
    pub keys: Vec<VirtualKey>,
    pub tpm: Swtpm,
    pub bus: PrivateBus,
    pub authority: Authority,
}

impl World {
    /// A workstation that is not enrolled, with these keys plugged in.
    pub fn with_keys(keys: Vec<VirtualKey>) -> Self {
        Self::with(keys, "")
    }

    /// As [`Self::with_keys`], with more lines in the configuration.
    pub fn with(keys: Vec<VirtualKey>, extra: &str) -> Self {
        let bus = PrivateBus::start().unwrap();
        let tpm = Swtpm::copy().unwrap();
        let options = SignetdOptions {
            bus: bus.address().to_owned(),
            tcti: tpm.tcti(),
            authenticators: keys.iter().map(VirtualKey::socket).collect(),
            extra: extra.to_owned(),
        };
        let signetd = Signetd::start(Path::new(SIGNETD), &options).unwrap();
        let authority = Authority::new();
        Self { signetd, keys, tpm, bus, authority }
    }

    /// Starts `signetd` again with these lines in its configuration and no others besides.
    pub fn reconfigure(&mut self, extra: &str) {
        let options = SignetdOptions {
            bus: self.bus.address().to_owned(),
            tcti: self.tpm.tcti(),
            authenticators: self.keys.iter().map(VirtualKey::socket).collect(),
            extra: extra.to_owned(),
        };
        self.signetd.configure(&options).unwrap();
        self.signetd.restart().unwrap();
    }

    /// Lets other Unix users reach the socket of the bus.
    pub fn open_bus_to_everybody(&self) {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.bus.folder();
        for (path, mode) in [(folder.to_owned(), 0o755), (folder.join("bus"), 0o777)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// An enrolled workstation.
    pub async fn enrolled(keys: Vec<VirtualKey>, extra: &str) -> Self {
        let world = Self::with(keys, extra);
        world.enrol(&world.caller().await).await;
        world
    }

    pub async fn caller(&self) -> Caller {
        Caller::new(&self.bus).await
    }

    pub async fn enrol(&self, caller: &Caller) {
        let introduction = caller.daemon.begin_enrolment().await.unwrap();
        let exchange = self.authority.challenge(&self.tpm, &introduction, "ecc-p256");
        let activated = caller.daemon.activate_enrolment(&exchange.options()).await.unwrap();
        let admission = self.authority.admit(&exchange, &activated);
        caller.daemon.complete_enrolment(&admission).await.unwrap();
    }
}

impl crate::authority::Exchange {
    pub fn options(&self) -> Options {
        options([
            ("ek_kind", self.ek_kind.clone().into()),
            ("credential_blob", self.credential_blob.clone().into()),
            ("encrypted_secret", self.encrypted_secret.clone().into()),
            ("nonce", crate::authority::NONCE.to_vec().into()),
            ("transcript", self.transcript.clone().into()),
        ])
    }
}

/// A key with the PIN set, touched whenever it asks.
pub async fn key_with_pin() -> VirtualKey {
    with_pin(VirtualKey::start(Firmware::Trussed).unwrap()).await
}

/// As [`key_with_pin`], but somebody has to touch it.
pub async fn untouched_key() -> VirtualKey {
    let key = with_pin(VirtualKey::start(Firmware::Trussed).unwrap()).await;
    key.touch_manual().unwrap();
    key
}

/// A key with a PIN and a fingerprint sensor that knows one finger.
pub async fn key_with_finger(finger: &str) -> VirtualKey {
    with_pin(KeyOptions::new(Firmware::OpenSk).finger(finger).start().unwrap()).await
}

pub async fn with_pin(key: VirtualKey) -> VirtualKey {
    let mut open = Key::open_path(&key.socket(), Timing::default()).await.unwrap();
    open.set_pin(&Zeroizing::new(PIN.to_owned())).await.unwrap();
    key
}

/// Registers a key for alice by its PIN and returns the credential id.
pub async fn register(caller: &Caller, token: &str, more: Options) -> Answer {
    let mut members = registration();
    members.extend(more);
    let mut pending = caller.register(token, &members).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    pending.results().await
}

pub fn registration() -> Options {
    options([("challenge", CHALLENGE.to_vec().into()), ("subject", "alice".into())])
}

/// Options for a session with this credential.
pub fn session(credential: &[u8]) -> Options {
    options([
        ("purpose", "session".into()),
        ("challenge", CHALLENGE.to_vec().into()),
        ("subject", "alice".into()),
        ("allow_credentials", vec![credential.to_vec()].into()),
    ])
}

/// As [`session`], but another request than each other of these: one that is the same would be joined.
pub fn another(credential: &[u8], number: u8) -> Options {
    let mut challenge = CHALLENGE.to_vec();
    challenge[0] = number;
    with(session(credential), "challenge", challenge.into())
}

/// Options for a renewal, which asks nobody.
pub fn renewal() -> Options {
    options([
        ("purpose", "renew".into()),
        ("challenge", CHALLENGE.to_vec().into()),
        ("subject", "alice".into()),
        ("session", vec![9u8; 16].into()),
    ])
}

/// An enrolled workstation with one key registered for alice.
pub async fn ready(key: VirtualKey, extra: &str) -> (World, Caller, Vec<u8>) {
    let world = World::enrolled(vec![key], extra).await;
    let caller = world.caller().await;
    world.keys[0].touch_auto().unwrap();
    let made = register(&caller, "register", Options::new()).await;
    let credential = bytes(&made, "credential_id");
    (world, caller, credential)
}

pub fn with(mut base: Options, name: &'static str, value: Variant<'static>) -> Options {
    base.insert(name, value);
    base
}
