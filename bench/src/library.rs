//! The verifier as a library, against the bare signatures beneath it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    ParsedPublicKey,
};
use rustix::time::{ClockId, clock_gettime};
use signet_evidence::{CertificateThumbprint, Purpose, UnixTime};
use signet_tests::fixture::{self, Fixture};
use signet_tests::world::World;
use signet_verifier::Appraisal;
use signet_verifier::chains::SeenChains;
use signet_verifier::challenge::ChallengeKey;
use signet_verifier::policy::AppraisalPolicy;
use signet_verifier::records::Enrolled;
use signet_verifier::token::{SeenTokens, TokenChecker};
use signet_verifier::webauthn::UserVerification;

use crate::{Bench, Contest, Effort, Failure, Unit};

/// At least 95 % of what the signatures alone allow.
const BAR: f64 = 1.0 / 0.95;
const ROUNDS: usize = 25;

/// A token that was never seen.
pub const TOKEN: Bench = Bench {
    name: "token",
    about: "100 tokens checked in the library, and their bare ES256 signatures verified",
    bar: BAR,
    rounds: ROUNDS,
    unit: Unit::Time,
    prepare: |_, effort| Ok(Box::new(Token::prepare(effort)?)),
};

/// A token whose signature was found good before. Where 63 µs is a signature's time, 40 signatures take
/// 2.5 ms: 1,000 checks in it are 400,000 a second.
pub const TOKEN_SEEN: Bench = Bench {
    name: "token-seen",
    about: "1,000 checks of a token seen before (400,000 a second), and 40 bare ES256 signatures",
    bar: 1.0,
    rounds: ROUNDS,
    unit: Unit::Time,
    prepare: |_, effort| Ok(Box::new(SeenToken(Token::prepare(effort)?))),
};

/// Everything about a session's evidence, of a machine that was never seen.
pub const EVIDENCE: Bench = Bench {
    name: "evidence",
    about: "a session's evidence appraised (steps 1 to 11), and the six bare ES256 signatures in it",
    bar: BAR,
    rounds: ROUNDS,
    unit: Unit::Time,
    prepare: |_, effort| Ok(Box::new(Judge::prepare(effort, Chains::New)?)),
};

/// The same of a machine whose certificates were seen before: their signatures are remembered, and not
/// counted on either side.
pub const EVIDENCE_SEEN: Bench = Bench {
    name: "evidence-seen",
    about: "the same with certificate chains that were seen before, and the four bare signatures that remain",
    bar: BAR,
    rounds: ROUNDS,
    unit: Unit::Time,
    prepare: |_, effort| Ok(Box::new(Judge::prepare(effort, Chains::Seen)?)),
};

/// CPU time of this thread.
fn spent(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let now = || -> Result<Duration, Failure> {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
    };
    let before = now()?;
    work()?;
    Ok(now()?.saturating_sub(before))
}

/// A signature with nothing around it.
pub(crate) struct Bare {
    key: ParsedPublicKey,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Bare {
    /// Over a message of this length.
    pub(crate) fn over(length: usize) -> Result<Self, Failure> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
        let message = vec![0x5a; length];
        let signature = pair.sign(&random, &message)?.as_ref().to_vec();
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())?;
        Ok(Self { key, message, signature })
    }

    /// CPU time of so many verifications.
    pub(crate) fn verify(&self, times: usize) -> Result<Duration, Failure> {
        spent(|| {
            for _ in 0..times {
                self.key.verify_sig(&self.message, &self.signature)?;
            }
            Ok(())
        })
    }
}

fn accepted(name: &str) -> Result<(World, Fixture), Failure> {
    let path = fixture::folder().join(format!("accepted/{name}.fixture"));
    Ok((fixture::world()?, Fixture::read(&path)?))
}

