//! Man pages and shell completions of the programs, made from their own command lines.
//!
//! Each program answers `PROGRAM --write-manual FOLDER`, which is for `make install` and no part of
//! its command line: neither help nor completions name it.

mod page;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// The section of the manual, man(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// 1: programs for everybody.
    Commands,
    /// 8: programs for administrators, and daemons.
    Administration,
}

impl Section {
    fn number(self) -> &'static str {
        match self {
            Self::Commands => "1",
            Self::Administration => "8",
        }
    }
}

const ASKED: &str = "--write-manual";

/// Writes the manual and gives the exit code when the program was called as
/// `PROGRAM --write-manual FOLDER`; `None` for every other command line.
pub fn answer(command: impl FnOnce() -> Command, section: Section) -> Option<ExitCode> {
    let folder = asked(std::env::args_os())?;
    match write(command(), section, Path::new(&folder)) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            // Nothing better can be done when stderr is gone.
            let _ = writeln!(io::stderr(), "cannot write the manual: {error}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn asked(mut arguments: impl Iterator<Item = OsString>) -> Option<OsString> {
    let flag = arguments.nth(1)?;
    let folder = arguments.next()?;
    (flag == OsStr::new(ASKED) && arguments.next().is_none()).then_some(folder)
}

/// Writes below `folder`: `man/manN/NAME.N` for the program and each of its commands, `bash/NAME`,
/// `zsh/_NAME` and `fish/NAME.fish`.
///
/// # Errors
/// When a folder or file cannot be written.
pub fn write(mut command: Command, section: Section, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, file) in [
        (Shell::Bash, format!("bash/{name}")),
        (Shell::Zsh, format!("zsh/_{name}")),
        (Shell::Fish, format!("fish/{name}.fish")),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), &name, &mut script);
        put(&folder.join(file), &script)?;
    }
    // `help` as a command is for the terminal: each command has a page.
    command = command.disable_help_subcommand(true);
    command.build();
    pages(&command, section, &folder.join("man").join(format!("man{}", section.number())))
}

fn pages(command: &Command, section: Section, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages(subcommand, section, folder)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.{}", section.number()));
    put(&file, &page::render(command, section.number())?)
}

fn put(file: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, content)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
mod tests {
    use clap::Arg;

    use super::*;

    fn program() -> Command {
        Command::new("lamp")
            .version("1.2")
            .about("Gives light")
            .after_help("Examples:\n  lamp on --at 'half past'\n  .lamp\n\nA plain line.")
            .arg(Arg::new("at").long("at").global(true).help("When"))
            .subcommand(
                Command::new("on").about("Light it").subcommand(Command::new("dim").about("Less")),
            )
            .subcommand(Command::new("secret").hide(true))
    }

    #[test]
    fn each_command_has_a_page_and_each_shell_a_script() {
        let folder = tempfile::tempdir().unwrap();
        write(program(), Section::Administration, folder.path()).unwrap();
        for file in [
            "man/man8/lamp.8",
            "man/man8/lamp-on.8",
            "man/man8/lamp-on-dim.8",
            "bash/lamp",
            "zsh/_lamp",
            "fish/lamp.fish",
        ] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
        assert_eq!(fs::read_dir(folder.path().join("man/man8")).unwrap().count(), 3);
    }

    #[test]
    fn examples_keep_their_lines() {
        let page = String::from_utf8(page::render(&program(), "1").unwrap()).unwrap();
        let examples = page.split(".SH EXAMPLES\n").nth(1).unwrap();
        let expected = ".nf\nlamp on \\-\\-at \\*(Aqhalf past\\*(Aq\n\\&.lamp\n.fi\n";
        assert!(examples.starts_with(expected), "{examples}");
        assert!(examples.contains("A plain line."), "{examples}");
    }

    #[test]
    fn only_the_exact_command_line_asks_for_the_manual() {
        let asked = |words: &[&str]| asked(words.iter().map(OsString::from));
        assert_eq!(asked(&["lamp", ASKED, "out"]), Some(OsString::from("out")));
        for other in
            [&["lamp"][..], &["lamp", ASKED], &["lamp", "on", ASKED], &["lamp", ASKED, "a", "b"]]
        {
            assert_eq!(asked(other), None, "{other:?}");
        }
    }
}
