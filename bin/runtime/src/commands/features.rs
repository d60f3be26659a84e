use serde::Serialize;

use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::print;

pub(super) static COMMAND: Command = Command {
    name: "features",
    summary: "print what this build can do",
    usage: "",
    about: "Prints the Features structure of runtime-spec (features.md) as JSON: what this program knows, whatever\n   \
            the kernel below it lacks.",
    flags: &[],
    placement: Flags::Anywhere,
    min: 0,
    max: 0,
    run,
};

fn run(_: &Invocation<'_>) -> Result<u8, Failure> {
    let mut text = Vec::with_capacity(8192);
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    gantry_runtime::features().serialize(&mut serializer).expect("plain data has a form in JSON");
    text.push(b'\n');
    print(&String::from_utf8_lossy(&text)).map(|()| 0)
}
