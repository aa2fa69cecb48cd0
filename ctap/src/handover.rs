//! An opened security key, handed from the program that may open device nodes to the one that may not.
//!
//! One packet of a Unix `SOCK_SEQPACKET` socket for each key: its descriptor (`SCM_RIGHTS`), and three
//! lines of text: `plugged` (just now) or `present` (for how long is not known), the path, the name.
//! The taker asks the kernel what the descriptor is; of a hidraw node, path and name in the packet do
//! not count. They do of a socket, which only tests and software keys have.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::cmsg_space;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, recvmsg, sendmsg, sockopt,
};

use crate::discover::{Found, identify};
use crate::reports;

/// Longest packet, in bytes: a path and the 128 bytes that the kernel keeps of a name.
const LONGEST: usize = 1024;
/// Room for more descriptors than one, so that a packet with several is noticed.
const DESCRIPTORS: usize = 4;
const PLUGGED: &str = "plugged";
const PRESENT: &str = "present";

/// A security key, open, on its way to the program that uses it.
#[derive(Debug)]
pub struct Handover {
    /// Device node and name.
    pub found: Found,
    /// Whether it was plugged in just now.
    pub just_plugged: bool,
    /// The open node.
    pub key: OwnedFd,
}

/// Why a packet brought no key.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The socket failed.
    #[error("the socket on which keys are handed in failed")]
    Io(#[from] io::Error),
    /// It is longer than any of ours.
    #[error("the packet is longer than {LONGEST} bytes")]
    TooLong,
    /// Its words are not ours.
    #[error("the packet is not about a security key")]
    Words,
    /// It brings no descriptor, or several.
    #[error("the packet does not bring one open file")]
    NotOne,
    /// The open file is no hidraw node with the FIDO usage page, and no socket of packets.
    #[error("the open file is no fido device")]
    NotFido,
}

