//! An answer over HTTP, printed.

use std::process::ExitCode;

use base64::Engine as _;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::{Output, Style};

/// Prints an answer; the exit code says which kind it is.
pub(super) fn print(
    output: Output,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<ExitCode, Failure> {
    if output.is_json() {
        let text = std::str::from_utf8(body).ok();
        let encoded =
            text.is_none().then(|| base64::engine::general_purpose::STANDARD.encode(body));
        let result = json!({
            "status": status.as_u16(),
            "headers": listed(headers),
            "body": text,
            "body_base64": encoded,
        });
        output.result(&result, "")?;
    } else {
        let style = if status.is_success() { Style::Good } else { Style::Bad };
        output.say(Some(style), &format!("{status}"));
        output.bytes(body)?;
    }
    Ok(ExitCode::from(match status.as_u16() {
        ..400 => 0,
        400..500 => 1,
        _ => 3,
    }))
}

/// Header values by name; several values of one name are joined (RFC 9110 §5.3).
fn listed(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        map.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    Value::Object(map)
}
