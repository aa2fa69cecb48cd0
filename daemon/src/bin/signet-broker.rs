//! `signet-broker`: opens security keys and hands them to signetd. It is started as root by udev, through
//! systemd, and does nothing else.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use signet_ctap::handover::{Handover, HandoverError};

const SOCKET: &str = "/run/signet/keys";
const HELP: &str = "\
Opens FIDO devices and hands them to signetd

Usage: signet-broker [--socket PATH] [NODE...]

Arguments:
  [NODE...]  Devices that were plugged in just now; without any, all that are plugged in

Options:
      --socket PATH  Where signetd takes them [default: /run/signet/keys]
  -h, --help         Print help
  -V, --version      Print version

Examples:
  signet-broker /dev/hidraw3
  signet-broker

systemd runs it: signet-key@.service for a device, signet-keys.service for all.
";

/// What the command line asks for.
enum Asked {
    Work { socket: PathBuf, nodes: Vec<PathBuf> },
    Help,
    Version,
    Nonsense(String),
}

fn asked(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Asked {
    let mut arguments = arguments.into_iter();
    let (mut socket, mut nodes) = (PathBuf::from(SOCKET), Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("-h" | "--help") => return Asked::Help,
            Some("-V" | "--version") => return Asked::Version,
            Some("--socket") => match arguments.next() {
                Some(path) => socket = path.into(),
                None => return Asked::Nonsense("--socket needs a path".to_owned()),
            },
            Some(option) if option.starts_with('-') => {
                return Asked::Nonsense(format!("unknown option {option}"));
            }
            _ => nodes.push(argument.into()),
        }
    }
    Asked::Work { socket, nodes }
}

fn main() -> ExitCode {
    match asked(std::env::args_os().skip(1)) {
        Asked::Work { socket, nodes } => hand_in(&socket, nodes),
        Asked::Help => print(HELP),
        Asked::Version => print(concat!("signet-broker ", env!("CARGO_PKG_VERSION"), "\n")),
        Asked::Nonsense(complaint) => {
            say(format_args!("{complaint}; see --help"));
            ExitCode::from(2)
        }
    }
}

fn hand_in(socket: &PathBuf, nodes: Vec<PathBuf>) -> ExitCode {
    let just_plugged = !nodes.is_empty();
    let nodes = if just_plugged {
        nodes
    } else {
        match signet_ctap::discover() {
            Ok(found) => found.into_iter().map(|found| found.path).collect(),
            Err(error) => {
                say(format_args!("cannot list devices: {error}"));
                return ExitCode::FAILURE;
            }
        }
    };
    let mut keys = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for node in nodes {
        match Handover::open(&node, just_plugged) {
            Ok(key) => keys.push(key),
            // Pulled out again.
            Err(HandoverError::Io(error)) if is_gone(&error) => {
                say(format_args!("{} is gone", node.display()));
            }
            Err(HandoverError::Io(error)) => {
                say(format_args!("{}: cannot open it: {error}", node.display()));
                code = ExitCode::FAILURE;
            }
            Err(error) => {
                say(format_args!("{}: {error}", node.display()));
                code = ExitCode::FAILURE;
            }
        }
    }
    if keys.is_empty() {
        return code;
    }
    let sent = reach(socket).and_then(|socket| keys.iter().try_for_each(|key| key.send(&socket)));
    match sent {
        Ok(()) => code,
        Err(error) => {
            let socket = socket.display();
            say(format_args!("{socket}: {error}; check that signetd.socket is started"));
            ExitCode::FAILURE
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::NODEV, Errno::NXIO].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| gone.contains(&code))
}

fn reach(path: &PathBuf) -> io::Result<OwnedFd> {
    let (family, shape) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = socket_with(family, shape, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn say(line: impl Display) {
    // Nothing better can be done when stderr is gone.
    let _ = writeln!(io::stderr(), "signet-broker: {line}");
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
