//! The words of the protocol (docs/protocol.md, sections 2 to 4), as symbols.
//!
//! A piece that somebody signed says here *all* that its maker had before them: what its signature
//! covers is decided where it is verified ([`crate::verify`]), by the bindings in force. So a
//! binding that is taken away needs no other kind of piece, and what was accepted can be compared
//! with what it was made for.

use std::fmt;

/// A workstation with a TPM, enrolled by its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// Alice's.
    Desk,
    /// Mallory's own.
    Lair,
}

/// Somebody with a security key that is enrolled in their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// Touches when she means it, or when she is deceived: as often as the bounds say.
    Alice,
    /// The attacker.
    Mallory,
}

/// A key of TLS client authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsKey {
    /// In the TPM of this machine.
    Of(Machine),
    /// In a file of Mallory's.
    Loose,
}

/// A device certificate: the authority's CA says which machine's the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Certificate {
    /// In its SPIFFE ID.
    pub device: Machine,
    /// Its public key.
    pub key: TlsKey,
}

impl Certificate {
    /// What a machine got at its enrolment.
    #[must_use]
    pub fn of(device: Machine) -> Self {
        Self { device, key: TlsKey::Of(device) }
    }
}

/// Whom a statement or a token is for: `aud`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// This authority, and the gateways of its tokens.
    Mesh,
    /// Another authority where Alice is enrolled with the same key, and its gateways.
    Staging,
}

/// `purpose` of a statement. A workload's tokens name no person; they are not modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Start a session, or prove presence again in one.
    Session,
    /// Another token without a touch.
    Renew,
    /// One request.
    Action,
    /// Another security key.
    EnrolKey,
}

impl Purpose {
    /// All that are modelled.
    pub const ALL: [Self; 4] = [Self::Session, Self::Renew, Self::Action, Self::EnrolKey];

    /// By the name that `/v1/challenge` takes.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "session" => Some(Self::Session),
            "renew" => Some(Self::Renew),
            "action" => Some(Self::Action),
            "enrol-key" => Some(Self::EnrolKey),
            _ => None,
        }
    }

    /// Protocol §2.4 step 11, and §4.2.
    #[must_use]
    pub fn needs_touch(self) -> bool {
        self != Self::Renew
    }
}

/// The exact request of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// What Alice means to do.
    Meant,
    /// What Mallory would have her do.
    Wanted,
}

/// `sid`: the number of a session.
pub type SessionId = u8;

/// `eat_nonce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Nonce {
    /// The random bytes of the challenge that the authority issued as its n-th.
    Issued(u8),
    /// Bytes that Mallory made up.
    MadeUp,
}

/// Protocol §2.3: what the MAC covers besides expiry and random bytes. It expires when the clock
/// moves on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Challenge {
    /// When it was issued.
    pub issued: u8,
    /// The certificate of the connection.
    pub peer: Certificate,
    /// What for.
    pub purpose: Purpose,
    /// The action, for purpose action.
    pub action: Option<Action>,
    /// The session that is continued.
    pub session: Option<SessionId>,
}

/// The payload of an evidence, `S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Statement {
    /// `eat_nonce`.
    pub challenge: Nonce,
    /// `aud`.
    pub audience: Audience,
    /// `cnf`.
    pub confirmation: TlsKey,
    /// `ueid`.
    pub device: Machine,
    /// `sub`.
    pub subject: Operator,
    /// Purpose.
    pub purpose: Purpose,
    /// Action.
    pub action: Option<Action>,
    /// `sid`.
    pub session: Option<SessionId>,
}

/// What a touch made: the FIDO2 assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Assertion {
    /// Whose key; nobody else holds it.
    pub by: Operator,
    /// The statement that its maker had before them.
    pub over: Statement,
    /// When.
    pub at: u8,
}

/// The content of header -70101, `F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FidoPart {
    /// The assertion.
    pub assertion: Assertion,
    /// The host's word that the key verified the user by itself (`observed`).
    pub observed: bool,
}

