//! A software TPM behind a wire that can be made to fail: commands and answers pass through a proxy
//! on loopback ports, command by command, and a rule says what becomes of each.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::swtpm::{Swtpm, SwtpmError, free_port_pair};

/// A command on its way to the TPM (TPM 2.0 part 1 §18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireCommand(Vec<u8>);

impl WireCommand {
    /// `TPM_CC`.
    pub fn code(&self) -> u32 {
        word(&self.0, 6)
    }

    /// All of its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
    word.map_or(0, u32::from_be_bytes)
}

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It reaches the TPM, and the answer comes back.
    Pass,
    /// It never reaches the TPM, and this response code comes back.
    Answer(u32),
    /// It never reaches the TPM, and these bytes come back.
    Bytes(Vec<u8>),
    /// It never reaches the TPM, and the connection is closed.
    Lose,
    /// The TPM obeys, and the connection is closed before the answer.
    LoseAnswer,
    /// The TPM obeys, and half of the answer comes back.
    CutAnswer,
}

type Rule = Box<dyn FnMut(&WireCommand) -> Fate + Send>;

/// A proxy in front of a [`Swtpm`]; ends when dropped.
pub struct FaultyTpm {
    port: u16,
    rule: Arc<Mutex<Rule>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for FaultyTpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyTpm").field("port", &self.port).finish_non_exhaustive()
    }
}

impl FaultyTpm {
    /// A proxy that passes everything on to `tpm`, also after its restarts.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn before(tpm: &Swtpm) -> Result<Self, SwtpmError> {
        let port = free_port_pair()?;
        let rule: Rule = Box::new(|_| Fate::Pass);
        let rule = Arc::new(Mutex::new(rule));
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (offset, is_data) in [(0, true), (1, false)] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset))?;
            let target = tpm.port() + offset;
            let (rule, over) = (Arc::clone(&rule), Arc::clone(&over));
            threads.push(std::thread::spawn(move || {
                for client in listener.incoming() {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    // A client that goes away, or a TPM that is not there, is what tests are about.
                    let _ = client.and_then(|client| match is_data {
                        true => relay_command(client, target, &rule),
                        false => relay_control(client, target),
                    });
                }
            }));
        }
        Ok(Self { port, rule, over, threads })
    }

    /// The transport, as the daemon and tpm2-tools write it.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Decides about every command from now on.
    pub fn set_rule(&self, rule: impl FnMut(&WireCommand) -> Fate + Send + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    /// Passes everything on again.
    pub fn heal(&self) {
        self.set_rule(|_| Fate::Pass);
    }
}

impl Drop for FaultyTpm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        for offset in [0, 1] {
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port + offset));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// libtss2 opens a connection for each command.
fn relay_command(mut client: TcpStream, target: u16, rule: &Mutex<Rule>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let command = WireCommand(read_message(&mut client)?);
    let fate = (rule.lock().unwrap_or_else(PoisonError::into_inner))(&command);
    match fate {
        Fate::Answer(code) => {
            let header = [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat();
            return client.write_all(&header);
        }
        Fate::Bytes(bytes) => return client.write_all(&bytes),
        Fate::Lose => return client.shutdown(Shutdown::Both),
        Fate::Pass | Fate::LoseAnswer | Fate::CutAnswer => {}
    }
    let mut tpm = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, target))?;
    tpm.set_nodelay(true)?;
    tpm.write_all(&command.0)?;
    let answer = read_message(&mut tpm)?;
    match fate {
        Fate::LoseAnswer => client.shutdown(Shutdown::Both),
        Fate::CutAnswer => client.write_all(&answer[..answer.len() / 2]),
        _ => client.write_all(&answer),
    }
}

/// A tag, the length of all in four bytes, and the rest.
fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 10];
    stream.read_exact(&mut message)?;
    let length = usize::try_from(word(&message, 2)).unwrap_or(0);
    if !(10..=8192).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(length, 0);
    stream.read_exact(&mut message[10..])?;
    Ok(message)
}

/// The control channel carries one question and one answer at a time.
fn relay_control(mut client: TcpStream, target: u16) -> io::Result<()> {
    let mut tpm = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, target))?;
    let mut buffer = [0; 4096];
    loop {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        tpm.write_all(&buffer[..length])?;
        let length = tpm.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..length])?;
    }
}