impl From<Errno> for HandoverError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl Handover {
    /// Opens the key at `path`, a hidraw node or a `SOCK_SEQPACKET` socket.
    ///
    /// # Errors
    /// [`HandoverError::Io`] when it cannot be opened, [`HandoverError::NotFido`].
    pub fn open(path: &Path, just_plugged: bool) -> Result<Self, HandoverError> {
        let key = reports::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => HandoverError::NotFido,
            _ => HandoverError::Io(error),
        })?;
        let found = recognise(&key, || Found { path: path.to_owned(), name: None })?;
        Ok(Self { found, just_plugged, key })
    }

    /// Sends it as one packet.
    ///
    /// # Errors
    /// When the socket does not take it.
    pub fn send(&self, socket: impl AsFd) -> io::Result<()> {
        let word = if self.just_plugged { PLUGGED } else { PRESENT };
        let path = self.found.path.display();
        let words = format!("{word}\n{path}\n{}", self.found.name.as_deref().unwrap_or_default());
        let descriptors = [self.key.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let packet = [IoSlice::new(words.as_bytes())];
        sendmsg(socket, &packet, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Takes the next packet; `None` when the other side has no more.
    ///
    /// # Errors
    /// See [`HandoverError`]; [`HandoverError::Io`] of kind `WouldBlock` when none is there yet. After
    /// any other, the packet is gone, and what it brought is closed.
    pub fn receive(socket: impl AsFd) -> Result<Option<Self>, HandoverError> {
        let mut packet = [0u8; LONGEST];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(socket, &mut [IoSliceMut::new(&mut packet)], &mut control, flags)?;
        if message.bytes == 0 {
            return Ok(None);
        }
        let mut keys: Vec<OwnedFd> = Vec::new();
        for brought in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = brought {
                keys.extend(descriptors);
            }
        }
        if message.flags.contains(ReturnFlags::TRUNC) {
            return Err(HandoverError::TooLong);
        }
        let words = packet.get(..message.bytes).and_then(|words| str::from_utf8(words).ok());
        let (just_plugged, said) = words.and_then(understood).ok_or(HandoverError::Words)?;
        let count = keys.len();
        let (Some(key), 1) = (keys.pop(), count) else { return Err(HandoverError::NotOne) };
        let found = recognise(&key, || said)?;
        Ok(Some(Self { found, just_plugged, key }))
    }
}

fn understood(words: &str) -> Option<(bool, Found)> {
    let mut lines = words.splitn(3, '\n');
    let just_plugged = match lines.next()? {
        PLUGGED => true,
        PRESENT => false,
        _ => return None,
    };
    let path = PathBuf::from(lines.next()?);
    let name = lines.next().filter(|name| !name.is_empty() && !name.contains(char::is_control));
    path.is_absolute().then(|| (just_plugged, Found { path, name: name.map(str::to_owned) }))
}

/// What the open file is; `said` counts for sockets only.
fn recognise(key: &OwnedFd, said: impl FnOnce() -> Found) -> Result<Found, HandoverError> {
    if FileType::from_raw_mode(fstat(key)?.st_mode) != FileType::Socket {
        return identify(key)?.ok_or(HandoverError::NotFido);
    }
    let of_packets = sockopt::socket_domain(key)? == AddressFamily::UNIX
        && sockopt::socket_type(key)? == SocketType::SEQPACKET
        && !sockopt::socket_acceptconn(key)?;
    if of_packets { Ok(said()) } else { Err(HandoverError::NotFido) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::net::{SocketFlags, socketpair};

    use super::*;

    fn pair(shape: SocketType) -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, shape, SocketFlags::CLOEXEC, None).unwrap()
    }

    /// Sends `words` with these descriptors.
    fn send(socket: &OwnedFd, words: &[u8], descriptors: &[&OwnedFd]) {
        let descriptors: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        sendmsg(socket, &[IoSlice::new(words)], &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    #[test]
    fn a_key_arrives_open_with_what_is_known_of_it() {
        let (giver, taker) = pair(SocketType::SEQPACKET);
        let (key, end) = pair(SocketType::SEQPACKET);
        let found = Found { path: "/dev/hidraw3".into(), name: Some("Maker Key".to_owned()) };
        let sent = Handover { found: found.clone(), just_plugged: true, key };
        sent.send(&giver).unwrap();
        drop((giver, sent));
        let taken = Handover::receive(&taker).unwrap().unwrap();
        assert_eq!((&taken.found, taken.just_plugged), (&found, true));
        rustix::io::write(&end, b"report").unwrap();
        let mut report = [0; 8];
        assert_eq!(rustix::io::read(&taken.key, &mut report[..]).unwrap(), 6);
        assert!(Handover::receive(&taker).unwrap().is_none());
    }

    #[test]
    fn every_other_packet_is_refused_and_the_next_one_counts() {
        let (giver, taker) = pair(SocketType::SEQPACKET);
        let (key, _end) = pair(SocketType::SEQPACKET);
        let (stream, _other) = pair(SocketType::STREAM);
        let null = OwnedFd::from(File::open("/dev/null").unwrap());
        let file = OwnedFd::from(File::open("Cargo.toml").unwrap());
        let good: &[u8] = b"present\n/dev/hidraw3\n";
        let refused = || Handover::receive(&taker).unwrap_err();

        send(&giver, good, &[]);
        assert!(matches!(refused(), HandoverError::NotOne));
        send(&giver, good, &[&key, &key]);
        assert!(matches!(refused(), HandoverError::NotOne));
        send(&giver, good, &[&key; 8]);
        assert!(matches!(refused(), HandoverError::NotOne));
        for other in [&null, &file, &stream] {
            send(&giver, good, &[other]);
            assert!(matches!(refused(), HandoverError::NotFido));
        }
        for words in
            [&b"unplugged\n/dev/x\n"[..], b"plugged", b"plugged\nhidraw3\n", b"present\n\xff\n"]
        {
            send(&giver, words, &[&key]);
            assert!(matches!(refused(), HandoverError::Words));
        }
        send(&giver, &[b'x'; LONGEST + 1], &[&key]);
        assert!(matches!(refused(), HandoverError::TooLong));

        send(&giver, b"present\n/dev/hidraw3\nMaker\x1b[2J", &[&key]);
        let taken = Handover::receive(&taker).unwrap().unwrap();
        assert_eq!(taken.found, Found { path: "/dev/hidraw3".into(), name: None });
    }

    #[test]
    fn only_keys_are_opened() {
        let open = |path: &str| Handover::open(path.as_ref(), false).unwrap_err();
        assert!(matches!(open("/dev/null"), HandoverError::NotFido));
        assert!(matches!(open("Cargo.toml"), HandoverError::NotFido));
        let HandoverError::Io(error) = open("/dev/hidraw-none") else { panic!("it opened") };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
