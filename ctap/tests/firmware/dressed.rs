//! A firmware in the dress of another key: whole messages are rewritten on their way.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use ciborium::Value;
use signet_ctap::DescriptorReports;
use signet_ctap::cbor;
use signet_ctap::reports::{Report, Reports};

use crate::*;

const CBOR: u8 = 0x90;
const GET_INFO: u8 = 0x04;

/// Changes a message: command byte and parameters, or status byte and answer.
pub(crate) type Rewrite = Box<dyn FnMut(u8, Value) -> (u8, Value) + Send>;

/// The pipe in between. Only CTAP2 messages are touched.
pub(crate) struct Dressed {
    inner: DescriptorReports,
    info: Box<dyn FnMut(&mut Info) + Send>,
    request: Rewrite,
    asked: u8,
    from_host: Vec<Report>,
    to_key: VecDeque<Report>,
    from_key: Vec<Report>,
    to_host: VecDeque<Report>,
}

/// Members of getInfo by number.
pub(crate) struct Info(Vec<(Value, Value)>);

impl Info {
    /// Sets a member, or removes it.
    pub(crate) fn set(&mut self, member: i64, value: Option<Value>) {
        self.0.retain(|(key, _)| *key != Value::from(member));
        self.0.extend(value.map(|value| (member.into(), value)));
    }

    /// Sets an option, or removes it.
    pub(crate) fn option(&mut self, name: &str, value: Option<bool>) {
        let options = self.0.iter_mut().find(|(key, _)| *key == Value::from(4)).unwrap();
        let Value::Map(options) = &mut options.1 else { panic!("options are a map") };
        options.retain(|(key, _)| key.as_text() != Some(name));
        options.extend(value.map(|value| (name.into(), value.into())));
    }

    /// The value of an option.
    pub(crate) fn has(&self, name: &str) -> Option<bool> {
        let options = self.0.iter().find(|(key, _)| *key == Value::from(4)).unwrap();
        let entries = options.1.as_map().unwrap();
        entries.iter().find(|(key, _)| key.as_text() == Some(name))?.1.as_bool()
    }
}

impl Dressed {
    /// The key behind `info`, which changes what it says of itself.
    pub(crate) fn new(key: &VirtualKey, info: impl FnMut(&mut Info) + Send + 'static) -> Self {
        Self {
            inner: DescriptorReports::open(&key.socket()).unwrap(),
            info: Box::new(info),
            request: Box::new(|command, parameters| (command, parameters)),
            asked: 0,
            from_host: Vec::new(),
            to_key: VecDeque::new(),
            from_key: Vec::new(),
            to_host: VecDeque::new(),
        }
    }

    /// Changes requests too.
    pub(crate) fn translating(mut self, request: Rewrite) -> Self {
        self.request = request;
        self
    }

    pub(crate) async fn open(self) -> Key {
        Key::open(self, timing()).await.unwrap()
    }

    fn rewrite_request(&mut self) {
        let (id, message) = joined(&std::mem::take(&mut self.from_host));
        let (command, body) = message.split_first().unwrap();
        let parameters = if body.is_empty() { Value::Null } else { cbor::decode(body).unwrap() };
        let (command, parameters) = (self.request)(*command, parameters);
        self.asked = command;
        let body = if parameters.is_null() { Vec::new() } else { cbor::encode(&parameters) };
        self.to_key.extend(split(id, &[&[command][..], &body].concat()));
    }

    fn rewrite_answer(&mut self) {
        let reports = std::mem::take(&mut self.from_key);
        let (id, message) = joined(&reports);
        if self.asked != GET_INFO || message.first() != Some(&0) {
            self.to_host.extend(reports);
            return;
        }
        let Value::Map(members) = cbor::decode(&message[1..]).unwrap() else { panic!("a map") };
        let mut info = Info(members);
        (self.info)(&mut info);
        let body = cbor::encode(&Value::Map(info.0));
        self.to_host.extend(split(id, &[&[0][..], &body].concat()));
    }
}

fn length(reports: &[Report]) -> usize {
    usize::from(u16::from_be_bytes([reports[0][5], reports[0][6]]))
}

fn is_whole(reports: &[Report]) -> bool {
    57 + 59 * (reports.len() - 1) >= length(reports)
}

fn joined(reports: &[Report]) -> ([u8; 4], Vec<u8>) {
    let mut message = reports[0][7..].to_vec();
    message.extend(reports[1..].iter().flat_map(|report| &report[5..]));
    message.truncate(length(reports));
    ([reports[0][0], reports[0][1], reports[0][2], reports[0][3]], message)
}

fn split(id: [u8; 4], message: &[u8]) -> Vec<Report> {
    let (head, rest) = message.split_at(message.len().min(57));
    let mut first = [0; 64];
    first[..4].copy_from_slice(&id);
    first[4] = CBOR;
    first[5..7].copy_from_slice(&(message.len() as u16).to_be_bytes());
    first[7..7 + head.len()].copy_from_slice(head);
    let next = rest.chunks(59).zip(0u8..).map(|(chunk, sequence)| {
        let mut report = [0; 64];
        report[..4].copy_from_slice(&id);
        report[4] = sequence;
        report[5..5 + chunk.len()].copy_from_slice(chunk);
        report
    });
    std::iter::once(first).chain(next).collect()
}

impl Reports for Dressed {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Report>> {
        while self.to_host.is_empty() {
            let report = ready!(self.inner.poll_receive(cx))?;
            if self.from_key.is_empty() && report[4] != CBOR {
                return Poll::Ready(Ok(report));
            }
            self.from_key.push(report);
            if is_whole(&self.from_key) {
                self.rewrite_answer();
            }
        }
        Poll::Ready(Ok(self.to_host.pop_front().unwrap()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, report: &Report) -> Poll<io::Result<()>> {
        // Asked again after the pipe was full: the report is in the queue already.
        if self.to_key.is_empty() {
            if self.from_host.is_empty() && report[4] != CBOR {
                return self.inner.poll_send(cx, report);
            }
            self.from_host.push(*report);
            if is_whole(&self.from_host) {
                self.rewrite_request();
            }
        }
        while let Some(next) = self.to_key.front() {
            ready!(self.inner.poll_send(cx, next))?;
            self.to_key.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    fn send_now(&mut self, report: &Report) -> io::Result<()> {
        self.from_host.clear();
        self.to_key.clear();
        self.inner.send_now(report)
    }
}
