//! Who decides at the command line, for the audit trail.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// The user of this process, and the one who logged in where the kernel knows it: `root (uid 0, login
/// uid 1000)`. The kernel's word, not the environment's.
pub(super) fn who() -> String {
    let uid = fs::metadata("/proc/self").map(|meta| meta.uid());
    let login = fs::read_to_string("/proc/self/loginuid").ok();
    let login = login.and_then(|text| text.trim().parse::<u32>().ok());
    let Ok(uid) = uid else { return "an unknown user".to_owned() };
    match login.filter(|login| *login != u32::MAX && *login != uid) {
        Some(login) => format!("{} (uid {uid}, login {})", name_of(uid), name_of(login)),
        None => format!("{} (uid {uid})", name_of(uid)),
    }
}

/// The name in the local user database; the number where there is none.
fn name_of(uid: u32) -> String {
    let database = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = database.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}
