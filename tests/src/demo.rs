//! The main job shown on real parts, step by step; each step checks its exact expectation. The
//! demonstration prints them, the end-to-end test asserts them: the same code.

mod action;
mod attack;
mod audit;
mod enrol;
mod evidence;
mod gateway;
mod intruder;
mod notes;
mod session;
pub mod show;

use serde::Serialize;
use signet_client::authority::TokenResponse;
use signet_client::daemon::Bus;
use signet_client::one_line::causes;
use signet_client::{Authority, Workstation};

pub use notes::{Fault, Line, Notes, Unexpected};

use crate::house::{Audited, House, Station};

/// A staging route: a session is enough to change it.
pub const STAGING: &str = "/v1/namespaces/sandbox/routes/web";
/// A production route: each change takes a touch of its own.
pub const PRODUCTION: &str = "/v1/namespaces/payments/routes/api";

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The titles say it.
pub enum Step {
    DeviceEnrolled,
    TicketUsedUp,
    KeyEnrolled,
    PresenceProved,
    EvidenceReplayed,
    TokenMinted,
    RequestAllowed,
    OtherCertificate,
    NoCertificate,
    SpoofedHeaders,
    TouchDemanded,
    ActionApproved,
    ActionRepeated,
    ApprovalForOtherRequest,
    EvidenceForOtherAction,
    AssertionForOtherAction,
    NotVerified,
    Renewed,
    Workload,
    Revoked,
    AuditTrail,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 21] = [
        Self::DeviceEnrolled,
        Self::TicketUsedUp,
        Self::KeyEnrolled,
        Self::PresenceProved,
        Self::EvidenceReplayed,
        Self::TokenMinted,
        Self::RequestAllowed,
        Self::OtherCertificate,
        Self::NoCertificate,
        Self::SpoofedHeaders,
        Self::TouchDemanded,
        Self::ActionApproved,
        Self::ActionRepeated,
        Self::ApprovalForOtherRequest,
        Self::EvidenceForOtherAction,
        Self::AssertionForOtherAction,
        Self::NotVerified,
        Self::Renewed,
        Self::Workload,
        Self::Revoked,
        Self::AuditTrail,
    ];

    /// What it shows.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::DeviceEnrolled => "A workstation enrols by its TPM",
            Self::TicketUsedUp => "A used ticket enrols nothing more",
            Self::KeyEnrolled => "A security key enrols by its attestation",
            Self::PresenceProved => "Presence is proved: this person, this machine, this state",
            Self::EvidenceReplayed => "Evidence counts once: a replay is refused",
            Self::TokenMinted => "A login gives a token bound to the machine's key",
            Self::RequestAllowed => "A request passes the gateway",
            Self::OtherCertificate => "The same token from another machine is refused",
            Self::NoCertificate => "The token without a certificate is refused",
            Self::SpoofedHeaders => "Claiming the right certificate in headers is refused",
            Self::TouchDemanded => "A critical action wants a touch of its own",
            Self::ActionApproved => "Approved with its own touch, it is allowed once",
            Self::ActionRepeated => "A second time without a new touch is refused",
            Self::ApprovalForOtherRequest => "The approval of one request opens no other",
            Self::EvidenceForOtherAction => "Evidence for one action does not serve for another",
            Self::AssertionForOtherAction => {
                "Even root on the machine cannot move a touch to another action"
            }
            Self::NotVerified => "A touch without finger or PIN is refused",
            Self::Renewed => "The token is renewed by the TPM, without a touch",
            Self::Workload => "A workload gets a token that claims no human",
            Self::Revoked => "Revocation counts at once",
            Self::AuditTrail => "Every decision is on record",
        }
    }
}

/// What a step did and brought; one entry of the transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepRecord {
    /// Its number, from 1.
    pub step: usize,
    /// What it shows.
    pub title: String,
    /// What was done.
    pub did: Vec<String>,
    /// What came back; for a step that did not hold, why.
    pub came_back: Vec<String>,
    /// Whether everything was as expected.
    pub held: bool,
    /// Both, in their order.
    #[serde(skip)]
    pub lines: Vec<Line>,
}

/// A decision that a step must have put on record.
#[derive(Clone, Debug)]
struct Decided {
    step: usize,
    event: &'static str,
    /// The exact code of a refusal; `None` for a yes.
    code: Option<&'static str>,
}

