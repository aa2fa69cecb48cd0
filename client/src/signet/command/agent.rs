//! `signet agent`.

use super::Context;
use crate::agent::{self, Options};
use crate::cli::Agent;
use crate::failure::Failure;

pub(super) async fn run(context: &Context, options: &Agent) -> Result<(), Failure> {
    let named = std::env::var_os("PINENTRY").filter(|name| !name.is_empty());
    let pinentry = named.or(context.settings.pinentry.clone().map(Into::into));
    let (bus, terminal) = (context.bus.clone(), options.terminal);
    agent::run(context.output, &context.interrupt, Options { bus, terminal, pinentry }).await
}
