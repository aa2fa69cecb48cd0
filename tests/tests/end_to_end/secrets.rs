//! No log holds a secret: the whole demonstration and a login by PIN with every log at level `trace`, and
//! then a search for each secret that came into being.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use signet_tests::demo::{Stage, Step};
use signet_tests::house::{House, PIN};
use signet_tests::kept;

/// Says to the test below that it plays, and where it copies the keys to.
const KEYS: &str = "SIGNET_KEEP_KEYS";

/// A secret, in the forms in which a program could write it.
struct Secret {
    what: String,
    forms: Vec<String>,
    /// Short ones stand for themselves only as a whole word.
    word: bool,
}

impl Secret {
    fn text(what: impl Into<String>, text: &str) -> Self {
        let mut forms = Self::bytes("", text.as_bytes()).forms;
        forms.push(text.to_owned());
        Self { what: what.into(), forms, word: text.len() < 12 }
    }

    fn bytes(what: impl Into<String>, bytes: &[u8]) -> Self {
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let hex = |format: fn(&u8) -> String| bytes.iter().map(format).collect::<String>();
        let forms = vec![
            hex(|byte| format!("{byte:02x}")),
            hex(|byte| format!("{byte:02X}")),
            list.join(", "),
            STANDARD.encode(bytes).trim_end_matches('=').to_owned(),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        Self { what: what.into(), forms, word: bytes.len() < 12 }
    }

    /// The line that holds it.
    fn found_in<'a>(&self, text: &'a str) -> Option<&'a str> {
        let is_whole = |at: usize, form: &str| {
            let beside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            !self.word
                || !(beside(text[..at].chars().next_back())
                    || beside(text[at + form.len()..].chars().next()))
        };
        let hit = |form: &String| {
            text.match_indices(form.as_str()).find(|(at, _)| is_whole(*at, form)).map(|hit| hit.0)
        };
        let at = self.forms.iter().find_map(hit)?;
        let begins = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        Some(text[begins..].lines().next().unwrap_or_default())
    }
}

/// Every file of keys: the bytes that PEM holds, and the text of anything else.
fn keys(folder: &Path) -> Vec<Secret> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        match String::from_utf8(bytes.clone()) {
            Ok(text) if text.contains("-----BEGIN") => {
                // A line of Base64 each, and the key's own bytes.
                let lines = text.lines().filter(|line| !line.starts_with('-'));
                all.extend(
                    lines.filter(|line| line.len() > 20).map(|line| Secret::text(&name, line)),
                );
                let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
                // PKCS#8 of Ed25519 and of P-256 hold 32 secret bytes: at offsets 16 and 36.
                let der = STANDARD.decode(body).unwrap_or_default();
                let at = if der.len() < 60 { 16 } else { 36 };
                if let Some(secret) = der.get(at..at + 32) {
                    all.push(Secret::bytes(&name, secret));
                }
            }
            Ok(text) => all.push(Secret::text(&name, text.trim())),
            Err(_) => all.push(Secret::bytes(&name, &bytes)),
        }
    }
    all
}

/// Every ticket and token in the JSON that programs gave to whoever asked.
fn given(output: &str) -> Vec<Secret> {
    let members = ["ticket", "access_token"];
    let found: BTreeSet<(&str, &str)> = members
        .into_iter()
        .flat_map(|name| {
            let begins = format!("\"{name}\":");
            let found: Vec<_> = output.split(begins.as_str()).skip(1).collect();
            found
                .into_iter()
                .filter_map(move |rest| Some((name, rest.trim_start().strip_prefix('"')?)))
        })
        .filter_map(|(name, rest)| Some((name, rest.split_once('"')?.0)))
        .filter(|(_, text)| text.len() >= 16)
        .collect();
    found.into_iter().map(|(name, text)| Secret::text(name, text)).collect()
}

