//! A socket shaped like `/dev/hidrawN`: one report per packet of a Unix `SOCK_SEQPACKET` socket.
//!
//! Each accepted connection behaves like one `open()` of the device node: the host writes 65 bytes
//! (report id 0 and 64 bytes) and reads 64. As with hidraw, every opener sees every input report, and
//! reports to an opener that does not read are dropped.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::u2f_only::{Filter, Passage};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};

/// One CTAPHID report without its report id.
pub type Report = [u8; 64];

/// Reports between the firmware and all openers of the socket.
#[derive(Debug)]
pub struct Wire {
    path: PathBuf,
    listener: OwnedFd,
    unplugged: AtomicBool,
    to_key: Mutex<VecDeque<Report>>,
    arrived: Condvar,
    openers: Mutex<Vec<Arc<OwnedFd>>>,
    u2f_only: Option<Mutex<Filter>>,
}

impl Wire {
    /// Binds `path` (replacing what was there) and serves openers from background threads.
    ///
    /// With `u2f_only` the host sees a key of the U2F generation.
    pub fn listen(path: &Path, u2f_only: bool) -> io::Result<Arc<Self>> {
        remove_if_present(path)?;
        let listener = net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Whoever watches for the path finds a key that answers.
        let unborn = path.with_extension("unborn");
        remove_if_present(&unborn)?;
        net::bind(&listener, &SocketAddrUnix::new(&unborn)?)?;
        net::listen(&listener, 8)?;
        std::fs::rename(&unborn, path)?;
        let wire = Arc::new(Self {
            path: path.to_owned(),
            listener,
            unplugged: AtomicBool::new(false),
            to_key: Mutex::default(),
            arrived: Condvar::new(),
            openers: Mutex::default(),
            u2f_only: u2f_only.then(Mutex::default),
        });
        let accepting = Arc::clone(&wire);
        thread::spawn(move || accepting.accept_loop());
        Ok(wire)
    }

    /// Sends one report to every opener.
    pub fn send_to_host(&self, report: &Report) {
        match self.u2f_only {
            Some(_) => self.send_as_is(&Filter::without_ctap2(report)),
            None => self.send_as_is(report),
        }
    }

    fn send_as_is(&self, report: &Report) {
        for opener in self.openers().iter() {
            // A full or closed opener loses the report, as with hidraw.
            let _ = net::send(opener, report, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// Takes the oldest report from the host, waiting at most `timeout`.
    pub fn receive(&self, timeout: Duration) -> Option<Report> {
        let queue = self.to_key.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut queue, _) = self
            .arrived
            .wait_timeout_while(queue, timeout, |queue| queue.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }

    /// Whether a report from the host waits.
    pub fn has_report(&self) -> bool {
        !self.to_key.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Pulls the key out: every opener sees the end of its stream, the path is gone.
    pub fn unplug(&self) {
        self.unplugged.store(true, Ordering::SeqCst);
        let _ = remove_if_present(&self.path);
        for opener in self.openers().drain(..) {
            let _ = net::shutdown(&opener, Shutdown::Both);
        }
    }

    fn openers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<OwnedFd>>> {
        self.openers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_loop(self: Arc<Self>) {
        while let Ok(opener) = net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
            if self.unplugged.load(Ordering::SeqCst) {
                continue;
            }
            let opener = Arc::new(opener);
            self.openers().push(Arc::clone(&opener));
            let wire = Arc::clone(&self);
            thread::spawn(move || {
                wire.read_loop(&opener);
                wire.openers().retain(|other| !Arc::ptr_eq(other, &opener));
            });
        }
    }

    fn passage(&self, report: &Report) -> Passage {
        match &self.u2f_only {
            Some(filter) => filter.lock().unwrap_or_else(PoisonError::into_inner).judge(report),
            None => Passage::On,
        }
    }

    fn read_loop(&self, opener: &OwnedFd) {
        let mut buffer = [0u8; 128];
        loop {
            match net::recv(opener, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return,
                Ok((65, _)) if buffer[0] == 0 => {
                    let mut report = [0u8; 64];
                    report.copy_from_slice(&buffer[1..65]);
                    match self.passage(&report) {
                        Passage::On => {}
                        Passage::Dropped => continue,
                        Passage::Answered(answer) => {
                            self.send_as_is(&answer);
                            continue;
                        }
                    }
                    self.to_key.lock().unwrap_or_else(PoisonError::into_inner).push_back(report);
                    self.arrived.notify_all();
                }
                Ok((length, _)) => eprintln!("report of {length} bytes ignored, expected 65"),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// Removes a stale socket file.
pub(crate) fn remove_if_present(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
