//! All commands, as docker has them, and our own.

use clap::{Arg, ArgAction, Args as _, Command};

use super::{Entry, Item, verb};
use crate::build::Build;
use crate::container::attach::Attach;
use crate::container::changes::Diff;
use crate::container::commit::Commit;
use crate::container::copy::Copy;
use crate::container::create::Create;
use crate::container::exec::Exec;
use crate::container::export::Export;
use crate::container::inspect::{Inspect, InspectContainer};
use crate::container::lifecycle::{Kill, Pause, Rename, Restart, Stop, Unpause};
use crate::container::list::List;
use crate::container::logs::Logs;
use crate::container::port::Port;
use crate::container::prune::Prune;
use crate::container::remove::Remove;
use crate::container::run::Run;
use crate::container::start::Start;
use crate::container::stats::Stats;
use crate::container::top::Top;
use crate::container::update::Update;
use crate::container::wait::Wait;
use crate::image::InspectImage;
use crate::image::archive::{Import, Load, Save};
use crate::image::history::History;
use crate::image::list::Images;
use crate::image::prune::PruneImages;
use crate::image::pull::Pull;
use crate::image::push::Push;
use crate::image::remove::RemoveImage;
use crate::image::search::Search;
use crate::image::tag::Tag;
use crate::network::{
    Connect, CreateNetwork, Disconnect, InspectNetwork, ListNetworks, PruneNetworks, RemoveNetwork,
};
use crate::own::completion::Completion;
use crate::own::doctor::Doctor;
use crate::own::install::{Install, Uninstall};
use crate::own::man::Man;
use crate::own::why::Why;
use crate::registry::{Login, Logout};
use crate::session::Globals;
use crate::system::context::{InspectContext, ListContexts, ShowContext, UseContext};
use crate::system::dial::DialStdio;
use crate::system::events::Events;
use crate::system::info::Info;
use crate::system::prune::{PruneCache, PruneSystem};
use crate::system::usage::DiskFree;
use crate::system::version::Version;
use crate::volume::{CreateVolume, InspectVolume, ListVolumes, PruneVolumes, RemoveVolume, UpdateVolume};

const MANY: &str = "CONTAINER [CONTAINER...]";

const CONTAINER: &[Item] = &[
    verb::<Attach>(
        "attach",
        &[],
        "CONTAINER",
        "Attach local standard input, output, and error streams to a running container",
    ),
    verb::<Commit>(
        "commit",
        &[],
        "CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
    ),
    verb::<Copy>(
        "cp",
        &[],
        "CONTAINER:SRC_PATH DEST_PATH|-",
        "Copy files/folders between a container and the local filesystem",
    ),
    verb::<Create>("create", &[], "IMAGE [COMMAND] [ARG...]", "Create a new container"),
    verb::<Diff>(
        "diff",
        &[],
        "CONTAINER",
        "Inspect changes to files or directories on a container's filesystem",
    ),
    verb::<Exec>("exec", &[], "CONTAINER COMMAND [ARG...]", "Execute a command in a running container"),
    verb::<Export>("export", &[], "CONTAINER", "Export a container's filesystem as a tar archive"),
    verb::<InspectContainer>("inspect", &[], MANY, "Display detailed information on one or more containers"),
    verb::<Kill>("kill", &[], MANY, "Kill one or more running containers"),
    verb::<Logs>("logs", &[], "CONTAINER", "Fetch the logs of a container"),
    verb::<List>("ls", &["ps", "list"], "", "List containers"),
    verb::<Pause>("pause", &[], MANY, "Pause all processes within one or more containers"),
    verb::<Port>(
        "port",
        &[],
        "CONTAINER [PRIVATE_PORT[/PROTO]]",
        "List port mappings or a specific mapping for the container",
    ),
    verb::<Prune>("prune", &[], "", "Remove all stopped containers"),
    verb::<Rename>("rename", &[], "CONTAINER NEW_NAME", "Rename a container"),
    verb::<Restart>("restart", &[], MANY, "Restart one or more containers"),
    verb::<Remove>("rm", &["remove"], MANY, "Remove one or more containers"),
    verb::<Run>("run", &[], "IMAGE [COMMAND] [ARG...]", "Create and run a new container from an image"),
    verb::<Start>("start", &[], MANY, "Start one or more stopped containers"),
    verb::<Stats>(
        "stats",
        &[],
        "[CONTAINER...]",
        "Display a live stream of container(s) resource usage statistics",
    ),
    verb::<Stop>("stop", &[], MANY, "Stop one or more running containers"),
    verb::<Top>("top", &[], "CONTAINER [ps OPTIONS]", "Display the running processes of a container"),
    verb::<Unpause>("unpause", &[], MANY, "Unpause all processes within one or more containers"),
    verb::<Update>("update", &[], MANY, "Update configuration of one or more containers"),
    verb::<Wait>("wait", &[], MANY, "Block until one or more containers stop, then print their exit codes"),
];

