//! New certificates for an enrolled machine: who may bring them, and which are taken.

use signet_evidence::thumbprint::hex;

use crate::authority::{Authority, DEVICE_ID};
use crate::client::{Caller, Options, bytes, options, refusal};
use crate::world::{World, with};

/// `TPMT_PUBLIC` of both keys.
struct Keys {
    tls: Vec<u8>,
    ak: Vec<u8>,
}

/// Enrols a machine whose certificates end in 2030, and who may follow.
async fn enrolled(world: &World, caller: &Caller, issuers: Vec<Vec<u8>>) -> Keys {
    let introduction = caller.daemon.begin_enrolment().await.unwrap();
    let keys =
        Keys { tls: bytes(&introduction, "tls_public"), ak: bytes(&introduction, "ak_public") };
    let [device, ak] = pair(&world.authority, &keys, 2030);
    let mut admission = world.authority.admission(device, ak);
    if !issuers.is_empty() {
        admission = with(admission, "issuers", issuers.into());
    }
    caller.daemon.complete_enrolment(&admission).await.unwrap();
    keys
}

fn pair(authority: &Authority, keys: &Keys, year: i32) -> [Vec<u8>; 2] {
    [&keys.tls, &keys.ak].map(|key| authority.certify_until(key, &hex(&DEVICE_ID), year))
}

fn chains(device: Vec<Vec<u8>>, ak: Vec<Vec<u8>>) -> Options {
    options([("device_chain", device.into()), ("ak_chain", ak.into())])
}

#[tokio::test]
async fn longer_certificates_of_the_same_issuer_are_kept_and_used() {
    let mut world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let keys = enrolled(&world, &caller, vec![world.authority.root()]).await;
    let [device, ak] = pair(&world.authority, &keys, 2031);
    let renewed = chains(vec![device.clone()], vec![ak]);
    caller.daemon.renew_certificates(&renewed).await.unwrap();
    assert_eq!(caller.daemon.device_certificates().await.unwrap(), std::slice::from_ref(&device));
    world.signetd.restart().unwrap();
    assert_eq!(caller.daemon.device_certificates().await.unwrap(), [device]);
    // Who brings the same ones again, or others of the same second, does no harm.
    caller.daemon.renew_certificates(&renewed).await.unwrap();
    // The machine can ask for the next ones.
    let ask = options([("purpose", "enrol-device".into()), ("challenge", vec![7u8; 39].into())]);
    let mut pending = caller.presence("renewal", &ask).await.unwrap();
    pending.results().await;
}

#[tokio::test]
async fn nobody_can_slip_other_certificates_under_a_machine() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let keys = enrolled(&world, &caller, vec![world.authority.root()]).await;
    let before = caller.daemon.device_certificates().await.unwrap();
    let [device, ak] = pair(&world.authority, &keys, 2031);
    let stranger = Authority::new();
    let [foreign_device, foreign_ak] = pair(&stranger, &keys, 2031);
    let [old_device, old_ak] = pair(&world.authority, &keys, 2029);
    let elsewhere = world.authority.certify_until(&keys.tls, &hex(&[1; 17]), 2031);
    let cases = [
        (
            vec![foreign_device],
            vec![ak.clone()],
            "no issuer of this machine's enrolment signed device_chain",
        ),
        (
            vec![device.clone()],
            vec![foreign_ak],
            "no issuer of this machine's enrolment signed ak_chain",
        ),
        (
            vec![device.clone(), stranger.root()],
            vec![ak.clone()],
            "no issuer of this machine's enrolment signed device_chain",
        ),
        (
            vec![ak.clone()],
            vec![ak.clone()],
            "the leaf of device_chain is not for this machine's key",
        ),
        (
            vec![elsewhere],
            vec![ak.clone()],
            "the leaf of device_chain is not for this machine's key",
        ),
        (vec![old_device], vec![ak.clone()], "the leaf of device_chain ends earlier"),
        (vec![device.clone()], vec![old_ak], "the leaf of ak_chain ends earlier"),
        (vec![], vec![ak.clone()], "device_chain"),
        (
            vec![device.clone()],
            vec![vec![0x30, 0]],
            "the leaf of ak_chain is not for this machine's key",
        ),
    ];
    for (device, ak, expected) in cases {
        let refused = caller.daemon.renew_certificates(&chains(device, ak)).await.unwrap_err();
        let (error, words) = refusal(refused);
        assert_eq!(error, "InvalidArgument", "{expected}");
        assert!(words.contains(expected), "{expected}: {words}");
        assert_eq!(caller.daemon.device_certificates().await.unwrap(), before);
    }
    // What was refused left the true ones welcome.
    caller.daemon.renew_certificates(&chains(vec![device], vec![ak])).await.unwrap();
}

