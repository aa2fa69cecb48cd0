//! Every binding with its name, its place in docs/protocol.md, and what the checker finds when it is
//! missing. docs/model.md has this table; a test compares.

use crate::binding::Binding;
use crate::property::Name;
use crate::search;
use crate::step::Step;
use crate::term::Purpose;
use crate::world::{Bounds, Protocol, Start};

/// A binding and what is lost with it.
pub struct Row {
    /// The binding.
    pub binding: Binding,
    /// Its name for the command line and the page.
    pub name: &'static str,
    /// Section of docs/protocol.md, with the step of its procedure.
    pub section: &'static str,
    /// Where the search begins.
    pub start: Start,
    /// How far it goes.
    pub bounds: Bounds,
    /// What evidence is made for there.
    pub purposes: &'static [Purpose],
    /// What happens without it.
    pub without: Without,
}

/// What happens without a binding.
pub enum Without {
    /// This is broken.
    Broken(Name),
    /// Nothing, because others hold the same. When those are missing it is what holds, and with it the
    /// property goes.
    SecondLine(&'static [Binding], Name),
}

const EVIDENCE: Bounds = Bounds::EVIDENCE;
const GATEWAY: Bounds = Bounds::GATEWAY;

/// Alice's session, her renewal that is kept back, and one more challenge.
const RENEWED: Bounds = Bounds { challenges: 3, ticks: 0, ..EVIDENCE };
/// One token.
const ONE: Bounds = Bounds { challenges: 1, tokens: 1, ..EVIDENCE };
/// Two in one boot.
const TWO: Bounds = Bounds { ticks: 0, restarts: 0, ..EVIDENCE };
/// Two, with a touch for each.
const TWICE: Bounds = Bounds { touches: 2, ..TWO };
/// What sessions are made of.
const SESSIONS: [Purpose; 2] = [Purpose::Session, Purpose::Renew];

const fn row(
    binding: Binding,
    name: &'static str,
    section: &'static str,
    start: Start,
    bounds: Bounds,
    without: Without,
) -> Row {
    Row { binding, name, section, start, bounds, purposes: &Purpose::ALL, without }
}

/// All of them, in the order of the protocol.
pub const ROWS: [Row; 40] = {
    use Binding as B;
    use Name as N;
    use Start::{Boot, Host, Network};
    use Without::{Broken, SecondLine};
    [
        row(
            B::AssertionStatement,
            "assertion-statement",
            "2.2",
            Host,
            EVIDENCE,
            Broken(N::Touched),
        ),
        row(
            B::RegistrationStatement,
            "registration-statement",
            "2.2",
            Network,
            EVIDENCE,
            Broken(N::Added),
        ),
        Row {
            purposes: &SESSIONS,
            ..row(B::QuoteStatement, "quote-statement", "2.2", Boot, RENEWED, Broken(N::Quoted))
        },
        row(B::QuoteAssertion, "quote-assertion", "2.2", Boot, EVIDENCE, Broken(N::Quoted)),
        row(B::QuoteRegistration, "quote-registration", "2.2", Boot, EVIDENCE, Broken(N::Added)),
        row(
            B::OuterSignature,
            "outer-signature",
            "2.2, step 5",
            Network,
            EVIDENCE,
            SecondLine(&[B::ConnectionProof, B::QuoteAssertion], N::Quoted),
        ),
        row(B::Challenge, "statement-challenge", "2.1", Host, EVIDENCE, Broken(N::Touched)),
        row(B::Audience, "statement-audience", "2.1", Host, EVIDENCE, Broken(N::Touched)),
        row(B::Device, "statement-device", "2.1", Host, EVIDENCE, Broken(N::Touched)),
        row(B::Subject, "statement-subject", "2.1", Host, EVIDENCE, Broken(N::Touched)),
        row(B::Purpose, "statement-purpose", "2.1", Host, EVIDENCE, Broken(N::Touched)),
        row(B::Action, "statement-action", "2.1", Host, EVIDENCE, Broken(N::Touched)),
        Row {
            purposes: &SESSIONS,
            ..row(B::Session, "statement-session", "2.1", Host, TWO, Broken(N::Touched))
        },
        row(B::AudienceHere, "audience", "2.4 step 2", Network, EVIDENCE, Broken(N::ForUs)),
        row(B::ChallengeIssued, "challenge-issued", "2.3, step 3", Host, ONE, Broken(N::Fresh)),
        row(
            B::ChallengeExpiry,
            "challenge-expiry",
            "2.3, step 3",
            Host,
            EVIDENCE,
            Broken(N::Fresh),
        ),
        row(
            B::ChallengePeer,
            "challenge-peer",
            "2.3, step 3",
            Network,
            EVIDENCE,
            SecondLine(&[B::CertificatePeer], N::Bound),
        ),
        Row {
            purposes: &SESSIONS,
            ..row(
                B::ChallengePurpose,
                "challenge-purpose",
                "2.3, step 3",
                Network,
                TWICE,
                SecondLine(&[B::Purpose, B::ConnectionProof], N::Touched),
            )
        },
        row(
            B::ChallengeAction,
            "challenge-action",
            "2.3, step 3",
            Network,
            EVIDENCE,
            SecondLine(&[B::Action, B::ConnectionProof], N::Touched),
        ),
        Row {
            purposes: &SESSIONS,
            ..row(
                B::ChallengeSession,
                "challenge-session",
                "2.3, step 3",
                Network,
                TWICE,
                SecondLine(&[B::Session, B::ConnectionProof], N::Touched),
            )
        },
        row(
            B::ConnectionProof,
            "connection-proof",
            "3.5, step 4",
            Network,
            EVIDENCE,
            SecondLine(&[B::QuoteAssertion, B::OuterSignature], N::Quoted),
        ),
        row(B::CertificatePeer, "certificate-peer", "2.4 step 4", Host, EVIDENCE, Broken(N::Bound)),
        row(
            B::CertificateDevice,
            "certificate-device",
            "2.4 step 4",
            Host,
            EVIDENCE,
            Broken(N::Bound),
        ),
        row(
            B::ConfirmationKey,
            "confirmation-key",
            "2.4 step 4",
            Host,
            EVIDENCE,
            Broken(N::Touched),
        ),
        row(B::EnrolledAk, "enrolled-ak", "2.4 step 7", Host, EVIDENCE, Broken(N::Quoted)),
        row(B::ApprovedBoot, "approved-boot", "2.4 step 8", Boot, EVIDENCE, Broken(N::Quoted)),
        row(B::SessionDevice, "session-device", "2.4 step 9", Host, EVIDENCE, Broken(N::Continued)),
        row(
            B::SessionSubject,
            "session-subject",
            "2.4 step 9",
            Network,
            EVIDENCE,
            Broken(N::Continued),
        ),
        row(B::SessionBoot, "session-boot", "2.4 step 9", Network, EVIDENCE, Broken(N::Continued)),
        Row {
            purposes: &[Purpose::Session],
            ..row(
                B::CertifiedAtStart,
                "certified-at-start",
                "2.4 step 10",
                Host,
                EVIDENCE,
                SecondLine(&[B::CertifiedAtEnrolment], N::Bound),
            )
        },
        row(
            B::CertifiedAtEnrolment,
            "certified-at-enrolment",
            "4.1",
            Host,
            EVIDENCE,
            Broken(N::Bound),
        ),
        row(
            B::CredentialSubject,
            "credential-subject",
            "2.4 step 11",
            Network,
            EVIDENCE,
            Broken(N::Touched),
        ),
        row(
            B::AssertionDemanded,
            "assertion-demanded",
            "2.4 step 11",
            Network,
            EVIDENCE,
            Broken(N::Touched),
        ),
        row(
            B::ChallengeConsumed,
            "challenge-consumed",
            "2.4 step 13",
            Network,
            EVIDENCE,
            Broken(N::OneTouchOneToken),
        ),
        row(
            B::TokenSignature,
            "token-signature",
            "3.3 step 3",
            Network,
            GATEWAY,
            Broken(N::Served),
        ),
        row(B::TokenAudience, "token-audience", "3.3 step 4", Network, GATEWAY, Broken(N::Served)),
        row(B::TokenExpiry, "token-expiry", "3.3 step 4", Network, GATEWAY, Broken(N::Served)),
        row(
            B::TokenCertificate,
            "token-certificate",
            "3.3 step 5",
            Network,
            GATEWAY,
            Broken(N::Served),
        ),
        row(B::TokenAction, "token-action", "3.3 step 7", Network, GATEWAY, Broken(N::Served)),
        row(
            B::TokenRedeemed,
            "token-redeemed",
            "3.3 step 9",
            Network,
            GATEWAY,
            Broken(N::SpentOnce),
        ),
    ]
};

/// More steps than any attack here takes.
pub const LONGEST: usize = 12;

impl Row {
    /// The row of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// The row of this binding; each has one, by test.
    #[must_use]
    pub fn of(binding: Binding) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.binding == binding)
    }

    /// The model of this row, without these bindings.
    #[must_use]
    pub fn model(&self, removed: &[Binding]) -> Protocol {
        let purposes = self.purposes.into();
        Protocol { purposes, ..Protocol::whole(self.start, self.bounds) }.without(removed)
    }

    /// What has to be missing for an attack: the binding, and those that would hold without it.
    #[must_use]
    pub fn missing(&self) -> Vec<Binding> {
        let others = match &self.without {
            Without::Broken(_) => &[],
            Without::SecondLine(others, _) => *others,
        };
        others.iter().copied().chain([self.binding]).collect()
    }

    /// What is broken then.
    #[must_use]
    pub fn property(&self) -> Name {
        let (Without::Broken(name) | Without::SecondLine(_, name)) = self.without;
        name
    }

    /// A shortest attack on the protocol without [`Self::missing`].
    #[must_use]
    pub fn attack(&self) -> Option<Vec<Step>> {
        search::attack(&self.model(&self.missing()), self.property().text(), LONGEST)
    }

    /// Its line in docs/model.md.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { name, section, start, .. } = self;
        let others = match &self.without {
            Without::Broken(_) => "–".to_owned(),
            Without::SecondLine(others, _) => {
                let name = |other: &Binding| Self::of(*other).map_or("?", |row| row.name);
                others
                    .iter()
                    .map(|other| format!("`{}`", name(other)))
                    .collect::<Vec<_>>()
                    .join(", ")
            }
        };
        let broken = self.property().text();
        format!("| `{name}` | {section} | {others} | {} | {broken} |", start.name())
    }
}
