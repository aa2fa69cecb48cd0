//! `/v1/authorize` in the authority, against the same server that answers every question with the same
//! yes: CPU time for closed loops, latency for open ones.

use std::time::Duration;

use signet_verifier::token::TokenClaims;

use crate::library::Bare;
use crate::load::{Load, Way, cpu_of_answers};
use crate::stage::Stage;
use crate::{Bench, Contest, Effort, Failure, Programs, Unit};

const CONNECTIONS: usize = 16;
/// Of the open loop.
const RATE: u32 = 2000;
const PACED_CONNECTIONS: usize = 8;

/// The token's signature is remembered; all else is done each time.
pub const SEEN: Bench = Bench {
    name: "authorize-seen",
    about: "CPU time of 2,000 questions with a token seen before: the authority, and the same server answering a constant",
    bar: 1.35,
    rounds: 7,
    unit: Unit::Time,
    prepare: |programs, effort| Ok(Box::new(Questions::prepare(programs, effort, Tokens::Seen)?)),
};

/// Every token is new.
pub const UNSEEN: Bench = Bench {
    name: "authorize-unseen",
    about: "CPU time of 2,000 questions with tokens never seen: the authority, and a constant answer with a bare ES256 verification",
    bar: 1.10,
    rounds: 7,
    unit: Unit::Time,
    prepare: |programs, effort| Ok(Box::new(Questions::prepare(programs, effort, Tokens::Unseen)?)),
};

/// The 99th percentile at 2,000 questions a second.
pub const LATENCY_SEEN: Bench = Bench {
    name: "latency-seen",
    about: "p99 at 2,000 questions a second, token seen before: the authority, and a constant answer + 50 µs",
    bar: 1.0,
    rounds: 5,
    unit: Unit::Time,
    prepare: |programs, effort| {
        let questions = Questions::prepare(programs, effort, Tokens::Seen)?;
        Ok(Box::new(Paced { questions, allowed: Duration::from_micros(50) }))
    },
};

/// The same with tokens that are new.
pub const LATENCY_UNSEEN: Bench = Bench {
    name: "latency-unseen",
    about: "p99 at 2,000 questions a second, tokens never seen: the authority, and a constant answer + 200 µs",
    bar: 1.0,
    rounds: 5,
    unit: Unit::Time,
    prepare: |programs, effort| {
        let questions = Questions::prepare(programs, effort, Tokens::Unseen)?;
        Ok(Box::new(Paced { questions, allowed: Duration::from_micros(200) }))
    },
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokens {
    Seen,
    Unseen,
}

struct Questions {
    stage: Stage,
    tokens: Tokens,
    claims: TokenClaims,
    /// The one that was seen.
    seen: Vec<u8>,
    bare: Bare,
    total: usize,
    paced: usize,
}

impl Questions {
    fn prepare(programs: &Programs, effort: Effort, tokens: Tokens) -> Result<Self, Failure> {
        let stage = Stage::set(programs, "sha256-header")?;
        let claims = stage.session()?;
        let token = stage.sign(&claims)?;
        let seen = stage.question(&token);
        let bare = Bare::over(token.len())?;
        let (total, paced) = (effort.of(32, 2000), effort.of(64, 4000));
        Ok(Self { stage, tokens, claims, seen, bare, total, paced })
    }

    /// The questions of a run. A session and its tokens live for minutes, a bench may take longer.
    fn questions(&mut self, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let now = signet_authority::state::system_clock()();
        if self.claims.exp - now.0 < 300 {
            self.claims = self.stage.session()?;
            self.seen = self.stage.question(&self.stage.sign(&self.claims)?);
        }
        match self.tokens {
            Tokens::Seen => Ok(vec![self.seen.clone()]),
            Tokens::Unseen => {
                let new = |_| Ok(self.stage.question(&self.stage.sign(&self.claims)?));
                (0..count).map(new).collect()
            }
        }
    }

    fn cpu(&mut self, (pid, way): (u32, Way)) -> Result<Duration, Failure> {
        let questions = self.questions(self.total)?;
        cpu_of_answers(pid, &way, &questions, &self.seen, self.total, CONNECTIONS)
    }

    fn p99(&mut self, (_, way): (u32, Way)) -> Result<Duration, Failure> {
        let questions = self.questions(self.paced)?;
        let mut load = Load::open(&way, PACED_CONNECTIONS, &self.seen)?;
        let latencies = load.pace(&questions, RATE, self.paced)?;
        let place = latencies.len() * 99 / 100;
        Ok(latencies.get(place).copied().ok_or("nothing was answered")?)
    }
}

impl Contest for Questions {
    fn base(&mut self) -> Result<Duration, Failure> {
        let constant = self.cpu(self.stage.constant())?;
        match self.tokens {
            Tokens::Seen => Ok(constant),
            Tokens::Unseen => Ok(constant + self.bare.verify(self.total)?),
        }
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        let ours = self.stage.ours()?;
        self.cpu(ours)
    }
}

struct Paced {
    questions: Questions,
    /// What the authority may take longer.
    allowed: Duration,
}

impl Contest for Paced {
    fn base(&mut self) -> Result<Duration, Failure> {
        let constant = self.questions.stage.constant();
        Ok(self.questions.p99(constant)? + self.allowed)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        let ours = self.questions.stage.ours()?;
        self.questions.p99(ours)
    }
}
