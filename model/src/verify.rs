//! The procedure of protocol §2.4 and the checks of §3.3, as far as they tie things together. Each
//! check asks first whether its binding is there.

use crate::binding::{Binding, Removed};
use crate::term::{
    Audience, Certificate, Evidence, Nonce, Purpose, Quote, Statement, TlsKey, Token,
};
use crate::world::{Use, World};

/// Judges by the bindings that are there.
#[derive(Clone, Copy)]
pub struct Verifier<'a> {
    removed: &'a Removed,
    world: &'a World,
}

impl<'a> Verifier<'a> {
    /// With the authority's records.
    #[must_use]
    pub fn new(removed: &'a Removed, world: &'a World) -> Self {
        Self { removed, world }
    }

    /// `ok`, or nobody looks.
    fn holds(&self, binding: Binding, ok: bool) -> bool {
        ok || !self.removed.keeps(binding)
    }

    /// Whether evidence is accepted over a connection with this certificate (steps 2 to 11).
    #[must_use]
    pub fn accepts(&self, peer: Certificate, evidence: &Evidence) -> bool {
        self.fits_connection(peer, &evidence.statement)
            && self.chain_fits(peer, evidence.chain, &evidence.statement)
            && self.session_fits(&evidence.statement)
            && self.touched(evidence)
            && self.quoted(evidence)
            && self.certified(evidence)
    }

    /// Steps 2 and 3: audience, and a challenge for this connection, purpose, action and session.
    #[must_use]
    pub fn fits_connection(&self, peer: Certificate, statement: &Statement) -> bool {
        let nonce = statement.challenge;
        let fresh = match self.world.challenge(nonce) {
            None => self.holds(Binding::ChallengeIssued, false),
            Some(challenge) => {
                self.holds(Binding::ChallengeExpiry, challenge.issued == self.world.now)
                    && self.holds(Binding::ChallengePeer, challenge.peer == peer)
                    && self.holds(Binding::ChallengePurpose, challenge.purpose == statement.purpose)
                    && self.holds(Binding::ChallengeAction, challenge.action == statement.action)
                    && self.holds(Binding::ChallengeSession, challenge.session == statement.session)
            }
        };
        fresh
            && self.holds(Binding::AudienceHere, statement.audience == Audience::Mesh)
            && self.holds(Binding::ChallengeConsumed, !self.world.consumed.contains(&nonce))
    }

    /// Step 4.
    #[must_use]
    pub fn chain_fits(&self, peer: Certificate, chain: Certificate, statement: &Statement) -> bool {
        self.world.certificates.contains(&chain)
            && self.holds(Binding::CertificatePeer, chain == peer)
            && self.holds(Binding::CertificateDevice, chain.device == statement.device)
            && self.holds(Binding::ConfirmationKey, chain.key == statement.confirmation)
    }

    /// Step 9, second half, but for the boot.
    #[must_use]
    pub fn session_fits(&self, statement: &Statement) -> bool {
        let Some(id) = statement.session else { return true };
        self.world.session(id).is_some_and(|session| {
            session.person
                && self.holds(Binding::SessionDevice, session.device == statement.device)
                && self.holds(Binding::SessionSubject, session.subject == statement.subject)
        })
    }

    /// Step 11.
    #[must_use]
    pub fn touched(&self, evidence: &Evidence) -> bool {
        let statement = &evidence.statement;
        let due = statement.purpose.needs_touch();
        let person = match &evidence.assertion {
            None => self.holds(Binding::AssertionDemanded, !due),
            Some(part) => {
                let covers = self.same(&part.assertion.over, statement);
                self.holds(Binding::AssertionStatement, covers)
                    && self
                        .holds(Binding::CredentialSubject, part.assertion.by == statement.subject)
            }
        };
        let new_key = match &evidence.registration {
            None => statement.purpose != Purpose::EnrolKey,
            Some(new) => {
                let covers = self.same(&new.over, statement);
                statement.purpose == Purpose::EnrolKey
                    && self.holds(Binding::RegistrationStatement, covers)
            }
        };
        person && new_key
    }

    /// Steps 7 and 8, and the boot of step 9.
    #[must_use]
    pub fn quoted(&self, evidence: &Evidence) -> bool {
        let quote = &evidence.quote;
        let session = evidence.statement.session.and_then(|id| self.world.session(id));
        let boot = session.is_none_or(|session| session.reset_count == quote.reset_count);
        self.holds(Binding::EnrolledAk, quote.ak == evidence.statement.device)
            && self.holds(Binding::ApprovedBoot, quote.approved)
            && self.holds(Binding::SessionBoot, boot)
            && self.qualified(quote, evidence)
    }

