//! `signet agent`.

use std::sync::Arc;

use signet_client::remote::Station;

use super::{Context, files, runtime_directory};
use crate::agent::{self, Options};
use crate::cli::Agent;
use crate::failure::Failure;

pub(super) async fn run(context: &Context, options: &Agent) -> Result<(), Failure> {
    let named = std::env::var_os("PINENTRY").filter(|name| !name.is_empty());
    let pinentry = named.or(context.settings.pinentry.clone().map(Into::into));
    let (bus, terminal) = (context.bus.clone(), options.terminal);
    let gateways = context.settings.gateway_ca.as_deref().map(files::anchors).transpose()?;
    let station = Arc::new(Station::new(bus.clone(), gateways));
    let options = Options { bus, terminal, pinentry };
    let prompts = agent::run(context.output, &context.interrupt, options);
    // Where the socket cannot be, prompts can: most people have no far hosts.
    let served = async {
        match Station::listen(runtime_directory().as_deref()).await {
            Ok(listener) => station.serve(listener).await,
            Err(error) => {
                let text = format!("far hosts are not served: {}", Failure::from(error).message());
                context.output.say(None, &text);
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = prompts => ended,
        never = served => never,
    }
}
