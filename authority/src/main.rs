//! `signet-authority`: see `signet-authority --help`.

mod cli;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use signet_manual::Section;

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(written) = signet_manual::answer(cli::Arguments::command, Section::Administration) {
        return written;
    }
    let arguments = cli::Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line a cause: what could not be done, then why.
            let mut message = format!("signet-authority: {error}\n");
            for cause in error.chain().skip(1) {
                message.push_str(&format!("  because: {cause}\n"));
            }
            cli::output::to_stderr(&message);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: cli::Arguments) -> anyhow::Result<()> {
    signet_process::memory::forbid_dumps()?;
    cli::run(arguments).await
}
