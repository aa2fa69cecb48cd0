//! Which mutant this process is: put into the woven tree by `mutants`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{LazyLock, Mutex};

static CHOSEN: LazyLock<Option<u32>> =
    LazyLock::new(|| std::env::var("SIGNET_MUTANT").ok()?.parse().ok());
static REACHED: LazyLock<Option<Mutex<(std::fs::File, BTreeSet<u32>)>>> = LazyLock::new(|| {
    let path = std::env::var_os("SIGNET_MUTANTS_REACHED")?;
    let file = std::fs::File::options().create(true).append(true).open(path).ok()?;
    Some(Mutex::new((file, BTreeSet::new())))
});

/// Which of `numbers` is chosen, counted from 1; 0 if none of them is.
#[must_use]
pub fn pick(numbers: &[u32]) -> usize {
    if let Some(reached) = &*REACHED
        && let Ok(mut reached) = reached.lock()
    {
        for number in numbers {
            if reached.1.insert(*number) {
                let _ = writeln!(reached.0, "{number}");
            }
        }
    }
    let chosen = *CHOSEN;
    numbers.iter().position(|number| Some(*number) == chosen).map_or(0, |at| at + 1)
}