const IMAGE: &[Item] = &[
    verb::<Build>("build", &[], "PATH | URL | -", "Build an image from a Dockerfile"),
    verb::<History>("history", &[], "IMAGE", "Show the history of an image"),
    verb::<Import>(
        "import",
        &[],
        "file|URL|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
    ),
    verb::<InspectImage>(
        "inspect",
        &[],
        "IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
    ),
    verb::<Load>("load", &[], "", "Load an image from a tar archive or STDIN"),
    verb::<Images>("ls", &["list"], "[REPOSITORY[:TAG]]", "List images"),
    verb::<PruneImages>("prune", &[], "", "Remove unused images"),
    verb::<Pull>("pull", &[], "NAME[:TAG|@DIGEST]", "Download an image from a registry"),
    verb::<Push>("push", &[], "NAME[:TAG]", "Upload an image to a registry"),
    verb::<RemoveImage>("rm", &["remove"], "IMAGE [IMAGE...]", "Remove one or more images"),
    verb::<Save>(
        "save",
        &[],
        "IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
    ),
    verb::<Tag>(
        "tag",
        &[],
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    ),
];

const VOLUME: &[Item] = &[
    verb::<CreateVolume>("create", &[], "[VOLUME]", "Create a volume"),
    verb::<InspectVolume>(
        "inspect",
        &[],
        "VOLUME [VOLUME...]",
        "Display detailed information on one or more volumes",
    ),
    verb::<ListVolumes>("ls", &["list"], "", "List volumes"),
    verb::<PruneVolumes>("prune", &[], "", "Remove unused local volumes"),
    verb::<RemoveVolume>("rm", &["remove"], "VOLUME [VOLUME...]", "Remove one or more volumes"),
    verb::<UpdateVolume>("update", &[], "VOLUME", "Update a volume (cluster volumes only)"),
];

const NETWORK: &[Item] = &[
    verb::<Connect>("connect", &[], "NETWORK CONTAINER", "Connect a container to a network"),
    verb::<CreateNetwork>("create", &[], "NETWORK", "Create a network"),
    verb::<Disconnect>("disconnect", &[], "NETWORK CONTAINER", "Disconnect a container from a network"),
    verb::<InspectNetwork>(
        "inspect",
        &[],
        "NETWORK [NETWORK...]",
        "Display detailed information on one or more networks",
    ),
    verb::<ListNetworks>("ls", &["list"], "", "List networks"),
    verb::<PruneNetworks>("prune", &[], "", "Remove all unused networks"),
    verb::<RemoveNetwork>("rm", &["remove"], "NETWORK [NETWORK...]", "Remove one or more networks"),
];

const SYSTEM: &[Item] = &[
    verb::<DiskFree>("df", &[], "", "Show docker disk usage"),
    verb::<DialStdio>("dial-stdio", &[], "", "Proxy the stdio stream to the daemon connection"),
    verb::<Events>("events", &[], "", "Get real time events from the server"),
    verb::<Info>("info", &[], "", "Display system-wide information"),
    verb::<PruneSystem>("prune", &[], "", "Remove unused data"),
];

