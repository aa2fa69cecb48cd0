//! What is known about a request when policy is asked.

use std::net::IpAddr;
use std::time::Duration;

use signet_evidence::UnixTime;
use signet_verifier::AssuranceLevel;

/// One request, with what a checked token proves about who sends it.
#[derive(Clone, Debug)]
pub struct RequestFacts<'a> {
    /// The token's subject: an operator's name, or a workload's SPIFFE ID.
    pub subject: &'a str,
    /// SPIFFE ID of the machine.
    pub device: &'a str,
    /// SPIFFE ID of the gateway that asks.
    pub gateway: &'a str,
    /// HTTP method, upper case.
    pub method: &'a str,
    /// Host of the request, lower case, with its port if it has one.
    pub host: &'a str,
    /// Path and query as sent; already known to be unambiguous.
    pub target: &'a str,
    /// The client's address, where the gateway says it.
    pub source: Option<IpAddr>,
    /// What was proved about person and machine.
    pub presence: PresenceFacts<'a>,
    /// The token's scope: names of actions, or `read` and `write`. `None` leaves all to policy.
    pub scope: Option<&'a str>,
    /// For a token approved for exactly this request: the actions that the person was shown.
    pub approved: Option<&'a [String]>,
    /// Now, by the authority's clock.
    pub now: UnixTime,
}

impl RequestFacts<'_> {
    /// The target's path, and its query where it has one.
    pub(super) fn path_and_query(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((self.target, ""))
    }
}

/// What was proved about person and machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceFacts<'a> {
    /// Assurance level.
    pub level: AssuranceLevel,
    /// Whether a person proved their presence in this session.
    pub human: bool,
    /// How long ago; `None` when nobody ever did.
    pub age: Option<Duration>,
    /// How the user was verified, where that is known.
    pub uvm: Option<&'a str>,
    /// Who says so: `model`, `tpm` or `host`.
    pub uvm_source: Option<&'a str>,
    /// How the authenticator attested itself.
    pub key_attestation: Option<&'a str>,
    /// Boot state.
    pub boot: &'a str,
    /// Whether the TPM is known by its maker's certificate.
    pub device_identity: &'a str,
}

impl PresenceFacts<'_> {
    /// The level on the scale that policies compare with. It has gaps, so that a level between two
    /// others never changes what a written rule means.
    pub(super) fn assurance(self) -> i64 {
        match self.level {
            AssuranceLevel::Device => 10,
            AssuranceLevel::Host => 20,
            AssuranceLevel::TpmPin => 25,
            AssuranceLevel::Touch => 30,
            AssuranceLevel::Uv => 40,
            AssuranceLevel::UvHardware => 50,
        }
    }

    /// Whether a PIN could have done what the key asked a finger for. Only an attested model of which
    /// metadata, or the settings, say that it has no PIN rules that out.
    pub(super) fn pin_can_stand_in(self) -> bool {
        (self.uvm, self.uvm_source) != (Some("built-in"), Some("model"))
    }

    pub(super) fn age_seconds(self) -> i64 {
        self.age.map_or(i64::MAX, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
    }

    /// The same machine, had a person just proved their presence at `level`.
    pub(super) fn renewed(self, level: AssuranceLevel, age: Duration) -> Self {
        // Only an attested model reaches the highest level.
        let key_attestation = match level {
            AssuranceLevel::UvHardware => Some("packed"),
            _ => self.key_attestation,
        };
        Self { level, human: true, age: Some(age), key_attestation, ..self }
    }

    /// The same, had they used a key of an attested model on which no PIN can stand in for a finger.
    pub(super) fn without_pin(self) -> Self {
        Self { uvm: Some("built-in"), uvm_source: Some("model"), ..self }
    }
}
