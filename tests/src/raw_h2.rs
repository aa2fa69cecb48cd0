//! HTTP/2 over mutual TLS, written frame by frame (RFC 9113): no library refuses the header fields
//! that a hostile client sends.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use crate::raw_https::{RawClient, RawHttpsError};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A request as its fields and frames.
#[derive(Clone, Copy, Debug)]
pub struct H2Request<'a> {
    /// Pseudo-header fields and fields, in this order, as they are.
    pub fields: &'a [(&'a str, &'a str)],
    /// DATA frames.
    pub data: &'a [&'a str],
    /// Trailers; none when empty.
    pub trailers: &'a [(&'a str, &'a str)],
}

/// Sends one request on a new connection: its final status as far as that is in the static table
/// (others are 0), or `None` when the stream or connection was cut.
///
/// # Errors
/// [`RawHttpsError`] when there is no connection.
pub fn send(
    client: &RawClient,
    to: SocketAddr,
    request: &H2Request<'_>,
) -> Result<Option<u16>, RawHttpsError> {
    let mut stream = client.over_h2().connect(to)?;
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let (data, trailers) = (request.data, request.trailers);
    let end = |last: bool| if last { END_STREAM } else { 0 };
    let only = end(data.is_empty() && trailers.is_empty());
    bytes.extend(frame(HEADERS, END_HEADERS | only, 1, &block(request.fields)));
    for (number, piece) in data.iter().enumerate() {
        let last = end(number + 1 == data.len() && trailers.is_empty());
        bytes.extend(frame(DATA, last, 1, piece.as_bytes()));
    }
    if !trailers.is_empty() {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(trailers)));
    }
    stream.write_all(&bytes)?;
    stream.flush()?;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Ok(None);
        }
        let [a, b, c, kind, flags, _, _, _, id] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        if stream.read_exact(&mut payload).is_err() {
            return Ok(None);
        }
        match kind {
            SETTINGS if flags & ACK == 0 => acknowledge(&mut stream)?,
            RST_STREAM | GOAWAY => return Ok(None),
            HEADERS if id == 1 => return Ok(Some(status(&payload))),
            _ => {}
        }
    }
}

fn acknowledge(stream: &mut impl Write) -> io::Result<()> {
    stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
    stream.flush()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Fields as literals that are never indexed (RFC 7541 §6.2.3).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// A text without Huffman coding (RFC 7541 §5.1, §5.2).
fn text(block: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

/// `:status` where it is one of the static table's (RFC 7541 appendix A).
fn status(block: &[u8]) -> u16 {
    let first = block.iter().find(|byte| !(0x20..0x40).contains(*byte));
    match first {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}
