//! What is about to be approved, as the person reads it.

use signet_evidence::Action;

use crate::output::{Output, Style};

/// What is about to be approved, before the touch.
pub(crate) fn show(output: Output, action: &Action) {
    let details = action.details();
    let location = details.locations.first().map(String::as_str).unwrap_or_default();
    output.say(Some(Style::Ask), &format!("You approve {}", details.actions.join(", ")));
    output.say(None, &format!("  {} {location}{}", details.method, details.path));
    output.say(Some(Style::Faint), &format!("  body {}", details.content_digest));
}
