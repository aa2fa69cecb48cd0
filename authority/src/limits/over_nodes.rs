//! What is counted over all nodes: by the store, with the decision itself.

use super::{Caller, Limit};
use crate::config::Rate;
use crate::decision;
use crate::problem::Problem;
use crate::state::Authority;
use crate::store::{DeviceRow, Tally};

/// What handing in evidence for a token counts for: the machine, and its operator.
pub(crate) fn tokens(authority: &Authority, device: &DeviceRow) -> Vec<Tally> {
    let limits = &authority.config.settings.limits;
    let machine = tally(Limit::MachineTokens, limits.machine_tokens, &device.id, true);
    vec![machine, tally(Limit::OperatorTokens, limits.operator_tokens, &device.operator, true)]
}

/// What a ticket counts for that may be guessed: nothing as long as it is right.
pub(crate) fn guesses(authority: &Authority, caller: &Caller) -> Tally {
    tally(Limit::Guesses, authority.config.settings.limits.guesses, caller, false)
}

fn tally(limit: Limit, rate: Rate, who: &impl ToString, counts: bool) -> Tally {
    Tally { limit, who: who.to_string(), most: rate.count(), window: rate.span(), counts }
}

/// Refuses where a limit is reached already, before anything is judged. The commit decides again.
///
/// # Errors
/// The problem: the caller has to wait, or the store failed.
pub(crate) async fn refuse_if_reached(
    authority: &Authority,
    tallies: &[Tally],
) -> Result<(), Problem> {
    let reached = authority.store.limit_reached(tallies, authority.now()).await;
    match reached.map_err(|error| decision::failed(authority, error))? {
        None => Ok(()),
        Some(limited) => Err(authority.limited(limited)),
    }
}
