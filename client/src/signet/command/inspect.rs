//! `signet inspect`.

use serde_json::json;
use signet_client::inspection::{Document, MAX_INPUT, NOT_VERIFIED};

use super::files;
use crate::cli::Inspect;
use crate::failure::Failure;
use crate::output::{Output, Style};

pub(super) fn run(output: Output, options: &Inspect) -> Result<(), Failure> {
    let input = files::read(&options.file, MAX_INPUT)?;
    let outline = Document::read(&input)?.outline();
    if output.is_json() {
        return output.result(&json!({ "notice": NOT_VERIFIED, "content": outline }), "");
    }
    output.say(Some(Style::Bad), NOT_VERIFIED);
    output.line(&outline.to_string())
}
