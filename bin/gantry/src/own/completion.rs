//! `completion`.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use crate::command::{Verb, root};
use crate::output;
use crate::session::Session;

/// Print the completion script of a shell
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// bash, zsh or fish
    #[arg(value_parser = parse)]
    shell: Shell,
}

fn parse(text: &str) -> Result<Shell, String> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("there are bash, zsh and fish".to_owned()),
    }
}

impl Verb for Completion {
    async fn run(self, _: &Session) -> Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut root(), "gantry", &mut script);
        output::write(&script);
        Ok(0)
    }
}
