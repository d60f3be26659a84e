use std::path::Path;

use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

pub(super) static COMMAND: Command = Command {
    name: "mounts",
    summary: "add mounts to a running container, or remove them",
    usage: "add|remove <container-id> <file>",
    about: "The file holds a JSON array of mounts as in a configuration; to remove one, its destination is enough.",
    flags: &[],
    placement: Flags::Anywhere,
    min: 3,
    max: 3,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let [action, id, file] = call.args.operands[..] else {
        return Err(Failure::new("an action, a container and a file are needed".to_owned()));
    };
    let change = match action {
        "add" => gantry_runtime::add_mounts,
        "remove" => gantry_runtime::remove_mounts,
        _ => return Err(Failure::new(format!("{action:?} is neither \"add\" nor \"remove\""))),
    };
    let id = id.parse().map_err(|error| Failure::of(&error))?;
    let mounts = gantry_runtime::read_mounts(Path::new(file))?;
    change(&call.host(), &id, &mounts)?;
    Ok(0)
}
