//! The messages of `envoy.service.auth.v3` (Envoy's `external_auth.proto` and
//! `attribute_context.proto`, API v3): the fields that are used. Others are skipped; one of these
//! that is there twice is refused.

use super::protobuf::{Fields, Malformed, Message, Once, Value};

/// Overwrite the header, or add it (`HeaderValueOption.HeaderAppendAction`).
const OVERWRITE_IF_EXISTS_OR_ADD: u64 = 2;

/// `CheckRequest.attributes`: what Envoy says of one HTTP request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes<'a> {
    /// `source.certificate`: the handshake's leaf, PEM, percent-encoded; empty without
    /// `include_peer_certificate`.
    pub(super) certificate: &'a str,
    /// `source.address.socket_address.address`: the client's IP address.
    pub(super) address: &'a str,
    /// `request.http.method`.
    pub(super) method: &'a str,
    /// `request.http.path`: raw, with the query.
    pub(super) path: &'a str,
    /// `request.http.host`: `:authority`.
    pub(super) host: &'a str,
    /// The body when Envoy passes it as bytes (`pack_as_bytes`); `None` when it passes it as text.
    pub(super) body: Option<&'a [u8]>,
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Attributes<'a> {
    /// Reads a `CheckRequest`.
    ///
    /// # Errors
    /// [`Malformed`]; also when it is not about an HTTP request.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let [attributes] = once(Fields::of(message), [1])?;
        let [source, request] = once(attributes.fields(), [1, 4])?;
        let [address, certificate] = once(source.fields(), [1, 5])?;
        let [socket] = once(address.fields(), [1])?;
        let [address] = once(socket.fields(), [2])?;
        let [http] = once(request.fields(), [2])?;
        if !http.is_there() {
            return Err(Malformed);
        }
        let [method, path, host, text, body, map] = once(http.fields(), [2, 4, 5, 11, 12, 13])?;
        // With `encode_raw_headers` every value stands by itself; without, the values of one name
        // are joined with commas.
        let headers =
            if map.is_there() { entries(map.fields(), 1)? } else { entries(http.fields(), 3)? };
        Ok(Self {
            certificate: certificate.text()?,
            address: address.text()?,
            method: method.text()?,
            path: path.text()?,
            host: host.text()?,
            body: text.bytes().is_empty().then_some(body.bytes()),
            headers,
        })
    }

    /// Every value of a header, by its lower-case name.
    pub(super) fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self.headers.iter().filter(|(found, _)| *found == name);
        named.map(|(_, value)| *value).collect()
    }
}

/// The fields of these numbers, each at most once.
fn once<const N: usize>(fields: Fields<'_>, numbers: [u64; N]) -> Result<[Once<'_>; N], Malformed> {
    let mut found = [Once::default(); N];
    for field in fields {
        let (number, value) = field?;
        if let Some(place) = numbers.iter().position(|wanted| *wanted == number) {
            found[place].set(value)?;
        }
    }
    Ok(found)
}

/// Names and values of headers: `HeaderValue`, and the entries of a map, which look like it.
fn entries<'a>(fields: Fields<'a>, wanted: u64) -> Result<Vec<(&'a str, &'a [u8])>, Malformed> {
    let mut headers = Vec::new();
    for field in fields {
        let (number, value) = field?;
        if number != wanted {
            continue;
        }
        let Value::Bytes(entry) = value else { return Err(Malformed) };
        let [name, value, raw] = once(Fields::of(entry), [1, 2, 3])?;
        let value = if raw.is_there() { raw } else { value };
        headers.push((name.text()?, value.bytes()));
    }
    Ok(headers)
}

/// A `CheckResponse` that lets the request pass: sets these headers, removes those, and leaves the
/// texts as dynamic metadata for Envoy's other filters and its access log.
pub(super) fn permitted(
    headers: &[(String, String)],
    remove: &[&str],
    metadata: &[(&str, &str)],
) -> Message {
    let ok = headers.iter().fold(Message::default(), |ok, header| ok.with(2, set(header)));
    let ok = remove.iter().fold(ok, |ok, name| ok.with(5, name));
    // google.protobuf.Struct: a map of names and Values, of which 3 is a text.
    let structure = metadata.iter().fold(Message::default(), |all, (name, text)| {
        all.with(1, Message::default().with(1, name).with(2, Message::default().with(3, text)))
    });
    // google.rpc.Status without a code is OK.
    Message::default().with(1, "").with(3, ok).with(4, structure)
}