#[tokio::test]
async fn a_machine_follows_its_issuers_to_the_next_and_to_nobody_else() {
    let mut world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let keys = enrolled(&world, &caller, vec![world.authority.root()]).await;
    let (next, last, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let by = |issuer: &Authority, successors: Vec<Vec<u8>>, year| {
        let [device, ak] = pair(issuer, &keys, year);
        with(chains(vec![device], vec![ak]), "successors", successors.into())
    };
    let links = vec![world.authority.certify_next(&next, true), next.certify_next(&last, true)];
    for (issuer, successors) in [
        (&next, vec![]),
        (&stranger, vec![stranger.root()]),
        (&stranger, vec![stranger.certify_next(&world.authority, true), stranger.root()]),
        // What an issuer certified, and not as a CA, issues nothing.
        (&next, vec![world.authority.certify_next(&next, false)]),
        // One cannot be passed over.
        (&last, links[1..].to_vec()),
    ] {
        let renewal = by(issuer, successors, 2031);
        let (error, words) = refusal(caller.daemon.renew_certificates(&renewal).await.unwrap_err());
        assert_eq!(error, "InvalidArgument");
        assert!(words.contains("no issuer"), "{words}");
    }
    // While the first one issues, it tells of the next.
    caller
        .daemon
        .renew_certificates(&by(&world.authority, links[..1].to_vec(), 2031))
        .await
        .unwrap();
    caller.daemon.renew_certificates(&by(&next, links[..1].to_vec(), 2032)).await.unwrap();
    world.signetd.restart().unwrap();
    caller.daemon.renew_certificates(&by(&last, links.clone(), 2033)).await.unwrap();
    caller.daemon.renew_certificates(&by(&last, vec![], 2034)).await.unwrap();
    // The authority's own CA is followed the same way: it was one of this enrolment.
    let ca = caller.daemon.authority_certificates().await.unwrap();
    assert_eq!(ca, [vec![world.authority.root()], links].concat());
}

#[tokio::test]
async fn an_enrolment_without_issuers_cannot_be_renewed() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let none = chains(vec![vec![0x30]], vec![vec![0x30]]);
    let (error, _) = refusal(caller.daemon.renew_certificates(&none).await.unwrap_err());
    assert_eq!(error, "NotEnrolled");
    let keys = enrolled(&world, &caller, vec![]).await;
    let [device, ak] = pair(&world.authority, &keys, 2031);
    let renewed = chains(vec![device], vec![ak]);
    let (error, words) = refusal(caller.daemon.renew_certificates(&renewed).await.unwrap_err());
    assert_eq!(error, "InvalidArgument");
    assert!(words.contains("no issuer"), "{words}");
    // An enrolment whose issuers did not sign it is not taken in the first place.
    let introduction = caller.daemon.begin_enrolment().await.unwrap();
    let [device, ak] = pair(&world.authority, &keys, 2031);
    let admission = world.authority.admission(device, ak);
    assert_eq!(bytes(&introduction, "tls_public"), keys.tls);
    let foreign = with(admission, "issuers", vec![Authority::new().root()].into());
    let (error, words) = refusal(caller.daemon.complete_enrolment(&foreign).await.unwrap_err());
    assert_eq!(error, "InvalidArgument");
    assert!(words.contains("no issuer"), "{words}");
}