const CONTEXT: &[Item] = &[
    verb::<InspectContext>(
        "inspect",
        &[],
        "[CONTEXT] [CONTEXT...]",
        "Display detailed information on one or more contexts",
    ),
    verb::<ListContexts>("ls", &["list"], "", "List contexts"),
    verb::<ShowContext>("show", &[], "", "Print the name of the current context"),
    verb::<UseContext>("use", &[], "CONTEXT", "Set the current docker context"),
];

const BUILDER: &[Item] = &[
    verb::<Build>("build", &[], "PATH | URL | -", "Build an image from a Dockerfile"),
    verb::<PruneCache>("prune", &[], "", "Remove build cache"),
];

/// The whole tree.
pub(super) const ITEMS: &[Item] = &[
    verb::<Run>("run", &[], "IMAGE [COMMAND] [ARG...]", "Create and run a new container from an image"),
    verb::<Exec>("exec", &[], "CONTAINER COMMAND [ARG...]", "Execute a command in a running container"),
    verb::<List>("ps", &[], "", "List containers"),
    verb::<Build>("build", &[], "PATH | URL | -", "Build an image from a Dockerfile"),
    verb::<Pull>("pull", &[], "NAME[:TAG|@DIGEST]", "Download an image from a registry"),
    verb::<Push>("push", &[], "NAME[:TAG]", "Upload an image to a registry"),
    verb::<Images>("images", &[], "[REPOSITORY[:TAG]]", "List images"),
    verb::<Login>("login", &[], "[SERVER]", "Authenticate to a registry"),
    verb::<Logout>("logout", &[], "[SERVER]", "Log out from a registry"),
    verb::<Search>("search", &[], "TERM", "Search Docker Hub for images"),
    verb::<Version>("version", &[], "", "Show the version information of the command line and the engine"),
    verb::<Info>("info", &[], "", "Display system-wide information"),
    verb::<Doctor>("doctor", &[], "", "Check this machine, and say what helps"),
    verb::<Why>("why", &[], "CONTAINER", "Say why a container is in the state that it is in"),
    Item::Group { name: "container", aliases: &[], about: "Manage containers", items: CONTAINER },
    Item::Group { name: "image", aliases: &[], about: "Manage images", items: IMAGE },
    Item::Group { name: "network", aliases: &[], about: "Manage networks", items: NETWORK },
    Item::Group { name: "volume", aliases: &[], about: "Manage volumes", items: VOLUME },
    Item::Group { name: "system", aliases: &[], about: "Manage the engine", items: SYSTEM },
    Item::Group { name: "context", aliases: &[], about: "Manage contexts", items: CONTEXT },
    Item::Group { name: "builder", aliases: &[], about: "Manage builds", items: BUILDER },
    verb::<Attach>(
        "attach",
        &[],
        "CONTAINER",
        "Attach local standard input, output, and error streams to a running container",
    ),
    verb::<Commit>(
        "commit",
        &[],
        "CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
    ),
    verb::<Copy>(
        "cp",
        &[],
        "CONTAINER:SRC_PATH DEST_PATH|-",
        "Copy files/folders between a container and the local filesystem",
    ),
    verb::<Create>("create", &[], "IMAGE [COMMAND] [ARG...]", "Create a new container"),
    verb::<Diff>(
        "diff",
        &[],
        "CONTAINER",
        "Inspect changes to files or directories on a container's filesystem",
    ),
    verb::<Events>("events", &[], "", "Get real time events from the server"),
    verb::<Export>("export", &[], "CONTAINER", "Export a container's filesystem as a tar archive"),
    verb::<History>("history", &[], "IMAGE", "Show the history of an image"),
    verb::<Import>(
        "import",
        &[],
        "file|URL|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
    ),
    verb::<Inspect>("inspect", &[], "NAME|ID [NAME|ID...]", "Return low-level information on Docker objects"),
    verb::<Kill>("kill", &[], MANY, "Kill one or more running containers"),
    verb::<Load>("load", &[], "", "Load an image from a tar archive or STDIN"),
    verb::<Logs>("logs", &[], "CONTAINER", "Fetch the logs of a container"),
    verb::<Pause>("pause", &[], MANY, "Pause all processes within one or more containers"),
    verb::<Port>(
        "port",
        &[],
        "CONTAINER [PRIVATE_PORT[/PROTO]]",
        "List port mappings or a specific mapping for the container",
    ),
    verb::<Rename>("rename", &[], "CONTAINER NEW_NAME", "Rename a container"),
    verb::<Restart>("restart", &[], MANY, "Restart one or more containers"),
    verb::<Remove>("rm", &[], MANY, "Remove one or more containers"),
    verb::<RemoveImage>("rmi", &[], "IMAGE [IMAGE...]", "Remove one or more images"),
    verb::<Save>(
        "save",
        &[],
        "IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
    ),
    verb::<Start>("start", &[], MANY, "Start one or more stopped containers"),
    verb::<Stats>(
        "stats",
        &[],
        "[CONTAINER...]",
        "Display a live stream of container(s) resource usage statistics",
    ),
    verb::<Stop>("stop", &[], MANY, "Stop one or more running containers"),
    verb::<Tag>(
        "tag",
        &[],
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    ),
    verb::<Top>("top", &[], "CONTAINER [ps OPTIONS]", "Display the running processes of a container"),
    verb::<Unpause>("unpause", &[], MANY, "Unpause all processes within one or more containers"),
    verb::<Update>("update", &[], MANY, "Update configuration of one or more containers"),
    verb::<Wait>("wait", &[], MANY, "Block until one or more containers stop, then print their exit codes"),
    verb::<Completion>("completion", &[], "bash|zsh|fish", "Print the completion script of a shell"),
    verb::<Man>("man", &[], "DIRECTORY", "Write the manual pages into a directory"),
    verb::<Install>("install", &[], "", "Install Gantry as this machine's engine"),
    verb::<Uninstall>("uninstall", &[], "", "Remove what install made"),
];

