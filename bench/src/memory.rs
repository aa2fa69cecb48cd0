//! What the authority holds in memory, idle and with many sessions.

use std::time::Duration;

use crate::load::{Load, memory_of};
use crate::stage::Stage;
use crate::{Bench, Contest, Effort, Failure, Programs, Unit};

const SESSIONS: usize = 100_000;
const REQUESTS: usize = 1_000_000;

/// Serving, and asked nothing.
pub const IDLE: Bench = Bench {
    name: "memory-idle",
    about: "memory of the idle authority (proportional set size), and 20 MiB",
    bar: 1.0,
    rounds: 1,
    unit: Unit::Memory,
    prepare: |programs, _| Ok(Box::new(Memory::of(Stage::set(programs, "sha256-header")?, 20))),
};

/// After a million questions with the tokens of a hundred thousand sessions.
pub const LOADED: Bench = Bench {
    name: "memory-loaded",
    about: "memory of the authority with 100,000 live sessions after a million questions, and 64 MiB",
    bar: 1.0,
    rounds: 1,
    unit: Unit::Memory,
    prepare: |programs, effort| Ok(Box::new(loaded(programs, effort)?)),
};

struct Memory {
    stage: Stage,
    promise: Duration,
}

impl Memory {
    fn of(stage: Stage, mebibytes: u64) -> Self {
        Self { stage, promise: Unit::kibibytes(mebibytes * 1024) }
    }
}

fn loaded(programs: &Programs, effort: Effort) -> Result<Memory, Failure> {
    let stage = Stage::set(programs, "sha256-header")?;
    // Tokens live for a quarter of an hour: so many sessions at a time as are asked about at once.
    let (sessions, per_batch) = (effort.of(20, SESSIONS), effort.of(10, 5000));
    let per_session = effort.of(2, REQUESTS / SESSIONS);
    let (_, way) = stage.ours()?;
    for _ in 0..sessions / per_batch {
        let mut questions = Vec::new();
        for _ in 0..per_batch {
            questions.push(stage.question(&stage.sign(&stage.session()?)?));
        }
        let first = questions.first().cloned().unwrap_or_default();
        Load::open(&way, 16, &first)?.send(&questions, per_batch * per_session)?;
    }
    Ok(Memory::of(stage, 64))
}

impl Contest for Memory {
    fn base(&mut self) -> Result<Duration, Failure> {
        Ok(self.promise)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        let (pid, _) = self.stage.ours()?;
        let memory = memory_of(pid)?;
        // Without optimisation the program is larger, and that says nothing.
        Ok(Unit::kibibytes(memory))
    }
}
