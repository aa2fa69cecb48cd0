//! The commands, each in its file.

mod agent;
mod answer;
mod approve;
mod doctor;
mod enrol;
mod far_request;
mod files;
mod finger;
mod inspect;
mod key;
mod key_list;
mod login;
mod present;
mod proxy;
mod request;
mod status;
mod ticket;
mod token;
mod upkeep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use signet_client::ceremony::attend;
use signet_client::daemon::{Answer, Means, Upkeep};
use signet_client::settings::{Settings, SettingsError, files as settings_files};
use signet_client::tokens::TokenCache;
use signet_client::workstation::PresenceError;
use signet_client::{Bus, Daemon, Tokens, Workstation};
use signet_evidence::RejectionCode;

use crate::cli::{Cli, Command, Credentials, Finger, Key, MethodName, Pin, Ticket};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Output, Style};
use crate::pin::PinSource;
use crate::terminal::Terminal;

/// What every command has at hand.
struct Context {
    output: Output,
    settings: Settings,
    bus: Bus,
    terminal: Terminal,
    reason: Option<String>,
    interrupt: Interrupt,
    /// Another workstation's socket, in place of `signetd`'s bus.
    socket: Option<PathBuf>,
}

impl Context {
    fn new(
        output: Output,
        interrupt: Interrupt,
        bus: Option<String>,
        pin_fd: Option<u32>,
        reason: Option<String>,
    ) -> Result<Self, Failure> {
        let settings = settings()?;
        // Who names a bus means that.
        let socket = match bus {
            None => environment("SIGNET_SOCKET")?.map(PathBuf::from).or(settings.socket.clone()),
            Some(_) => None,
        };
        let bus = chosen_bus(bus, &settings)?;
        let pin_fd = match (pin_fd, environment("SIGNET_PIN_FD")?) {
            (Some(number), _) => Some(number),
            (None, Some(text)) => {
                let name = "SIGNET_PIN_FD";
                Some(text.parse().map_err(|_| Failure::Environment { name })?)
            }
            (None, None) => None,
        };
        let terminal = Terminal::new(output, PinSource::new(pin_fd), interrupt.clone());
        Ok(Self { output, settings, bus, terminal, reason, interrupt, socket })
    }

    /// What presence is proved with. A person at a terminal may still plug a key in.
    fn means(&self, method: Option<MethodName>) -> Means {
        Means { method: method.map(Into::into), wait: self.output.is_live() }
    }

    async fn daemon(&self) -> Result<Daemon, Failure> {
        Ok(Daemon::connect(&self.bus).await?)
    }

    /// Has something done with a key, and sees it through.
    async fn keep_up(
        &self,
        daemon: &Daemon,
        upkeep: Upkeep<'_>,
        path: Option<&str>,
    ) -> Result<Answer, Failure> {
        let request = daemon.keep_up(upkeep, path).await?;
        Ok(attend(request, &self.terminal).await.map_err(PresenceError::from)?)
    }

    async fn workstation(&self) -> Result<Workstation, Failure> {
        Ok(Workstation::open(&self.bus).await?.saying(self.reason.clone()))
    }

    async fn tokens(&self) -> Result<Tokens, Failure> {
        let cache = TokenCache::open(runtime_directory().as_deref())?;
        Ok(Tokens::new(self.renewed().await?, cache))
    }

    /// The workstation, its certificate renewed first when it is time. What is still good serves
    /// when that fails: the next command tries again.
    async fn renewed(&self) -> Result<Workstation, Failure> {
        let (workstation, failed) = Workstation::open_renewed(&self.bus).await?;
        let workstation = workstation.saying(self.reason.clone());
        match failed {
            Some(error) if error.rejection() == Some(RejectionCode::DeviceCertificateUntrusted) => {
                Err(error.into())
            }
            Some(error) if error.rejection().is_some() => {
                let text = format!("the certificate of this machine was not renewed: {error}");
                self.output.say(Some(Style::Bad), &text);
                Ok(workstation)
            }
            // An authority out of reach is named by the command itself, if it needs it.
            _ => Ok(workstation),
        }
    }
}

/// What the settings files say.
fn settings() -> Result<Settings, SettingsError> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    Settings::read(&settings_files(path("XDG_CONFIG_HOME"), path("HOME")))
}