/// Tokens that nobody printed: three parts of base64url, the first of which begins as JSON does.
fn tokens(text: &str) -> Vec<&str> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    text.split(|c: char| !part(c))
        .filter(|word| word.starts_with("eyJ"))
        .filter(|word| {
            let parts: Vec<_> = word.split('.').collect();
            parts.len() == 3 && parts[1].starts_with("eyJ") && parts[2].len() > 40
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_holds_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let keys_folder = folder.path().join("keys");
    std::fs::create_dir(&keys_folder).unwrap();
    // A process of its own: what it starts inherits how much it is to say.
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "secrets::played_where_everything_is_kept", "--nocapture"]);
    command.env("SIGNET_LOG", "trace").env("RUST_LOG", "trace").env("NO_COLOR", "1");
    command.env(kept::FOLDER, folder.path()).env(KEYS, &keys_folder).kill_on_drop(true);
    let played = command.stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{said}{}", String::from_utf8_lossy(&played.stderr));

    let read = |name: &str| {
        String::from_utf8_lossy(&std::fs::read(folder.path().join(name)).unwrap()).into_owned()
    };
    let (errors, output) = (read("errors"), read("output"));
    let mut secrets = keys(&keys_folder);
    secrets.extend(given(&output));
    secrets.push(Secret::text("PIN", PIN));
    let of = |what: &str| secrets.iter().filter(|secret| secret.what == what).count();
    // What was made is looked for: otherwise nothing would be found for want of anything to find.
    let made = ["ticket", "access_token", "PIN"].map(of);
    assert!(made.iter().zip([2, 1, 1]).all(|(found, least)| *found >= least), "{made:?}");
    for key in ["token.key", "integrity.key", "challenge.key", "device-ca.key", "log.key"] {
        assert!(of(key) >= 1, "{key}");
    }
    // The logs are those of level trace, of both services.
    for service in ["signet_authority", "signet_ctap", "sqlx"] {
        let lines = errors.lines().filter(|line| line.contains("TRACE") || line.contains("DEBUG"));
        assert!(lines.clone().any(|line| line.contains(service)), "{service} said nothing");
    }
    let mut leaks: Vec<String> = secrets
        .iter()
        .filter_map(|secret| Some(format!("{}: {}", secret.what, secret.found_in(&errors)?)))
        .collect();
    leaks.extend(tokens(&errors).into_iter().map(|token| format!("a token: {token}")));
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));

    // The canary: the same search finds each of them where the logs have one line more that holds it.
    let end = errors.lines().rev().take(50).collect::<Vec<_>>().join("\n");
    for secret in &secrets {
        for form in &secret.forms {
            let with = format!("{end}\nTRACE something: value=\"{form}\" more\n");
            let line = secret.found_in(&with).unwrap_or_else(|| panic!("{} {form}", secret.what));
            assert!(line.contains("TRACE something"), "{line}");
        }
    }
    let token = given(&output).into_iter().find(|one| one.what == "access_token").unwrap();
    assert!(!tokens(&format!("got {} there", token.forms.last().unwrap())).is_empty());
    // And one that programs do write is found where they wrote it.
    assert!(Secret::text("public", "/v1/enrol/authenticator").found_in(&errors).is_some());
}

/// Not a test by itself: [`no_log_holds_a_secret`] runs it with everything kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn played_where_everything_is_kept() {
    let Some(keys) = std::env::var_os(KEYS).map(PathBuf::from) else { return };
    let mut stage = Stage::new(House::start().await.unwrap());
    for step in Step::ALL {
        let record = stage.play(step).await;
        assert!(record.held, "{record:#?}");
    }
    let house = &mut stage.house;
    // The sensor gives up after wrong fingers; then the key wants its PIN.
    for _ in 0..8 {
        house.alice.key.finger("left-thumb").unwrap();
    }
    let arguments = ["--json", "--pin-fd", "0", "login"];
    let ran = house.alice.signet_given(&arguments, format!("{PIN}\n").as_bytes()).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let token = house.alice.signet(&["--json", "token"]).await.unwrap();
    assert_eq!(token.code, Some(0), "{token:?}");
    let settings = house.authority.config();
    for entry in std::fs::read_dir(settings.parent().unwrap().join("keys")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "key") {
            std::fs::copy(&path, keys.join(path.file_name().unwrap())).unwrap();
        }
    }
}
