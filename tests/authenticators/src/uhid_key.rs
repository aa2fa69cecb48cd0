//! `uhid-key`: makes the software key behind a socket a real `/dev/hidraw*` of this machine.
//!
//! Plugged in while the key's socket answers: `unplug` and `replug` on the key's own control socket
//! pull the device out and plug it in again. Needs the right to open `/dev/uhid` (root).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use signet_test_authenticators::uhid::{self, EVENT_SIZE, Identity, Wanted};

/// Arguments of the bridge.
#[derive(Debug, Parser)]
struct Arguments {
    /// The key's socket
    #[arg(long)]
    socket: PathBuf,
    /// Product name
    #[arg(long, default_value = "Signet Software Key")]
    name: String,
    /// Serial number
    #[arg(long, default_value = "1")]
    serial: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let identity = Identity {
        name: arguments.name,
        serial: arguments.serial,
        vendor: 0x1209,
        product: 0xf1d0,
    };
    let mut device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/uhid")
        .context("cannot open /dev/uhid: run as root, after modprobe uhid")?;
    loop {
        let key = wait_for_key(&arguments.socket)?;
        device.write_all(&uhid::plug_in(&identity)).context("the kernel refused the device")?;
        carry(&mut device, &key)?;
        device.write_all(&uhid::pull_out()).context("the device cannot be pulled out")?;
    }
}

/// Connects as soon as the key answers.
fn wait_for_key(path: &Path) -> anyhow::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path).context("the key's socket")?;
    loop {
        let socket = net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        if net::connect(&socket, &address).is_ok() {
            return Ok(socket);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Carries reports both ways until the key is unplugged.
fn carry(device: &mut File, key: &OwnedFd) -> anyhow::Result<()> {
    let mut event = [0; EVENT_SIZE];
    let mut report = [0; 64];
    loop {
        let (from_host, from_key) = {
            let mut both = [PollFd::new(&*device, PollFlags::IN), PollFd::new(key, PollFlags::IN)];
            poll(&mut both, None)?;
            (both[0].revents(), both[1].revents())
        };
        if !from_host.is_empty() {
            let length = device.read(&mut event).context("the kernel took the device away")?;
            match uhid::read_event(&event[..length]) {
                Wanted::Output(output) => {
                    let with_id: Vec<u8> = std::iter::once(0).chain(*output).collect();
                    // A key that is gone shows by the end of its stream.
                    let _ = net::send(key, &with_id, SendFlags::NOSIGNAL);
                }
                Wanted::Reply(reply) => device.write_all(&reply)?,
                Wanted::Nothing => {}
            }
        }
        if !from_key.is_empty() {
            match net::recv(key, &mut report[..], RecvFlags::empty()) {
                Ok((64, _)) => device.write_all(&uhid::input(&report))?,
                _ => return Ok(()),
            }
        }
    }
}
