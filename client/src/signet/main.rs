//! `signet`: the operator's command line.

mod agent;
mod approval;
mod cli;
mod command;
mod confirm;
mod failure;
mod fingerprint;
mod interrupt;
mod output;
mod pin;
mod secret_input;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::Cli;
use failure::Failure;
use interrupt::Interrupt;
use output::Output;
use signet_manual::Section;
use signet_process::memory::forbid_dumps;

fn main() -> ExitCode {
    if let Some(written) = signet_manual::answer(Cli::command, Section::Commands) {
        return written;
    }
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli, output));
            // Do not wait for a thread that is still reading or locked.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::Runtime(error)),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

async fn run(cli: Cli, output: Output) -> Result<ExitCode, Failure> {
    forbid_dumps()?;
    let interrupt = Interrupt::listen().map_err(Failure::Runtime)?;
    let forced = interrupt.clone();
    tokio::select! {
        result = command::run(cli, output, interrupt) => result,
        () = forced.given_up() => Err(Failure::Interrupted),
    }
}
