//! A pipe whose other end follows a script.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use signet_ctap::reports::{Report, Reports};

use crate::{INIT, OURS};

/// What the key on the other end does with each report it gets.
type Script = Box<dyn FnMut(&Report) -> Vec<Report> + Send>;

/// The state of a scripted key, shared with the test.
pub(crate) struct Pipe {
    script: Script,
    to_host: VecDeque<Report>,
    pub(crate) from_host: Vec<Report>,
    unplugged: bool,
    waker: Option<Waker>,
}

#[derive(Clone)]
pub(crate) struct Scripted(pub(crate) Arc<Mutex<Pipe>>);

impl Scripted {
    pub(crate) fn new(script: impl FnMut(&Report) -> Vec<Report> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Pipe {
            script: Box::new(script),
            to_host: VecDeque::new(),
            from_host: Vec::new(),
            unplugged: false,
            waker: None,
        })))
    }

    /// A key that answers INIT properly and everything else by `script`.
    pub(crate) fn after_init(
        mut script: impl FnMut(&Report) -> Vec<Report> + Send + 'static,
    ) -> Self {
        Self::new(move |report| match report[4] {
            INIT => vec![init_answer(report)],
            _ => script(report),
        })
    }

    pub(crate) fn say(&self, reports: impl IntoIterator<Item = Report>) {
        let mut pipe = self.0.lock().unwrap();
        pipe.to_host.extend(reports);
        if let Some(waker) = pipe.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn unplug(&self) {
        self.0.lock().unwrap().unplugged = true;
        self.say([]);
    }

    /// Command bytes of the first packets the host sent.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.0.lock().unwrap().from_host.iter().map(|r| r[4]).filter(|c| c & 0x80 != 0).collect()
    }
}

impl Reports for Scripted {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Report>> {
        let mut pipe = self.0.lock().unwrap();
        match pipe.to_host.pop_front() {
            Some(report) => Poll::Ready(Ok(report)),
            None if pipe.unplugged => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            None => {
                pipe.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_send(&mut self, _: &mut Context<'_>, report: &Report) -> Poll<io::Result<()>> {
        Poll::Ready(self.send_now(report))
    }

    fn send_now(&mut self, report: &Report) -> io::Result<()> {
        let mut pipe = self.0.lock().unwrap();
        if pipe.unplugged {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pipe.from_host.push(*report);
        let answers = (pipe.script)(report);
        drop(pipe);
        self.say(answers);
        Ok(())
    }
}

pub(crate) fn first(id: u32, command: u8, length: u16, data: &[u8]) -> Report {
    let mut report = [0; 64];
    report[..4].copy_from_slice(&id.to_be_bytes());
    report[4] = command;
    report[5..7].copy_from_slice(&length.to_be_bytes());
    report[7..7 + data.len()].copy_from_slice(data);
    report
}

pub(crate) fn next(id: u32, sequence: u8, fill: u8) -> Report {
    let mut report = [fill; 64];
    report[..4].copy_from_slice(&id.to_be_bytes());
    report[4] = sequence;
    report
}

pub(crate) fn whole(id: u32, command: u8, data: &[u8]) -> Report {
    first(id, command, data.len() as u16, data)
}

pub(crate) fn init_answer(request: &Report) -> Report {
    let mut data = [0; 17];
    data[..8].copy_from_slice(&request[7..15]);
    data[8..12].copy_from_slice(&OURS.to_be_bytes());
    data[12] = 2;
    data[16] = 0x05;
    let id = u32::from_be_bytes([request[0], request[1], request[2], request[3]]);
    whole(id, INIT, &data)
}
