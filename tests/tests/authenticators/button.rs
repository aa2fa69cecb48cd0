//! What both generations of keys that can only be touched have in common: a button, and nothing that
//! knows its user.

use serde_json::json;
use signet_test_authenticators::VirtualKey;
use signet_tests::house::PIN;

use crate::bench::{Bench, refused};
use crate::cells::{approve, login_under_way, session_is_as_documented};

/// Which generation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Button {
    /// CTAP1 alone.
    U2f,
    /// CTAP2, without a PIN and without a sensor.
    Fido2,
}

impl Button {
    fn column(self) -> &'static str {
        match self {
            Self::U2f => "U2F key",
            Self::Fido2 => "Touch-only FIDO2 key",
        }
    }

    fn attestation(self) -> &'static str {
        match self {
            Self::U2f => "fido-u2f",
            Self::Fido2 => "packed",
        }
    }

    /// An enrolled workstation with such a key plugged in, at an authority that knows the model and
    /// does or does not take keys that can only be touched.
    async fn desk_where(self, accepted: bool) -> (Bench, VirtualKey) {
        match self {
            Self::U2f => {
                let mut bench = Bench::knowing_u2f(accepted).await;
                let key = bench.plug_u2f_key().await;
                (bench, key)
            }
            Self::Fido2 => {
                let mut bench = Bench::knowing_touch_only(accepted).await;
                let key = bench.plug_touch_only_key().await;
                (bench, key)
            }
        }
    }

    /// As above, where it is taken and enrolled.
    pub(crate) async fn registered(self) -> (Bench, VirtualKey) {
        let (bench, key) = self.desk_where(true).await;
        let added = bench.good(&["key", "add", "--name", "old"]).await;
        assert_eq!(added["attestation"], self.attestation());
        (bench, key)
    }

    pub(crate) async fn logs_in_and_approves_nothing_that_needs_more(self) {
        let (bench, _key) = self.registered().await;
        bench.good(&["login"]).await;
        session_is_as_documented(&bench, self.column()).await;
        // The policies that come with Signet want the user verified for this.
        bench.bad(&approve(), 1, "presence-required").await;
    }

    pub(crate) async fn is_refused_where_the_authority_does_not_take_it(self) {
        let (bench, _key) = self.desk_where(false).await;
        bench.bad(&["key", "add"], 1, "touch-only-refused").await;
    }

    pub(crate) async fn lets_no_further_key_in(self) {
        let (mut bench, _key) = self.registered().await;
        // Another key in its place: nothing here may speak for the person but the touch of a button.
        let _second = bench.plug_pin_key().await;
        let ran = bench.run_with_pin(PIN, &["key", "add"]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let listed = bench.good(&["key", "list"]).await;
        let enrolled = listed["keys"].as_array().unwrap().iter();
        let names: Vec<_> = enrolled.filter_map(|key| key["name"].as_str()).collect();
        assert_eq!(names, ["old"]);
    }

    pub(crate) async fn has_neither_pin_nor_fingers(self) {
        let (bench, key) = self.registered().await;
        let path = key.socket().display().to_string();
        for command in
            [["key", "pin", "set"], ["key", "pin", "change"], ["key", "credentials", "list"]]
        {
            bench.bad(&[&command[..], &["--key", &path]].concat(), 1, "NotSupported").await;
        }
        for verb in ["list", "add", "sensor"] {
            bench.bad(&["finger", verb, "--key", &path], 1, "NotSupported").await;
        }
        let listed = bench.good(&["key", "list"]).await;
        assert_eq!(listed["keys"][0]["verification"], "touch only", "{listed}");
    }

    pub(crate) async fn cannot_answer_for_more_than_a_touch(self) {
        let (bench, _key) = self.registered().await;
        let ran = bench.run(&["login", "--acr", "signet.uv"]).await;
        let (_, message) = ran.error().unwrap();
        assert_eq!(ran.code, Some(1), "{message}");
    }

    pub(crate) async fn is_taken_away_while_it_asks(self) {
        let (bench, mut key) = self.registered().await;
        key.touch_manual().unwrap();
        let pending = login_under_way(&bench, &key).await;
        key.unplug().unwrap();
        refused(&pending.finish().await.unwrap(), 3, "AuthenticatorRemoved");
        key.replug().unwrap();
        key.touch_auto().unwrap();
        assert_eq!(bench.good(&["login"]).await["acr"], json!("signet.touch"));
    }
}