/// The bus of the command line, else of the environment, else of the settings.
fn chosen_bus(given: Option<String>, settings: &Settings) -> Result<Bus, Failure> {
    Ok(match given.or(environment("SIGNET_BUS")?) {
        Some(address) => Bus::Address(address),
        None => settings.bus(),
    })
}

fn runtime_directory() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
}

/// A variable that is set to something.
fn environment(name: &'static str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::Environment { name }),
    }
}

/// Runs the command.
pub(crate) async fn run(
    cli: Cli,
    output: Output,
    interrupt: Interrupt,
) -> Result<ExitCode, Failure> {
    // These need neither settings nor signetd.
    match &cli.command {
        Command::Completion(completion) => {
            let mut script = Vec::new();
            clap_complete::generate(completion.shell, &mut Cli::command(), "signet", &mut script);
            return output.bytes(&script).map(|()| ExitCode::SUCCESS);
        }
        Command::Inspect(inspect) => {
            return inspect::run(output, inspect).map(|()| ExitCode::SUCCESS);
        }
        Command::Doctor(options) => return doctor::run(output, options, cli.bus).await,
        _ => {}
    }
    let context = Context::new(output, interrupt, cli.bus, cli.pin_fd, cli.reason)?;
    if let Some(socket) = &context.socket {
        let Command::Request(request) = &cli.command else { return Err(Failure::OnlyRequests) };
        return far_request::run(&context, request, socket).await;
    }
    if asks_person(&cli.command) {
        crate::agent::wake().await;
    }
    let done = match cli.command {
        Command::Request(request) => return request::run(&context, &request).await,
        Command::Enrol(enrol) => enrol::run(&context, &enrol).await,
        Command::Key(command) => run_key(&context, command).await,
        Command::Finger(command) => run_finger(&context, command).await,
        Command::Login(login) => login::run(&context, &login).await,
        Command::Logout(logout) => login::logout(&context, &logout).await,
        Command::Approve(approve) => approve::run(&context, &approve).await,
        Command::Ticket(Ticket::Request(options)) => ticket::request(&context, &options).await,
        Command::Ticket(Ticket::List) => ticket::list(&context).await,
        Command::Ticket(Ticket::Approve(options)) => ticket::approve(&context, &options).await,
        Command::Token(token) => token::run(&context, &token).await,
        Command::Present(present) => present::run(&context, &present).await,
        Command::Status(_) => status::run(&context).await,
        Command::Agent(options) => agent::run(&context, &options).await,
        Command::Proxy(options) => proxy::run(context, &options).await,
        Command::Inspect(_) | Command::Doctor(_) | Command::Completion(_) => Ok(()),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Whether somebody may be asked, so that an agent should be there.
fn asks_person(command: &Command) -> bool {
    match command {
        Command::Login(_)
        | Command::Approve(_)
        | Command::Ticket(_)
        | Command::Present(_)
        | Command::Request(_)
        | Command::Finger(_) => true,
        Command::Proxy(proxy) => proxy.part.is_none(),
        Command::Key(key) => !matches!(key, Key::List),
        _ => false,
    }
}

async fn run_key(context: &Context, command: Key) -> Result<(), Failure> {
    match command {
        Key::Add(add) => key::add(context, &add).await,
        Key::List => key_list::run(context).await,
        Key::Remove(remove) => key::remove(context, &remove).await,
        Key::Pin(Pin::Set(which)) => upkeep::set_pin(context, &which).await,
        Key::Pin(Pin::Change(which)) => upkeep::change_pin(context, &which).await,
        Key::Credentials(Credentials::List(which)) => upkeep::credentials(context, &which).await,
        Key::Credentials(Credentials::Remove(remove)) => {
            upkeep::remove_credential(context, &remove).await
        }
        Key::Configure(configure) => upkeep::configure(context, &configure).await,
        Key::Reset(reset) => upkeep::reset(context, &reset).await,
    }
}

async fn run_finger(context: &Context, command: Finger) -> Result<(), Failure> {
    match command {
        Finger::Add(add) => finger::add(context, &add).await,
        Finger::List(which) => finger::list(context, &which).await,
        Finger::Rename(rename) => finger::rename(context, &rename).await,
        Finger::Remove(remove) => finger::remove(context, &remove).await,
        Finger::Sensor(which) => finger::sensor(context, &which).await,
    }
}