/// A `CheckResponse` that answers the client in the upstream's place.
pub(super) fn denied(status: u16, headers: &[(String, String)], body: &[u8]) -> Message {
    const PERMISSION_DENIED: u64 = 7;
    let code = Message::default().with_number(1, status.into());
    let answer = headers
        .iter()
        .fold(Message::default().with(1, code), |answer, header| answer.with(2, set(header)))
        .with(3, body);
    Message::default().with(1, Message::default().with_number(1, PERMISSION_DENIED)).with(2, answer)
}

/// `HeaderValueOption`: sets a header, whatever was there.
fn set((name, value): &(String, String)) -> Message {
    let header = Message::default().with(1, name).with(2, value);
    Message::default().with(1, header).with_number(3, OVERWRITE_IF_EXISTS_OR_ADD)
}

/// A question as Envoy asks it, for tests.
#[cfg(test)]
pub(super) fn question(http: Message, certificate: &str) -> Message {
    let socket = Message::default().with(2, "192.0.2.7").with_number(3, 4711);
    let address = Message::default().with(1, socket);
    let source = Message::default().with(1, address).with(5, certificate);
    let request = Message::default().with(2, http);
    Message::default().with(1, Message::default().with(1, source).with(4, request))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(name: &str, value: &str) -> Message {
        Message::default().with(1, name).with(2, value)
    }

    fn http() -> Message {
        Message::default().with(1, "id").with(2, "PUT").with(4, "/a?b").with(5, "mesh.example")
    }

    #[test]
    fn everything_that_counts_is_read() {
        let joined = http().with(3, header("authorization", "a,b")).with_number(9, 3);
        let message = question(joined.clone().with(12, "xyz"), "PEM");
        let read = Attributes::read(message.as_ref()).unwrap();
        assert_eq!((read.certificate, read.address), ("PEM", "192.0.2.7"));
        assert_eq!(read.method, "PUT");
        assert_eq!((read.path, read.host), ("/a?b", "mesh.example"));
        assert_eq!(read.body, Some(&b"xyz"[..]));
        assert_eq!(read.values("authorization"), [b"a,b"]);
        assert_eq!(read.values("cookie"), [] as [&[u8]; 0]);
        // The raw headers take the place of the joined ones.
        let raw = |value: &[u8]| Message::default().with(1, "authorization").with(3, value);
        let map = Message::default().with(1, raw(b"a")).with(1, raw(&[0xff]));
        let message = question(joined.with(13, map), "");
        let read = Attributes::read(message.as_ref()).unwrap();
        assert_eq!(read.values("authorization"), [&b"a"[..], &[0xff]]);
        let text = question(http().with(11, "xyz"), "");
        assert_eq!(Attributes::read(text.as_ref()).unwrap().body, None);
    }

    #[test]
    fn what_is_there_twice_or_not_text_is_refused() {
        let wrong = [
            question(http().with(4, "/c"), ""),
            question(http().with(2, "GET"), ""),
            question(http().with(5, "other"), ""),
            question(http().with(12, "x").with(12, "y"), ""),
            question(http().with(3, header("a", "b").with(2, "c")), ""),
            question(Message::default().with(2, [0xff]), ""),
            Message::default().with(1, Message::default().with(4, "")),
            Message::default(),
        ];
        for message in wrong {
            assert_eq!(Attributes::read(message.as_ref()), Err(Malformed), "{message:?}");
        }
        let message = question(http(), "");
        let twice = [message.as_ref(), message.as_ref()].concat();
        assert_eq!(Attributes::read(&twice), Err(Malformed));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..64) {
            let _ = Attributes::read(&bytes);
            let mut message = question(http(), "PEM").as_ref().to_vec();
            let at = at % message.len();
            message.splice(at..at, bytes);
            let _ = Attributes::read(&message);
        }
    }
}