/// The command line as clap has it. What is below a verb is made when it is the one.
pub(crate) fn root() -> Command {
    let version = Arg::new("version").short('v').long("version").action(ArgAction::SetTrue);
    let root = Command::new("gantry")
        .arg(version.help("Print version information and quit"))
        .disable_help_subcommand(true);
    let root =
        Globals::augment_args(root).about("A container engine's command line: docker's verbs, and some more");
    add(root, "gantry", ITEMS)
}

fn add(mut command: Command, words: &str, items: &'static [Item]) -> Command {
    for item in items {
        command = command.subcommand(match item {
            Item::Verb(entry) => Command::new(entry.name)
                .about(entry.about)
                .visible_aliases(entry.aliases)
                .override_usage(usage_of(words, entry))
                .defer(entry.augment),
            Item::Group { name, aliases, about, items } => {
                let group =
                    Command::new(*name).about(*about).visible_aliases(*aliases).disable_help_subcommand(true);
                add(group, &format!("{words} {name}"), items)
            }
        });
    }
    command
}

fn usage_of(words: &str, entry: &Entry) -> String {
    let operands = if entry.operands.is_empty() { String::new() } else { format!(" {}", entry.operands) };
    format!("{words} {} [OPTIONS]{operands}", entry.name)
}

/// The usage of a verb by its words, if they are one's.
pub(super) fn usage(words: &str) -> Option<String> {
    let (before, _) = words.rsplit_once(' ')?;
    match find(words)? {
        Item::Verb(entry) => Some(usage_of(before, entry)),
        Item::Group { .. } => None,
    }
}

