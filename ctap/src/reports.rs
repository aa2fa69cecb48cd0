//! A pipe of 64-byte reports: a hidraw node, or a Unix `SOCK_SEQPACKET` socket of the same shape.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::task::{Context, Poll, ready};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;

/// Bytes of one CTAPHID report, without the report id (CTAP 2.1 §11.2.4).
pub const REPORT_SIZE: usize = 64;

/// One CTAPHID report without its report id.
pub type Report = [u8; REPORT_SIZE];

/// Reports that the kernel keeps for an opener who does not read (`HIDRAW_BUFFER_SIZE`).
const HIDRAW_BUFFER: usize = 64;

/// Opens the hidraw node or `SOCK_SEQPACKET` socket at `path` without blocking. Any other kind of file
/// is `InvalidInput`.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_socket() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, shape) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let fd = rustix::net::socket_with(family, shape, flags, None)?;
        rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(fd)
    } else if kind.is_char_device() {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(rustix::fs::open(path, flags, Mode::empty())?)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// A pipe of reports to and from one security key.
pub trait Reports: Send {
    /// Takes the next report from the key.
    ///
    /// `UnexpectedEof` means that the key is gone, `InvalidData` that a report has a wrong size.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Report>>;

    /// Hands a report to the key, waiting while the pipe is full.
    fn poll_send(&mut self, cx: &mut Context<'_>, report: &Report) -> Poll<io::Result<()>>;

    /// Hands a report to the key at once or not at all (`WouldBlock`). Used where nobody can wait:
    /// when a transaction is dropped.
    fn send_now(&mut self, report: &Report) -> io::Result<()>;
}

/// Reports over a file descriptor: hidraw node or `SOCK_SEQPACKET` socket.
#[derive(Debug)]
pub struct DescriptorReports {
    fd: AsyncFd<OwnedFd>,
    is_socket: bool,
}

impl DescriptorReports {
    /// Opens `path`: a socket is connected, a character device opened. Needs a tokio runtime.
    ///
    /// Any other kind of file is `InvalidInput`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_descriptor(open(path)?)
    }

    /// Takes a descriptor that someone with more rights opened. Needs a tokio runtime.
    pub fn from_descriptor(fd: OwnedFd) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        let is_socket = match kind {
            FileType::Socket => true,
            FileType::CharacterDevice => false,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "deprecated because of descriptors that close or change under it, which an OwnedFd \
                      cannot; its successor is an unsafe fn, and unsafe code is forbidden here"
        )]
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, is_socket })
    }

    /// Forgets reports that the key sent before now, which were for others: at most as many as a
    /// hidraw node keeps, so that a key that never stops sending cannot hold us.
    pub fn discard_stale(&self) {
        for _ in 0..HIDRAW_BUFFER {
            if self.read().is_err_and(|error| error.kind() != io::ErrorKind::InvalidData) {
                return;
            }
        }
    }

    fn read(&self) -> io::Result<Report> {
        // One byte more than a report, so that a longer one is noticed.
        let mut buffer = [0u8; REPORT_SIZE + 1];
        let length = if self.is_socket {
            rustix::net::recv(self.fd.get_ref(), &mut buffer[..], RecvFlags::DONTWAIT)?.0
        } else {
            rustix::io::read(self.fd.get_ref(), &mut buffer[..])?
        };
        match (length, buffer.first_chunk()) {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            (REPORT_SIZE, Some(report)) => Ok(*report),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Reports for DescriptorReports {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Report>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            match self.read() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, report: &Report) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            match write(self.fd.get_ref(), self.is_socket, report) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn send_now(&mut self, report: &Report) -> io::Result<()> {
        write(self.fd.get_ref(), self.is_socket, report)
    }
}

fn write(fd: &OwnedFd, is_socket: bool, report: &Report) -> io::Result<()> {
    // Report id 0 goes first (hidraw.rst: "the first byte is the report number").
    let mut buffer = [0u8; REPORT_SIZE + 1];
    buffer[1..].copy_from_slice(report);
    let sent = if is_socket {
        rustix::net::send(fd, &buffer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    } else {
        rustix::io::write(fd, &buffer)
    };
    match sent {
        Ok(length) if length == buffer.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(Errno::PIPE | Errno::NODEV) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error.into()),
    }
}