fn peer(world: &World, fixture: &Fixture) -> Result<Vec<u8>, Failure> {
    let name = fixture.peer.as_deref().ok_or("a fixture without a certificate")?;
    Ok(world.peers.get(name).ok_or("a certificate that the world lacks")?.0.clone())
}

struct Token {
    checker: TokenChecker,
    seen: SeenTokens,
    text: String,
    peer: CertificateThumbprint,
    now: UnixTime,
    bare: Bare,
    times: usize,
}

impl Token {
    fn prepare(effort: Effort) -> Result<Self, Failure> {
        let (world, fixture) = accepted("session-token")?;
        let text = String::from_utf8(fixture.bytes.clone())?;
        let signed = text.rfind('.').ok_or("a token has three parts")?;
        Ok(Self {
            checker: world.token_checker()?,
            seen: SeenTokens::at_most(64),
            peer: CertificateThumbprint::of_der(&peer(&world, &fixture)?),
            now: UnixTime(fixture.now),
            bare: Bare::over(signed)?,
            times: effort.of(1, 100),
            text,
        })
    }
}

impl Contest for Token {
    fn base(&mut self) -> Result<Duration, Failure> {
        self.bare.verify(self.times)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        spent(|| {
            for _ in 0..self.times {
                self.checker.check_jwt(&self.text, self.peer, self.now)?;
            }
            Ok(())
        })
    }
}

struct SeenToken(Token);

impl Contest for SeenToken {
    fn base(&mut self) -> Result<Duration, Failure> {
        self.0.bare.verify(40)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        let Token { checker, seen, text, peer, now, .. } = &self.0;
        seen.check_jwt(checker, text, *peer, *now)?;
        spent(|| {
            for _ in 0..1000 {
                seen.check_jwt(checker, text, *peer, *now)?;
            }
            Ok(())
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chains {
    New,
    Seen,
}

impl Chains {
    /// Signatures in a session's evidence that are verified: those of the certificates of TLS key and AK
    /// unless they were before, the envelope's, the quote's, the TLS key's certification's, the assertion's.
    fn signatures(self) -> usize {
        match self {
            Self::New => 6,
            Self::Seen => 4,
        }
    }
}

struct Judge {
    chains: Chains,
    policy: AppraisalPolicy,
    challenge_key: ChallengeKey,
    enrolled: Enrolled,
    bytes: Vec<u8>,
    peer: Vec<u8>,
    now: UnixTime,
    bare: Bare,
    times: usize,
}

impl Judge {
    fn prepare(effort: Effort, chains: Chains) -> Result<Self, Failure> {
        let (world, fixture) = accepted("session")?;
        let mut judge = Self {
            chains,
            policy: world.policy(&[])?,
            challenge_key: world.challenge_key()?,
            enrolled: world.enrolled(&[])?,
            peer: peer(&world, &fixture)?,
            now: UnixTime(fixture.now),
            bytes: fixture.bytes,
            bare: Bare::over(400)?,
            times: effort.of(1, 20),
        };
        let evidence = judge.begin()?;
        judge.enrolled = world.enrolled_for(evidence.credential_id(), &[])?;
        Ok(judge)
    }

    fn begin(&self) -> Result<signet_verifier::AuthenticatedEvidence, Failure> {
        let Self { policy, challenge_key, now, .. } = self;
        let appraisal = Appraisal { policy, challenge_key, now: *now };
        Ok(appraisal.begin(&self.bytes, &self.peer, &[Purpose::Session])?)
    }
}

impl Contest for Judge {
    fn base(&mut self) -> Result<Duration, Failure> {
        self.bare.verify(self.times * self.chains.signatures())
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        spent(|| {
            for _ in 0..self.times {
                if self.chains == Chains::New {
                    self.policy.chains = Arc::new(SeenChains::at_most(2));
                }
                let evidence = self.begin()?;
                let required = UserVerification::Required;
                evidence.appraise(&self.enrolled, required, &self.policy, self.now)?;
            }
            Ok(())
        })
    }
}
