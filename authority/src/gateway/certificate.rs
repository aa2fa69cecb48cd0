//! The client's certificate as a gateway reports it: one source for each gateway, exactly one value,
//! one reading. What else a request says of certificates is never looked at.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use signet_evidence::{CertificateThumbprint, RejectionCode};
use signet_verifier::Rejection;
use signet_verifier::certificate::Certificate;

use super::request::QuestionFault;
use crate::config::PeerCertificateSource;
use crate::percent;

/// Longest report that is looked at, in bytes; device certificates have about 600.
const MAX_REPORT: usize = 16 * 1024;
/// The lines around a certificate in PEM (RFC 7468 §5.1).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----";

/// SHA-256 of the one certificate that `values` report in the form of `source`.
///
/// # Errors
/// `certificate-missing`: none, several, or one that is not strictly of that form.
pub(super) fn thumbprint(
    source: PeerCertificateSource,
    values: &[&[u8]],
) -> Result<CertificateThumbprint, Rejection> {
    let found = match values {
        [] => return Err(RejectionCode::CertificateMissing.into()),
        [value] if value.len() <= MAX_REPORT => {
            std::str::from_utf8(value).ok().and_then(|text| read(source, text))
        }
        _ => None,
    };
    found.ok_or_else(|| Rejection::because(RejectionCode::CertificateMissing, QuestionFault::Peer))
}

/// One report in the form of `source`; `None` for anything else.
#[must_use]
pub fn read(source: PeerCertificateSource, text: &str) -> Option<CertificateThumbprint> {
    match source {
        PeerCertificateSource::Sha256Header => CertificateThumbprint::from_hex(text),
        PeerCertificateSource::XfccJson => xfcc_hash(text),
        PeerCertificateSource::EscapedPem | PeerCertificateSource::Attributes => {
            of_certificate(&pem(&percent::decoded(text)?)?)
        }
        PeerCertificateSource::DerBase64 => of_certificate(&STANDARD.decode(text).ok()?),
    }
}

/// Of bytes that are one X.509 certificate and nothing behind it.
fn of_certificate(der: &[u8]) -> Option<CertificateThumbprint> {
    Certificate::parse(der).ok().map(|certificate| certificate.thumbprint())
}

/// One element of Envoy's `x-forwarded-client-cert` in JSON. Members that may stand beside the hash
/// are of no interest here, and so their values are not looked into.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct XfccElement {
    hash: String,
    #[serde(default, rename = "by")]
    _by: serde::de::IgnoredAny,
    #[serde(default, rename = "uri")]
    _uri: serde::de::IgnoredAny,
    #[serde(default, rename = "dns")]
    _dns: serde::de::IgnoredAny,
    #[serde(default, rename = "subject")]
    _subject: serde::de::IgnoredAny,
    #[serde(default, rename = "cert")]
    _cert: serde::de::IgnoredAny,
    #[serde(default, rename = "chain")]
    _chain: serde::de::IgnoredAny,
}

/// The hash in a list of exactly one element: with several hops one cannot know whose is meant.
fn xfcc_hash(text: &str) -> Option<CertificateThumbprint> {
    let [element]: [XfccElement; 1] = serde_json::from_str(text).ok()?;
    CertificateThumbprint::from_hex(&element.hash)
}

/// The bytes of exactly one certificate in PEM, with nothing before, between or behind.
fn pem(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let inside = text.strip_prefix(BEGIN)?.strip_suffix(END)?.strip_suffix('\n')?;
    let lines: Vec<&str> = inside.split('\n').collect();
    // All lines but the last are of one length: no line can hide in another.
    let (last, full) = lines.split_last()?;
    if full.iter().any(|line| line.len() != 64) || last.len() > 64 {
        return None;
    }
    STANDARD.decode(lines.concat()).ok()
}

#[cfg(test)]
mod tests {
    use PeerCertificateSource::{Attributes, DerBase64, EscapedPem, Sha256Header, XfccJson};
    use proptest::prelude::*;

    use super::*;

    const SOURCES: [PeerCertificateSource; 5] =
        [Sha256Header, XfccJson, EscapedPem, DerBase64, Attributes];

