//! What both firmwares share: arguments, sockets, life time.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Parser;

use crate::panel::{self, Panel};
use crate::wire::Wire;

/// Arguments of a key process.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// Socket that stands for the hidraw node
    #[arg(long)]
    pub socket: PathBuf,
    /// Stream socket for touches, fingers and the plug
    #[arg(long)]
    pub control: PathBuf,
    /// Where the key keeps its memory (opensk: a file, trussed: a folder); without it, all is lost at the end
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Attestation key, PKCS#8 DER, P-256
    #[arg(long)]
    pub attestation_key: PathBuf,
    /// Attestation certificate, DER
    #[arg(long)]
    pub attestation_cert: PathBuf,
    /// AAGUID in hex; must be that of the certificate
    #[arg(long)]
    pub aaguid: Option<String>,
    /// Fingers enrolled at the factory (opensk only)
    #[arg(long, value_delimiter = ',')]
    pub fingers: Vec<String>,
    /// Relying parties to which the key attests itself singly, once that is enabled; to others it
    /// does so by its new key alone (opensk only)
    #[arg(long, value_delimiter = ',')]
    pub enterprise_rp_id: Vec<String>,
    /// Wait for `touch` on the control socket instead of being touched whenever asked
    #[arg(long)]
    pub manual_touch: bool,
    /// Be a key of the U2F generation: hide CTAP2 from the host
    #[arg(long)]
    pub u2f_only: bool,
    /// Be a FIDO2 key that knows no PIN: hide all that verifies a user from the host (trussed only)
    #[arg(long, conflicts_with = "u2f_only")]
    pub touch_only: bool,
    /// Go on living when stdin closes (normally the sign that the parent is gone)
    #[arg(long)]
    pub detached: bool,
}

/// Opened sockets of a key process.
#[derive(Debug)]
pub struct Rig {
    /// Reports.
    pub wire: Arc<Wire>,
    /// Button and sensor.
    pub panel: Arc<Panel>,
}

impl Rig {
    /// Binds both sockets and ties the process's life to its parent's.
    pub fn open(arguments: &Arguments) -> io::Result<Self> {
        if !arguments.detached {
            thread::spawn(|| {
                // The parent holds the other end and never writes: any return means it is gone.
                let _ = io::stdin().read(&mut [0u8; 1]);
                std::process::exit(0);
            });
        }
        let wire = Wire::listen(&arguments.socket, arguments.u2f_only)?;
        let panel = Panel::new(!arguments.manual_touch);
        panel::serve(&arguments.control, Arc::clone(&panel), Arc::clone(&wire))?;
        Ok(Self { wire, panel })
    }

    /// Says on stdout that the key answers.
    pub fn announce(&self) -> io::Result<()> {
        let mut stdout = io::stdout();
        stdout.write_all(b"ready\n")?;
        stdout.flush()
    }
}
