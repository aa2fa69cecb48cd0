//! What is left of a PIN in the memory of `signetd`.

use std::os::unix::fs::FileExt;

use aws_lc_rs::digest::{SHA256, digest};
use signet_ctap::{Key, Timing};
use signet_test_authenticators::{Firmware, VirtualKey};
use signet_tests::skip;
use zeroize::Zeroizing;

use crate::client::{Caller, Options, bytes};
use crate::world::{World, registration, session, with};

/// PINs that no memory holds by chance.
const FIRST: &str = "quince-7c1f90d2-marmalade";
const WRONG: &str = "rhubarb-55e0b3a8-compote";
const SECOND: &str = "medlar-e94d02b6-preserve";
/// Something that `signetd` keeps: what does not find it finds nothing.
const KEPT: &str = "scope-1b7de6c5-kept";

/// Everything that a process can write to, as it is now.
fn memory(process: u32) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw"));
    let parts = writable.filter_map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut part = vec![0; (number(end) - number(start)).try_into().unwrap()];
        // The kernel's own pages cannot be read.
        memory.read_exact_at(&mut part, number(start)).ok().map(|()| part)
    });
    parts.collect()
}

fn holds(memory: &[Vec<u8>], wanted: &[u8]) -> bool {
    memory.iter().any(|part| part.windows(wanted.len()).any(|found| found == wanted))
}

/// Neither a PIN nor what stands for it towards a key (CTAP 2.1 §6.5.5: the first 16 bytes of its hash).
fn without_pins(world: &World, when: &str) {
    let memory = memory(world.signetd.pid().unwrap());
    for pin in [FIRST, WRONG, SECOND] {
        assert!(!holds(&memory, pin.as_bytes()), "{when}: {pin}");
        let hash = digest(&SHA256, pin.as_bytes());
        assert!(!holds(&memory, &hash.as_ref()[..16]), "{when}: the hash of {pin}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_pin_that_was_used() {
    if skip::without_root("reads the memory of signetd") {
        return;
    }
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let key = VirtualKey::start(firmware).unwrap();
        let mut open = Key::open_path(&key.socket(), Timing::default()).await.unwrap();
        open.set_pin(&Zeroizing::new(FIRST.to_owned())).await.unwrap();
        drop(open);
        let (world, caller, credential) = enrolled(key).await;
        without_pins(&world, "registered");

        let asked = with(session(&credential), "scope", KEPT.into());
        let mut pending = caller.presence("session", &asked).await.unwrap();
        pending.stage("pin-needed").await;
        assert!(holds(&memory(world.signetd.pid().unwrap()), KEPT.as_bytes()));
        pending.give_pin(WRONG).await.unwrap();
        pending.served(&[FIRST]).await.ok();
        without_pins(&world, "a session after a wrong PIN");

        world.keys[0].touch_manual().unwrap();
        let mut pending = caller.presence("cancelled", &session(&credential)).await.unwrap();
        pending.stage("pin-needed").await;
        pending.give_pin(FIRST).await.unwrap();
        pending.stage("touch-needed").await;
        without_pins(&world, "waiting for a touch");
        pending.request.cancel().await.unwrap();
        assert_eq!(pending.outcome().await.0, "Cancelled");
        world.keys[0].touch_auto().unwrap();

        let mut pending = caller.upkeep("ChangePin", "change", &Options::new()).await.unwrap();
        pending.served(&[FIRST, SECOND]).await.ok();
        without_pins(&world, "the PIN changed");
    }
}

/// An enrolled workstation with this key registered by its PIN.
async fn enrolled(key: VirtualKey) -> (World, Caller, Vec<u8>) {
    let world = World::enrolled(vec![key], "").await;
    let caller = world.caller().await;
    world.keys[0].touch_auto().unwrap();
    let mut pending = caller.register("register", &registration()).await.unwrap();
    let made = pending.served(&[FIRST]).await.ok();
    (world, caller, bytes(&made, "credential_id"))
}