    fn certificate() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["peer".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn armour(der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("{BEGIN}{}\n{END}\n", lines.join("\n"))
    }

    /// As nginx and Envoy do it: everything but unreserved characters.
    fn escape(text: &str) -> String {
        let escaped = |byte: u8| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(escaped).collect()
    }

    fn report(source: PeerCertificateSource, der: &[u8]) -> String {
        let hex = CertificateThumbprint::of_der(der).to_hex();
        match source {
            Sha256Header => hex,
            XfccJson => format!(r#"[{{"hash":"{hex}","uri":["spiffe://x/y;Hash=bb"]}}]"#),
            EscapedPem | Attributes => escape(&armour(der)),
            DerBase64 => STANDARD.encode(der),
        }
    }

    #[test]
    fn each_form_names_the_certificate() {
        let der = certificate();
        let expected = CertificateThumbprint::of_der(&der);
        for source in SOURCES {
            let text = report(source, &der);
            assert_eq!(thumbprint(source, &[text.as_bytes()]).unwrap(), expected, "{source:?}");
        }
    }

    #[test]
    fn no_form_is_taken_for_another() {
        let der = certificate();
        for source in SOURCES {
            for other in SOURCES {
                let same = source == other
                    || [source, other].iter().all(|one| [EscapedPem, Attributes].contains(one));
                let read = read(source, &report(other, &der));
                assert_eq!(read.is_some(), same, "{source:?} reads {other:?}");
            }
        }
    }

    #[test]
    fn none_and_several_are_refused() {
        let der = certificate();
        for source in SOURCES {
            let text = report(source, &der);
            let value = text.as_bytes();
            let chain = |values: &[&[u8]]| thumbprint(source, values).unwrap_err().chain();
            let several =
                "certificate-missing: the gateway does not report exactly one client certificate";
            assert_eq!(chain(&[]), "certificate-missing");
            assert_eq!(chain(&[value, value]), several);
            assert_eq!(chain(&[b""]), several);
            for separator in [",", ", ", " ", "\n", ""] {
                let joined = format!("{text}{separator}{text}");
                assert_eq!(chain(&[joined.as_bytes()]), several, "{source:?} {separator:?}");
            }
            let long = format!("{text}{}", " ".repeat(MAX_REPORT));
            assert_eq!(chain(&[long.as_bytes()]), several);
        }
    }

    #[test]
    fn xfcc_is_one_element_with_one_hash() {
        let hex = "11".repeat(32);
        let good = format!(r#"[{{"hash":"{hex}"}}]"#);
        assert!(read(XfccJson, &good).is_some());
        let wrong = [
            format!("Hash={hex}"),
            format!(r#"{{"hash":"{hex}"}}"#),
            "[]".to_owned(),
            "[{}]".to_owned(),
            format!(r#"[{{"hash":"{hex}"}},{{"hash":"{hex}"}}]"#),
            format!(r#"[{{"hash":"{hex}","hash":"{hex}"}}]"#),
            format!(r#"[{{"hash":"{hex}","Hash":"{hex}"}}]"#),
            format!(r#"[{{"Hash":"{hex}"}}]"#),
            format!(r#"[{{"hash":["{hex}"]}}]"#),
            format!(r#"[{{"hash":"{}"}}]"#, &hex[1..]),
            format!(r#"[{{"hash":"{hex}"}}]x"#),
            format!(r#"[["{hex}",1,1,1,1,1,1]]x"#),
        ];
        for text in wrong {
            assert_eq!(read(XfccJson, &text), None, "{text}");
        }
    }

    #[test]
    fn pem_is_one_certificate_and_nothing_else() {
        let der = certificate();
        let good = armour(&der);
        let inside = good.strip_prefix(BEGIN).unwrap();
        let wrong = [
            format!("x{good}"),
            format!("{good}\n"),
            format!("{good}{good}"),
            format!("Subject: x\n{good}"),
            good.replace('\n', "\r\n"),
            good.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            format!("{BEGIN}Proc-Type: 4\n\n{inside}"),
            format!("{BEGIN}\n{inside}"),
            format!("{BEGIN}{END}\n"),
            armour(&[der.as_slice(), &[0]].concat()),
            armour(&der[..der.len() - 1]),
        ];
        for text in wrong {
            assert_eq!(read(EscapedPem, &escape(&text)), None, "{text}");
        }
        assert_eq!(read(EscapedPem, &good).map(|_| ()), Some(()));
        assert_eq!(read(EscapedPem, &format!("{good}%")), None);
        assert_eq!(read(EscapedPem, &format!("{good}%0")), None);
        assert_eq!(read(EscapedPem, &format!("{good}%+1")), None);
    }

    proptest! {
        /// Whatever comes, nothing panics, and what is read is read as one thing only.
        #[test]
        fn anything_is_read_once_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = String::from_utf8_lossy(&bytes);
            for source in SOURCES {
                if read(source, &text).is_some() {
                    prop_assert_eq!(source, Sha256Header);
                }
            }
        }

        /// One changed byte names another certificate, or none.
        #[test]
        fn a_changed_report_is_another_or_none(at in 0usize..4096, to in any::<u8>()) {
            let der = certificate();
            let expected = CertificateThumbprint::of_der(&der);
            for source in [EscapedPem, DerBase64] {
                let mut bytes = report(source, &der).into_bytes();
                let at = at % bytes.len();
                let before = bytes[at];
                bytes[at] = to;
                let read = std::str::from_utf8(&bytes).ok().and_then(|text| read(source, text));
                // Hex digits of an escape have two cases; nothing else has two forms.
                if !before.eq_ignore_ascii_case(&to) {
                    prop_assert_ne!(read, Some(expected), "{:?} at {}", source, at);
                }
            }
        }
    }
}
