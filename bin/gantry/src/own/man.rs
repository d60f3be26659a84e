//! `man`: a page for each command.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command};

use crate::command::{Verb, root};
use crate::session::Session;

/// Write the manual pages into a directory
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory, which is made if it is not there
    directory: PathBuf,
}

impl Verb for Man {
    async fn run(self, _: &Session) -> Result<u8> {
        let directory = &self.directory;
        fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        let mut root = root();
        root.build();
        write(&root, "gantry", directory)?;
        Ok(0)
    }
}

fn write(command: &Command, name: &str, directory: &Path) -> Result<()> {
    let file = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    // Its own name is the page's: that of the words that lead here.
    let renamed =
        command.clone().name(name.to_owned()).display_name(name.to_owned()).bin_name(name.replace('-', " "));
    clap_mangen::Man::new(renamed).render(&mut page).with_context(|| format!("no page of {name}"))?;
    fs::write(&file, page).with_context(|| format!("{} cannot be written", file.display()))?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set())
    {
        write(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(())
}
