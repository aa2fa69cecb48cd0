//! `signet-authority`: see `signet-authority --help`.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments).await {
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