/// How many operands a verb takes, as an error.
pub(super) fn arguments(words: &str) -> String {
    let operands = match find(words) {
        Some(Item::Verb(entry)) => entry.operands,
        _ => "",
    };
    // What bars separate is one of several.
    let joined = operands.replace(" | ", "|");
    let required = joined.split(' ').filter(|word| !word.is_empty() && !word.starts_with('[')).count();
    let has_optional = joined.contains(" [") || joined.starts_with('[');
    let plural = if required == 1 { "" } else { "s" };
    match (required, has_optional) {
        (0, false) => format!("gantry: '{words}' accepts no arguments"),
        (0, true) => format!("gantry: '{words}' has too many arguments"),
        (count, false) => format!("gantry: '{words}' requires {count} argument{plural}"),
        (count, true) => format!("gantry: '{words}' requires at least {count} argument{plural}"),
    }
}

/// Whether the words are a verb's or a noun's.
pub(super) fn is_command(words: &str) -> bool {
    find(words).is_some()
}

fn find(words: &str) -> Option<&'static Item> {
    let mut items = ITEMS;
    let mut found = None;
    for word in words.split(' ').skip(1) {
        let item = items.iter().find(|item| item.is_called(word))?;
        found = Some(item);
        items = match item {
            Item::Group { items, .. } => items,
            Item::Verb(_) => &[],
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_no_contradictions() {
        let mut root = root();
        root.build();
        root.debug_assert();
    }

    #[test]
    fn flags_are_taken_as_docker_takes_them() {
        let good = [
            "gantry run -itd --rm -e A=-1 -p 80:80 image -x --rm",
            "gantry -H unix:///x ps -aq --no-trunc --filter a=b",
            "gantry exec -it c sh -c true",
            "gantry logs c -f --tail 5",
            "gantry container ls -a",
            "gantry rm -fv a b",
            "gantry stop -t 5 a --signal TERM",
            "gantry build -t x -f - .",
            "gantry cp - c:/x",
            "gantry top c -eo pid",
            "gantry run --net host --cpus=1.5 -m 5m -u 0:0 image",
            "gantry update --memory-swap -1 c",
        ];
        for words in good {
            let result = root().try_get_matches_from(words.split(' '));
            assert!(result.is_ok(), "{words}: {}", result.unwrap_err());
        }
        for words in ["gantry run --foo image", "gantry run", "gantry nope", "gantry rm", "gantry ps extra"] {
            assert!(root().try_get_matches_from(words.split(' ')).is_err(), "{words}");
        }
    }

    #[test]
    fn flags_may_have_values() {
        let mut arguments: Vec<std::ffi::OsString> =
            "gantry run --rm=false --init=true -t image --rm=false".split(' ').map(Into::into).collect();
        let matches = loop {
            match root().try_get_matches_from(&arguments) {
                Ok(matches) => break matches,
                Err(error) => arguments = super::super::usage::without_value(&error, &arguments).unwrap(),
            }
        };
        let run = matches.subcommand_matches("run").unwrap();
        assert!(!run.get_flag("rm") && run.get_flag("init") && run.get_flag("tty"));
        let words: Vec<&String> = run.get_many("words").unwrap().collect();
        assert_eq!(words, ["image", "--rm=false"]);
    }

    #[test]
    fn usage_is_dockers() {
        assert_eq!(usage("gantry run").unwrap(), "gantry run [OPTIONS] IMAGE [COMMAND] [ARG...]");
        assert_eq!(usage("gantry container ps").unwrap(), "gantry container ls [OPTIONS]");
        assert_eq!(arguments("gantry run"), "gantry: 'gantry run' requires at least 1 argument");
        assert_eq!(arguments("gantry rename"), "gantry: 'gantry rename' requires 2 arguments");
        assert_eq!(arguments("gantry build"), "gantry: 'gantry build' requires 1 argument");
        assert!(usage("gantry container").is_none() && is_command("gantry container"));
    }
}
