//! What instructions say, before their variables are put in.

use gantry_engine::image::Healthcheck;

use super::Heredoc;

/// A stage: what it begins with, and what is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// Its `FROM`, as it is written.
    pub(crate) text: String,
    /// Where that is.
    pub(crate) line: usize,
    /// What it begins with: an image, a stage, or `scratch`.
    pub(crate) base: String,
    /// Its name in lower case; empty for none.
    pub(crate) name: String,
    /// The platform of its image; empty for the build's.
    pub(crate) platform: String,
    /// What is done.
    pub(crate) steps: Vec<Step>,
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// As it is written.
    pub(crate) text: String,
    /// Where.
    pub(crate) line: usize,
    /// What it says.
    pub(crate) instruction: Instruction,
}

/// A command, in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// For the shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// An argument of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arg {
    /// Its name.
    pub(crate) key: String,
    /// What it is unless the request says otherwise.
    pub(crate) value: Option<String>,
}

/// The network of one command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Network {
    /// The build's.
    #[default]
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// What is copied.
    pub(crate) sources: Vec<String>,
    /// Where to.
    pub(crate) target: String,
    /// A stage or image that it comes from; empty for the context.
    pub(crate) from: String,
    /// Whose it will be; empty for root's.
    pub(crate) chown: String,
    /// The mode of all of it.
    pub(crate) chmod: String,
    /// What a file from the network must be.
    pub(crate) checksum: String,
    /// Whether the directories above what is copied are, too.
    pub(crate) parents: bool,
    /// Patterns of what is left out.
    pub(crate) exclude: Vec<String>,
    /// Whether git's own directory is copied with a repository.
    pub(crate) keeps_git: bool,
    /// Texts that stand in the Dockerfile.
    pub(crate) texts: Vec<Heredoc>,
}

/// A health check, with its command in one of its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// No health check, whatever the base image says.
    None,
    /// This one; its `test` is filled in.
    Test(Healthcheck),
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Instruction {
    Run { form: Form, heredocs: Vec<Heredoc>, network: Network },
    Copy(Transfer),
    Add(Transfer),
    Env(Vec<(String, String)>),
    Arg(Vec<Arg>),
    Workdir(String),
    User(String),
    Label(Vec<(String, String)>),
    Expose(Vec<String>),
    Volume(Vec<String>),
    Entrypoint(Form),
    Cmd(Form),
    Shell(Vec<String>),
    Healthcheck(Check),
    Stopsignal(String),
    Onbuild(String),
    Maintainer(String),
}
