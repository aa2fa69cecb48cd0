//! Each thing that ties two pieces together, by the section that says it. The model is checked with
//! all of them, and without each of them.

use std::collections::BTreeSet;

/// One binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Binding {
    /// The assertion's WebAuthn challenge is a hash of `S`.
    AssertionStatement,
    /// The quote's qualifying data covers SHA-256(`S`).
    QuoteStatement,
    /// The quote's qualifying data covers SHA-256(`F`).
    QuoteAssertion,
    /// The quote's qualifying data covers SHA-256(`R`).
    QuoteRegistration,
    /// The new key's WebAuthn challenge is a hash of `S`.
    RegistrationStatement,
    /// The TLS client key signs everything.
    OuterSignature,
    /// `S` holds its challenge.
    Challenge,
    /// `S` holds the audience.
    Audience,
    /// `S` holds the device.
    Device,
    /// `S` holds the operator.
    Subject,
    /// `S` holds the purpose.
    Purpose,
    /// `S` holds the action.
    Action,
    /// `S` holds the session that is continued.
    Session,
    /// Step 2: the audience is this authority.
    AudienceHere,
    /// Step 3: the MAC says that the authority issued the challenge.
    ChallengeIssued,
    /// Step 3: it has not run out.
    ChallengeExpiry,
    /// Step 3: the MAC covers the certificate of the connection.
    ChallengePeer,
    /// Step 3: the MAC covers the purpose.
    ChallengePurpose,
    /// Step 3: the MAC covers the action.
    ChallengeAction,
    /// Step 3: the MAC covers the session.
    ChallengeSession,
    /// TLS 1.3: who opens a connection to the authority holds the key of its certificate.
    ConnectionProof,
    /// Step 4: `x5chain` holds the certificate of the connection.
    CertificatePeer,
    /// Step 4: the certificate names the statement's device.
    CertificateDevice,
    /// Step 4: `cnf` is the certificate's key.
    ConfirmationKey,
    /// Step 7: the AK is the one that is enrolled for the statement's device.
    EnrolledAk,
    /// Step 8: the PCRs are approved.
    ApprovedBoot,
    /// Step 9: a session goes on on its own machine.
    SessionDevice,
    /// Step 9: a session goes on for its own operator.
    SessionSubject,
    /// Step 9: a session goes on in its own boot.
    SessionBoot,
    /// Step 10: a session begins with a certification of the connection's key.
    CertifiedAtStart,
    /// §4.1: the CA certifies only a key that the machine's AK certified.
    CertifiedAtEnrolment,
    /// Step 11: the credential is the statement's operator's.
    CredentialSubject,
    /// Step 11: the purpose demands an assertion.
    AssertionDemanded,
    /// Step 13: a challenge is consumed once.
    ChallengeConsumed,
    /// §3.3 step 3: the authority signed the token.
    TokenSignature,
    /// §3.3 step 4: the token is for these gateways.
    TokenAudience,
    /// §3.3 step 4: it has not run out.
    TokenExpiry,
    /// §3.3 step 5: its `cnf` is the certificate of the connection.
    TokenCertificate,
    /// §3.3 step 7: an action token names this request.
    TokenAction,
    /// §3.3 step 9: an action token is redeemed once.
    TokenRedeemed,
}

/// The bindings that are taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed(BTreeSet<Binding>);

impl Removed {
    /// These.
    #[must_use]
    pub fn these(bindings: impl IntoIterator<Item = Binding>) -> Self {
        Self(bindings.into_iter().collect())
    }

    /// Whether the protocol still has it.
    #[must_use]
    pub fn keeps(&self, binding: Binding) -> bool {
        !self.0.contains(&binding)
    }
}