    /// Step 10. The CA had the same shown when it certified the key.
    fn certified(&self, evidence: &Evidence) -> bool {
        match &evidence.certification {
            None => self
                .holds(Binding::CertifiedAtStart, evidence.statement.purpose != Purpose::Session),
            Some(certification) => {
                certification.by.ak == evidence.quote.ak
                    && certification.key == evidence.chain.key
                    && self.qualified(&certification.by, evidence)
            }
        }
    }

    /// The qualifying data: SHA-256(`S`) ‖ SHA-256(`F`) ‖ SHA-256(`R`).
    fn qualified(&self, quote: &Quote, evidence: &Evidence) -> bool {
        self.holds(Binding::QuoteStatement, self.same(&quote.statement, &evidence.statement))
            && self.holds(Binding::QuoteAssertion, quote.assertion == evidence.assertion)
            && self.holds(Binding::QuoteRegistration, quote.registration == evidence.registration)
    }

    /// Whether two statements have the same bytes, where a member that was taken out of the format
    /// travels beside it.
    fn same(&self, one: &Statement, other: &Statement) -> bool {
        self.holds(Binding::Challenge, one.challenge == other.challenge)
            && self.holds(Binding::Audience, one.audience == other.audience)
            && self.holds(Binding::ConfirmationKey, one.confirmation == other.confirmation)
            && self.holds(Binding::Device, one.device == other.device)
            && self.holds(Binding::Subject, one.subject == other.subject)
            && self.holds(Binding::Purpose, one.purpose == other.purpose)
            && self.holds(Binding::Action, one.action == other.action)
            && self.holds(Binding::Session, one.session == other.session)
    }

    /// Step 5: who can have made the outer signature, beside the machine that did.
    #[must_use]
    pub fn can_be_signed_by_mallory(&self, evidence: &Evidence) -> bool {
        let of_machine = |sent: &Evidence| {
            let parts = Evidence { statement: evidence.statement, ..*sent };
            parts == *evidence && self.same(&sent.statement, &evidence.statement)
        };
        let signed =
            self.world.mallory_uses(evidence.chain.key) || self.world.sent.iter().any(of_machine);
        self.holds(Binding::OuterSignature, signed)
    }

    /// Whether Mallory can open a connection to the authority with this certificate.
    #[must_use]
    pub fn connects(&self, peer: Certificate) -> bool {
        self.holds(Binding::ConnectionProof, self.world.mallory_uses(peer.key))
    }

    /// §4.1: whether the CA certifies this key for this machine.
    #[must_use]
    pub fn certifies(&self, certificate: Certificate) -> bool {
        let resides = certificate.key == TlsKey::Of(certificate.device);
        self.holds(Binding::CertifiedAtEnrolment, resides)
    }

    /// §3.3: whether a gateway lets a request pass.
    #[must_use]
    pub fn lets_pass(&self, asked: &Use) -> bool {
        let Some(number) = asked.token else {
            return self.holds(Binding::TokenSignature, false);
        };
        let Some(token) = self.world.tokens.get(number) else { return false };
        let spent = self.world.uses.iter().any(|earlier| earlier.token == asked.token);
        self.holds(Binding::TokenAudience, token.audience == asked.audience)
            && self.holds(Binding::TokenExpiry, token.issued == self.world.now)
            && self.holds(Binding::TokenCertificate, token.bound_to == asked.peer)
            && self.names(token, asked)
            && (token.action.is_none() || self.holds(Binding::TokenRedeemed, !spent))
    }

    /// A request that needs a touch needs a token for it.
    fn names(&self, token: &Token, asked: &Use) -> bool {
        token.action == asked.request
            || (token.action.is_some()
                && asked.request.is_some()
                && self.holds(Binding::TokenAction, false))
    }

    /// Whether a challenge that nobody issued can be good.
    #[must_use]
    pub fn known_nonces(&self) -> Vec<Nonce> {
        let issued = u8::try_from(self.world.challenges.len()).unwrap_or(u8::MAX);
        let made_up = self.holds(Binding::ChallengeIssued, false).then_some(Nonce::MadeUp);
        (0..issued).map(Nonce::Issued).chain(made_up).collect()
    }
}