/// The house with what the steps leave to each other.
pub struct Stage {
    /// The house.
    pub house: House,
    bob: Option<Station>,
    spare: Vec<u8>,
    thumbprint: String,
    session: String,
    token: String,
    action_token: String,
    decided: Vec<Decided>,
    trail: Vec<Audited>,
}

impl Stage {
    /// Sets up the stage.
    #[must_use]
    pub fn new(house: House) -> Self {
        Self {
            house,
            bob: None,
            spare: Vec::new(),
            thumbprint: String::new(),
            session: String::new(),
            token: String::new(),
            action_token: String::new(),
            decided: Vec::new(),
            trail: Vec::new(),
        }
    }

    /// Plays one step. They build on each other: after one that did not hold, the rest means
    /// nothing.
    pub async fn play(&mut self, step: Step) -> StepRecord {
        let number = Step::ALL.iter().position(|found| *found == step).map_or(0, |at| at + 1);
        let mut notes = Notes::default();
        let mut played = self.perform(step, &mut notes).await;
        if played.is_ok() {
            played = self.check_audit(number, &mut notes);
        }
        if let Err(fault) = &played {
            notes.back(format!("did not hold: {}", causes(fault.as_ref())));
        }
        let lines = notes.lines;
        let did = lines.iter().filter_map(|line| match line {
            Line::Did(text) => Some(text.clone()),
            Line::Back(_) => None,
        });
        let came_back = lines.iter().filter_map(|line| match line {
            Line::Back(text) => Some(text.clone()),
            Line::Did(_) => None,
        });
        StepRecord {
            step: number,
            title: step.title().into(),
            did: did.collect(),
            came_back: came_back.collect(),
            held: played.is_ok(),
            lines,
        }
    }

    async fn perform(&mut self, step: Step, notes: &mut Notes) -> Result<(), Fault> {
        match step {
            Step::DeviceEnrolled => enrol::device(self, notes).await,
            Step::TicketUsedUp => enrol::used_ticket(self, notes).await,
            Step::KeyEnrolled => enrol::key(self, notes).await,
            Step::PresenceProved => evidence::presence(self, notes).await,
            Step::EvidenceReplayed => evidence::replay(self, notes).await,
            Step::TokenMinted => session::login(self, notes).await,
            Step::RequestAllowed => gateway::allowed(self, notes).await,
            Step::OtherCertificate => gateway::other_certificate(self, notes).await,
            Step::NoCertificate => gateway::no_certificate(self, notes).await,
            Step::SpoofedHeaders => gateway::spoofed_headers(self, notes).await,
            Step::TouchDemanded => action::demanded(self, notes).await,
            Step::ActionApproved => action::approved(self, notes).await,
            Step::ActionRepeated => action::repeated(self, notes).await,
            Step::ApprovalForOtherRequest => action::other_request(self, notes).await,
            Step::EvidenceForOtherAction => evidence::other_action(self, notes).await,
            Step::AssertionForOtherAction => attack::moved_assertion(self, notes).await,
            Step::NotVerified => attack::not_verified(self, notes).await,
            Step::Renewed => session::renewed(self, notes).await,
            Step::Workload => session::workload(self, notes).await,
            Step::Revoked => session::revoked(self, notes).await,
            Step::AuditTrail => audit::trail(self, notes),
        }
    }

    /// Alice's workstation through the client library.
    async fn alice(&self) -> Result<Workstation, Fault> {
        Ok(Workstation::open(&Bus::Address(self.house.alice.bus.address().into())).await?)
    }

    fn bob(&self) -> Result<&Station, Fault> {
        Ok(self.bob.as_ref().ok_or("the second workstation is not there")?)
    }

    async fn bobs_workstation(&self) -> Result<Workstation, Fault> {
        Ok(Workstation::open(&Bus::Address(self.bob()?.bus.address().into())).await?)
    }
}

/// Exchanges evidence that must be refused; gives the exact code.
async fn refusal(
    authority: &Authority,
    evidence: &[u8],
    notes: &mut Notes,
) -> Result<String, Fault> {
    match authority.exchange(evidence).await {
        Ok(TokenResponse { .. }) => Err("the evidence was accepted".into()),
        Err(error) => {
            let code = error.rejection().map(|code| code.as_str().to_owned());
            notes.back(&error);
            code.ok_or_else(|| error.into())
        }
    }
}
