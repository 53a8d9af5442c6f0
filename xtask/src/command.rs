//! The list of commands, and how one is found.

mod bench;
mod bless;
mod ci;
mod demo_check;
mod dist;
mod docs;
mod interop;
mod kill;
mod pages;
mod release_size;
mod snippets;
mod test;
mod tidy;
mod torture;

use crate::Result;
use crate::context::Context;

/// One command.
pub(crate) struct Command {
    /// What is typed after `cargo xtask`.
    pub(crate) name: &'static str,
    /// Its arguments, for the help.
    pub(crate) arguments: &'static str,
    /// One sentence for the help.
    pub(crate) about: &'static str,
    /// Runs it; `false` if it found something wrong.
    pub(crate) run: fn(&Context, &[String]) -> Result<bool>,
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    ci::COMMAND,
    test::COMMAND,
    tidy::COMMAND,
    docs::COMMAND,
    snippets::COMMAND,
    bless::COMMAND,
    bench::COMMAND,
    demo_check::COMMAND,
    kill::COMMAND,
    torture::COMMAND,
    interop::COMMAND,
    pages::COMMAND,
    release_size::COMMAND,
    dist::COMMAND,
];

/// Runs the command named by the first argument.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let Some((name, rest)) = arguments.split_first() else {
        println!("{}", help());
        return Ok(true);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        println!("{}", help());
        return Ok(true);
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(format!("there is no command \"{name}\"\n\n{}", help()).into());
    };
    (command.run)(&Context::discover()?, rest)
}

fn help() -> String {
    let mut text = "Usage: cargo xtask COMMAND\n\n".to_owned();
    for Command { name, arguments, about, .. } in COMMANDS {
        text.push_str(&format!("  {:<38} {about}\n", format!("{name} {arguments}")));
    }
    text
}

/// Refuses arguments to a command that has none.
pub(crate) fn no_arguments(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        None => Ok(()),
        Some(unknown) => Err(format!("unknown argument \"{unknown}\"").into()),
    }
}

/// The value after a flag such as `--seed`, or the default.
pub(crate) fn number_after(arguments: &[String], flag: &str, default: u64) -> Result<u64> {
    let Some(position) = arguments.iter().position(|argument| argument == flag) else {
        return Ok(default);
    };
    let value = arguments.get(position + 1).ok_or_else(|| format!("{flag} needs a number"))?;
    value.parse().map_err(|_| format!("{flag} needs a number, not \"{value}\"").into())
}
