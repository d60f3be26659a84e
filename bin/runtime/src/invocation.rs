use crate::args::Parsed;
use crate::globals::Globals;
use crate::log::Log;

/// One call of the program, read and checked: what a command gets to do its work.
pub(crate) struct Invocation<'a> {
    /// The name that the program was called by, for messages.
    pub(crate) program: &'a str,
    pub(crate) globals: Globals,
    pub(crate) log: &'a Log,
    /// The command's own flags and operands.
    pub(crate) args: Parsed<'a>,
}

impl<'a> Invocation<'a> {
    /// The container's id: the first operand, whose presence the command's table ensures.
    pub(crate) fn id(&self) -> &'a str {
        self.args.operands.first().copied().unwrap_or_default()
    }
}