/// The content of header -70104, `R`: a new security key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registration {
    /// Who holds the new key.
    pub holder: Operator,
    /// The statement that the new key was made over.
    pub over: Statement,
}

/// What the AK of a machine's TPM attested: a quote, or the certification of a TLS key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quote {
    /// Whose AK.
    pub ak: Machine,
    /// `S` of its qualifying data.
    pub statement: Statement,
    /// `F` of its qualifying data.
    pub assertion: Option<FidoPart>,
    /// `R` of its qualifying data.
    pub registration: Option<Registration>,
    /// Whether the PCRs held the approved values.
    pub approved: bool,
    /// The TPM's reset counter.
    pub reset_count: u8,
    /// When.
    pub at: u8,
}

/// TPM2_Certify of a TLS key, with the qualifying data of a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Certification {
    /// The key; it lives in the TPM of `by.ak`.
    pub key: TlsKey,
    /// Whose AK, over what.
    pub by: Quote,
}

/// A whole evidence. The outer signature is by the key of `chain`, over all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Evidence {
    /// The payload.
    pub statement: Statement,
    /// `x5chain`.
    pub chain: Certificate,
    /// `F`.
    pub assertion: Option<FidoPart>,
    /// `R`.
    pub registration: Option<Registration>,
    /// The TPM's quote.
    pub quote: Quote,
    /// Its certification of the TLS key.
    pub certification: Option<Certification>,
}

/// A token as the authority signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    /// What it was minted for.
    pub evidence: Evidence,
    /// `cnf`: the certificate of the connection.
    pub bound_to: Certificate,
    /// `aud`.
    pub audience: Audience,
    /// `sid`.
    pub session: SessionId,
    /// `authorization_details`; with it the token is of single use.
    pub action: Option<Action>,
    /// `iat`. It expires when the clock moves on.
    pub issued: u8,
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{:?} by {:?} on {:?}", self.purpose, self.subject, self.device)?;
        if self.confirmation != TlsKey::Of(self.device) {
            write!(f, ", cnf {:?}", self.confirmation)?;
        }
        if let Some(action) = self.action {
            write!(f, ", action {action:?}")?;
        }
        if let Some(session) = self.session {
            write!(f, ", sid {session}")?;
        }
        if self.audience != Audience::Mesh {
            write!(f, ", aud {:?}", self.audience)?;
        }
        match self.challenge {
            Nonce::Issued(number) => write!(f, ", challenge {number}}}"),
            Nonce::MadeUp => write!(f, ", a challenge made up}}"),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = |other: &Statement| match *other == self.statement {
            true => "over it".to_owned(),
            false => format!("made over {other}"),
        };
        write!(f, "{}", self.statement)?;
        if let Some(part) = &self.assertion {
            let Assertion { by, over: statement, at } = &part.assertion;
            write!(f, "\n      assertion by {by:?}'s key at time {at}, {}", over(statement))?;
            let hint = if part.observed { ", called built-in" } else { "" };
            write!(f, "{hint}")?;
        }
        if let Some(registration) = &self.registration {
            let whose = registration.holder;
            write!(f, "\n      new key of {whose:?}, {}", over(&registration.over))?;
        }
        let quote = |name: &str, quote: &Quote| {
            let with = match (
                quote.assertion == self.assertion,
                quote.registration == self.registration,
            ) {
                (true, true) => "",
                (false, _) => ", with another assertion part",
                (true, false) => ", with another registration",
            };
            let pcrs = if quote.approved { "" } else { ", PCRs not approved" };
            let Quote { ak, at, reset_count, .. } = quote;
            format!(
                "\n      {name} by {ak:?}'s AK at time {at}, boot {reset_count}{pcrs}, {}{with}",
                over(&quote.statement)
            )
        };
        write!(f, "{}", quote("quote", &self.quote))?;
        if let Some(certification) = &self.certification {
            let name = format!("certification of {:?}", certification.key);
            write!(f, "{}", quote(&name, &certification.by))?;
        }
        write!(f, "\n      signed by {:?} (certificate of {:?})", self.chain.key, self.chain.device)
    }
}
