//! Server-sent events (HTML §9.2) as the authority sends them: `id`, `event`, one line of `data`.

use thiserror::Error;

/// Longest event that is read, in bytes: many times the longest that an authority sends.
const LONGEST: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Bytes that are no events of ours.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum EventFault {
    /// Longer than any.
    #[error("an event is longer than any should be")]
    TooLong,
    /// Not text.
    #[error("an event is not text")]
    NotText,
}

/// Takes bytes as they come and gives events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    bytes: Vec<u8>,
    /// Up to here no end of an event was found.
    searched: usize,
}

impl Events {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), EventFault> {
        self.bytes.extend_from_slice(bytes);
        // Whole events are taken out before more is read: what is left is a part of one.
        if self.bytes.len() > LONGEST.saturating_add(bytes.len()) {
            return Err(EventFault::TooLong);
        }
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, EventFault> {
        let from = self.searched.saturating_sub(1);
        let rest = self.bytes.get(from..).unwrap_or_default();
        let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let rest = self.bytes.split_off(from + end + 2);
        let whole = std::mem::replace(&mut self.bytes, rest);
        self.searched = 0;
        let text = std::str::from_utf8(&whole).map_err(|_| EventFault::NotText)?;
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
            let value = lines.next().and_then(|value| value.strip_prefix(':')).unwrap_or_default();
            value.strip_prefix(' ').unwrap_or(value).to_owned()
        };
        Ok(Some(Event { id: field("id"), name: field("event"), data: field("data") }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, name: &str, data: &str) -> Event {
        Event { id: id.into(), name: name.into(), data: data.into() }
    }

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let sent =
            b"id: a-1\nevent: hello\ndata: {\"x\":\"id: y\"}\n\nid: a-2\nevent: keys\ndata: 1\n\n";
        let expected = [event("a-1", "hello", "{\"x\":\"id: y\"}"), event("a-2", "keys", "1")];
        for size in 1..=sent.len() {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for piece in sent.chunks(size) {
                events.push(piece).unwrap();
                while let Some(event) = events.next().unwrap() {
                    found.push(event);
                }
            }
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = Events::default();
        let piece = [b'x'; 4096];
        let fault = (0..1000).find_map(|_| {
            let pushed = events.push(&piece).err();
            assert_eq!(events.next(), Ok(None));
            pushed
        });
        assert_eq!(fault, Some(EventFault::TooLong));
        let mut events = Events::default();
        events.push(b"data: \xff\n\n").unwrap();
        assert_eq!(events.next(), Err(EventFault::NotText));
    }
}
