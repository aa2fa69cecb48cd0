//! `signet-model`: checks the models with chosen bounds, and shows what happens without a binding.
#![allow(clippy::print_stdout)] // its answers

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use signet_model::search::{self, Explored};
use signet_model::spend::{self, Nodes};
use signet_model::table::{LONGEST, ROWS, Row, Without};
use signet_model::term::Purpose;
use signet_model::world::{Bounds, Protocol, Start};

/// Checks the models of Signet's protocol (docs/model.md).
#[derive(Parser)]
#[command(after_help = "Examples:
  signet-model check --touches 2      every state within these bounds
  signet-model attack quote-statement what happens when a quote does not cover the statement
  signet-model attacks                the same for every binding
  signet-model table                  the tables of docs/model.md")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at every state within bounds; fails when a property does not hold
    Check(Limits),
    /// Show the shortest attack on the protocol without this binding
    Attack {
        /// Its name in docs/model.md
        binding: String,
    },
    /// Show them all
    Attacks,
    /// Print the tables of docs/model.md
    Table,
}

#[derive(Args)]
struct Limits {
    /// Challenges that are issued
    #[arg(long, default_value_t = Bounds::EVIDENCE.challenges)]
    challenges: usize,
    /// Alice's touches
    #[arg(long, default_value_t = Bounds::EVIDENCE.touches)]
    touches: u8,
    /// Tokens and new keys
    #[arg(long, default_value_t = Bounds::EVIDENCE.tokens)]
    tokens: usize,
    /// Uses of tokens at gateways
    #[arg(long, default_value_t = 1)]
    uses: usize,
    /// Steps of the clock, each beyond the life of a challenge and of a token
    #[arg(long, default_value_t = Bounds::EVIDENCE.ticks)]
    ticks: u8,
    /// Restarts of Alice's machine
    #[arg(long, default_value_t = Bounds::EVIDENCE.restarts)]
    restarts: u8,
    /// Nodes of the model of spending once
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How often they are asked
    #[arg(long, default_value_t = 5)]
    asked: u8,
    /// How often one crashes
    #[arg(long, default_value_t = 2)]
    crashes: u8,
    /// What evidence is made for: session, renew, action, enrol-key (default: all)
    #[arg(long, value_delimiter = ',', value_parser = purpose)]
    purposes: Vec<Purpose>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn purpose(name: &str) -> Result<Purpose, &'static str> {
    Purpose::named(name).ok_or("session, renew, action or enrol-key")
}

fn main() -> ExitCode {
    let fine = match Cli::parse().command {
        Command::Check(limits) => check(&limits),
        Command::Attack { binding } => attack(&binding),
        Command::Attacks => {
            let names =
                ROWS.iter().map(|row| row.name).chain(spend::ROWS.iter().map(|row| row.name));
            // Each is shown, also after one that was not found.
            names.map(attack).fold(true, |fine, found| fine & found)
        }
        Command::Table => {
            ROWS.iter().for_each(|row| println!("{}", row.line()));
            println!();
            spend::ROWS.iter().for_each(|row| println!("{}", row.line()));
            true
        }
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(limits: &Limits) -> bool {
    let Limits { challenges, touches, tokens, uses, ticks, restarts, .. } = *limits;
    let bounds = Bounds { challenges, touches, tokens, uses, ticks, restarts };
    let mut fine = true;
    for start in Start::ALL {
        let mut model = Protocol::whole(start, bounds);
        if !limits.purposes.is_empty() {
            model.purposes.clone_from(&limits.purposes);
        }
        fine &= said(start.name(), || search::explore(model, limits.threads));
    }
    let Limits { nodes, asked, crashes, .. } = *limits;
    let model = Nodes { nodes, asked, crashes, without: None };
    fine & said("spending once", || search::explore(model, limits.threads))
}

fn said(name: &str, explore: impl FnOnce() -> Explored) -> bool {
    let began = Instant::now();
    let found = explore();
    let Explored { states, depth, broken, impossible } = found;
    println!("{name}: {states} states, {depth} deep, {:.1} s", began.elapsed().as_secs_f64());
    broken.iter().for_each(|name| println!("  BROKEN: {name}"));
    impossible.iter().for_each(|name| println!("  not reached within these bounds: {name}"));
    broken.is_empty()
}

fn attack(name: &str) -> bool {
    let found = if let Some(row) = Row::named(name) {
        if let Without::SecondLine(..) = row.without {
            let others = row.missing().into_iter().filter(|other| *other != row.binding);
            let others = others.filter_map(|other| Row::of(other).map(|row| row.name));
            let others = others.collect::<Vec<_>>().join(" and ");
            println!("Without {name} alone nothing is broken. Without it and {others}:");
        } else {
            println!("Without {name}:");
        }
        shown(row.attack(), row.property().text())
    } else if let Some(row) = spend::Row::named(name) {
        println!("Without {name}:");
        let model = Nodes { without: Some(row.guard), ..Nodes::small() };
        shown(search::attack(&model, row.broken, LONGEST), row.broken)
    } else {
        println!("no binding is called {name}; `signet-model table` has the names");
        return false;
    };
    println!();
    found
}

fn shown<A: std::fmt::Display>(steps: Option<Vec<A>>, broken: &str) -> bool {
    let Some(steps) = steps else {
        println!("  NO ATTACK was found");
        return false;
    };
    for (step, number) in steps.iter().zip(1..) {
        println!("  {number:>2}. {step}");
    }
    println!("  BROKEN: {broken}");
    true
}
