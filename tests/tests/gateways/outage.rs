//! The authority is away, slow, and back: every gateway that asks it lets nothing pass meanwhile, and
//! recovers without a hand.

use std::net::TcpListener;

use crate::cases::{Heard, Scene};

/// Takes the authority away from the gateway of this scene, in every way there is.
pub(crate) fn survive(mut scene: Scene) {
    if scene.stage.profile.authority.is_none() {
        // It does not notice, which its README says.
        scene.stage.stop_authority();
        assert!(scene.bob(&[]).passed());
        return;
    }
    assert!(scene.bob(&[]).passed());
    scene.stage.stop_authority();
    refused(&scene, "away");
    // Somebody takes the connection and says nothing.
    let silent = TcpListener::bind(scene.stage.authority_address()).unwrap();
    refused(&scene, "silent");
    drop(silent);
    refused(&scene, "away again");
    scene.stage.start_authority();
    scene.wait();
    // Gone and back between two requests: connections that were kept are dead.
    scene.stage.stop_authority();
    scene.stage.start_authority();
    scene.wait();
}

fn refused(scene: &Scene, why: &str) {
    let before = scene.stage.upstream.received().len();
    let heard = scene.bob(&[]);
    // An answer, and not a connection that hangs.
    assert!(matches!(heard, Heard::Answer(_)) && !heard.passed(), "{why}: {heard:?}");
    assert_eq!(scene.stage.upstream.received().len(), before, "{why}");
}
