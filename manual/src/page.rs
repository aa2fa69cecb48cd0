//! One page.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// The page of one command as troff source, man(7).
///
/// As `clap_mangen` makes it, but for the text after the options: there a line that ends with a
/// colon opens a section, and indented lines, such as examples and tables, stay as they are.
pub(crate) fn render(command: &Command, section: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .section(section)
        .source(format!("signet {}", env!("CARGO_PKG_VERSION")))
        .manual("Signet");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        after(&text.to_string()).to_writer(&mut page)?;
    }
    Ok(page)
}

fn after(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut verbatim = false;
    let mut opened = false;
    for line in text.lines() {
        let indented = line.strip_prefix("  ");
        if verbatim && indented.is_none() {
            roff.control("fi", []);
            verbatim = false;
        }
        match indented {
            Some(example) => {
                if !verbatim {
                    roff.control("nf", []);
                    verbatim = true;
                }
                roff.text([roman(example)]);
            }
            None if line.is_empty() => {
                roff.control("PP", []);
            }
            None => match line.strip_suffix(':') {
                Some(heading) if heading.len() < 40 => {
                    roff.control("SH", [heading.to_uppercase().as_str()]);
                    opened = true;
                }
                _ => {
                    if !opened {
                        roff.control("SH", ["NOTES"]);
                        opened = true;
                    }
                    roff.text([roman(line)]);
                }
            },
        }
    }
    if verbatim {
        roff.control("fi", []);
    }
    roff
}
