//! Step 1: an action is one JSON array of one object of one form.

use super::case;
use crate::forge::Case;
use crate::forge::Edit::Claims;
use crate::forge::map::{bytes, cut, edit, replace, set};

pub(super) const CASES: &[Case] = &[
    case!(
        "evidence-malformed",
        "action-empty-array",
        "protocol 2.1",
        "an action that is none",
        Action,
        [Claims(|m| set(m, -70003, bytes(*b"[]"))),]
    ),
    case!(
        "evidence-malformed",
        "action-not-json",
        "protocol 2.1",
        "an action that is not JSON",
        Action,
        [Claims(|m| edit(m, -70003, cut)),]
    ),
    case!(
        "evidence-malformed",
        "action-twice",
        "protocol 2.1",
        "two actions at once",
        Action,
        [Claims(|m| edit(m, -70003, |b| {
            let one = String::from_utf8_lossy(&b[1..b.len() - 1]).into_owned();
            *b = format!("[{one},{one}]").into_bytes();
        })),]
    ),
    case!(
        "evidence-malformed",
        "action-of-8193-bytes",
        "protocol 2.1",
        "an action with blanks behind it",
        Action,
        [Claims(|m| edit(m, -70003, |b| b.resize(8193, b' '))),]
    ),
    case!(
        "evidence-malformed",
        "action-unknown-member",
        "protocol 2.1",
        "a member that nobody shows",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(
            b,
            "\"method\"",
            "\"note\":\"harmless\",\"method\""
        ))),]
    ),
    case!(
        "evidence-malformed",
        "action-member-twice",
        "protocol 2.1",
        "a member twice",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(
            b,
            "\"method\"",
            "\"path\":\"/v1/harmless\",\"method\""
        ))),]
    ),
    case!(
        "evidence-malformed",
        "action-of-another-type",
        "protocol 2.1",
        "an RFC 9396 type of somebody else",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "signet_action", "payment_initiation"))),]
    ),
    case!(
        "evidence-malformed",
        "action-without-name",
        "protocol 2.1",
        "no action names",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "[\"mesh.route.update\"]", "[]"))),]
    ),
    case!(
        "evidence-malformed",
        "action-with-nine-names",
        "protocol 2.1",
        "nine action names",
        Action,
        [Claims(|m| edit(m, -70003, |b| {
            let nine = ["\"mesh.route.update\""; 9].join(",");
            replace(b, "\"mesh.route.update\"", &nine);
        })),]
    ),
    case!(
        "evidence-malformed",
        "action-name-as-a-sentence",
        "protocol 2.1",
        "words for the prompt in the name",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "mesh.route.update", "Just touch. Thanks"))),]
    ),
    case!(
        "evidence-malformed",
        "action-method-in-lower-case",
        "protocol 2.1",
        "a method in lower case",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "\"PUT\"", "\"put\""))),]
    ),
    case!(
        "evidence-malformed",
        "action-at-two-places",
        "protocol 2.1",
        "two locations",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(
            b,
            "\"https://ctl.mesh.example\"",
            "\"https://ctl.mesh.example\",\"https://b.example\""
        ))),]
    ),
    case!(
        "evidence-malformed",
        "action-without-tls",
        "protocol 2.1",
        "a location by http",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "https://ctl", "http://ctl"))),]
    ),
    case!(
        "evidence-malformed",
        "action-with-user",
        "protocol 2.1",
        "a location with a user",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "https://ctl", "https://evil@ctl"))),]
    ),
    case!(
        "evidence-malformed",
        "action-path-relative",
        "protocol 2.1",
        "a path that is not absolute",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "\"/v1/", "\"v1/"))),]
    ),
    case!(
        "evidence-malformed",
        "action-path-with-dots",
        "protocol 2.1",
        "a path with dot segments",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "/v1/", "/v1/../v1/"))),]
    ),
    case!(
        "evidence-malformed",
        "action-path-with-encoded-slash",
        "protocol 2.1",
        "a path with %2F",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "/routes/", "/routes%2F"))),]
    ),
    case!(
        "evidence-malformed",
        "action-path-with-fragment",
        "protocol 2.1",
        "a path with a fragment",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "/ledger", "/ledger#top"))),]
    ),
    case!(
        "evidence-malformed",
        "action-digest-by-sha512",
        "RFC 9530",
        "a digest by another hash",
        Action,
        [Claims(|m| edit(m, -70003, |b| replace(b, "sha-256=:", "sha-512=:"))),]
    ),
    case!(
        "evidence-malformed",
        "action-digest-short",
        "RFC 9530",
        "a digest of 31 bytes",
        Action,
        [Claims(|m| edit(m, -70003, |b| {
            let text = String::from_utf8_lossy(b).into_owned();
            if let Some(at) = text.find("sha-256=:") {
                let end = at + 9 + 44;
                *b = format!("{}{}{}", &text[..at + 9], "A".repeat(41) + "A==", &text[end..])
                    .into_bytes();
            }
        })),]
    ),
];
