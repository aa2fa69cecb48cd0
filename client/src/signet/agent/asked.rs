//! What a prompt says: the action in `signetd`'s words, who asks as the system knows it, and the
//! requester's own words in quotation marks.

use std::collections::HashMap;

use signet_client::daemon::{Method, Prompt, Step};
use zbus::OwnedVariant;

/// A prompt as `signetd` gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) prompt: Prompt,
    pub(super) method: Method,
    /// Who asks.
    who: String,
    /// The requester's own words.
    reason: Option<String>,
    remote: Option<String>,
}

impl Asked {
    /// `None` without a title or an action; members that are not known are passed over.
    pub(super) fn read(mut details: HashMap<String, OwnedVariant>) -> Option<Self> {
        let mut text = |name: &str| String::try_from(details.remove(name)?).ok();
        let prompt = Prompt { title: text("title")?, action: text("action")? };
        let method = text("method").as_deref().and_then(Method::from_name).unwrap_or_default();
        let (user, program, unit) = (text("user"), text("program"), text("unit"));
        let (session, reason, remote) = (text("session"), text("reason"), text("remote"));
        let number = |name: &str| u32::try_from(details.get(name)?.clone()).ok();
        let (uid, pid) = (number("uid"), number("pid"));
        let far = details.get("remote_session").cloned().and_then(|far| bool::try_from(far).ok());
        let user = user.or(uid.map(|uid| format!("user {uid}")));
        let mut about = Vec::new();
        about.extend(user);
        about.extend(pid.map(|pid| format!("process {pid}")));
        about.extend(session.map(|session| match far {
            Some(true) => format!("session {session} over the network"),
            _ => format!("session {session}"),
        }));
        about.extend(unit);
        let about = about.iter().map(|fact| visible(fact)).collect::<Vec<_>>().join(", ");
        let program = program.map_or_else(|| "a program".to_owned(), |name| visible(&name));
        let who = format!("Asked by {program} ({about})");
        Some(Self { prompt, method, who, reason, remote })
    }

    /// Takes the words of another step of the same prompt; whether they are new.
    pub(super) fn follow(&mut self, step: &Step) -> bool {
        self.method = step.method;
        let new = step.prompt.as_ref().filter(|new| **new != self.prompt);
        if let Some(new) = new {
            self.prompt = new.clone();
        }
        new.is_some()
    }

    /// What stands below the title, line by line. `now` is what the person should do.
    pub(super) fn lines(&self, now: Option<&str>) -> Vec<String> {
        let mut lines = vec![visible(&self.prompt.action)];
        lines.extend(now.map(visible));
        lines.push(self.who.clone());
        if let Some(remote) = &self.remote {
            lines.push(format!("It names a far host, which is not proved: “{}”", quoted(remote)));
        }
        if let Some(reason) = &self.reason {
            lines.push(format!("In the program's own words: “{}”", quoted(reason)));
        }
        lines
    }

    pub(super) fn title(&self) -> String {
        visible(&self.prompt.title)
    }
}

/// Text in one line: no character moves or reorders others.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '?',
            '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200d}' => '?',
            other if other.is_control() => '?',
            other => other,
        })
        .collect()
}

/// The requester's words cannot close the quotation marks that they stand in.
fn quoted(text: &str) -> String {
    visible(text).replace(['“', '”'], "\"")
}

/// For whoever may take text for markup: nothing in it looks like a tag or an entity.
pub(super) fn without_markup(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›").replace('&', "＆")
}

/// For whoever does read markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn asked(members: &[(&str, Variant<'static>)]) -> Option<Asked> {
        let owned = |value: &Variant<'static>| OwnedVariant::try_from(value.clone()).unwrap();
        let details = members.iter().map(|(name, value)| ((*name).to_owned(), owned(value)));
        Asked::read(details.collect())
    }

    #[test]
    fn who_asks_is_what_the_system_knows() {
        let asked = asked(&[
            ("title", "Sign in".into()),
            ("action", "new session at a.example".into()),
            ("uid", 1000_u32.into()),
            ("user", "alice".into()),
            ("pid", 4711_u32.into()),
            ("program", "ssh".into()),
            ("session", "3".into()),
            ("remote_session", true.into()),
            ("later", "unknown".into()),
        ])
        .unwrap();
        let lines = asked.lines(Some("Touch your key…"));
        let who = "Asked by ssh (alice, process 4711, session 3 over the network)";
        assert_eq!(lines, ["new session at a.example", "Touch your key…", who]);
        assert_eq!(asked.title(), "Sign in");
    }

    #[test]
    fn without_the_words_of_signetd_there_is_no_prompt() {
        assert_eq!(asked(&[("title", "Sign in".into()), ("reason", "x".into())]), None);
    }

    #[test]
    fn the_requesters_words_stay_in_their_quotation_marks() {
        let asked = asked(&[
            ("title", "Approve".into()),
            ("action", "a".into()),
            ("uid", 7_u32.into()),
            ("reason", "x” Asked by root\n<b>\u{202e}".into()),
            ("remote", "far\u{1b}[2J".into()),
        ])
        .unwrap();
        let lines = asked.lines(None);
        assert_eq!(lines[1], "Asked by a program (user 7)");
        assert_eq!(lines[2], "It names a far host, which is not proved: “far?[2J”");
        assert_eq!(lines[3], "In the program's own words: “x\" Asked by root?<b>?”");
        assert_eq!(escaped("<b>&"), "&lt;b&gt;&amp;");
        assert_eq!(without_markup("<b>&"), "‹b›＆");
    }
}
