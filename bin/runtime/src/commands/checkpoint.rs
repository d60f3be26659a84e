use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use gantry_runtime::{Continue, DumpOptions, PageServer};

use super::flags::criu;
use crate::args::{Command, Flag, Flags, Kind, Parsed};
use crate::failure::Failure;
use crate::invocation::Invocation;

static PARENT_PATH: Flag =
    Flag::text(&["parent-path"], "images of an earlier --pre-dump, relative to the image directory");
static LEAVE_RUNNING: Flag = Flag::switch(&["leave-running"], "let the container go on afterwards");
static TCP_SKIP_IN_FLIGHT: Flag =
    Flag::switch(&["tcp-skip-in-flight"], "leave out TCP connections that are being made");
static LINK_REMAP: Flag =
    Flag::switch(&["link-remap"], "give deleted files that are open a name for the while");
static STATUS_FD: Flag = Flag::new(
    Kind::Integer,
    &["status-fd"],
    "descriptor on which criu writes a zero byte when lazy pages are ready",
)
.with_default("-1");
static PAGE_SERVER: Flag =
    Flag::text(&["page-server"], "ADDRESS:PORT of a server that takes the memory's pages");
static PRE_DUMP: Flag = Flag::switch(&["pre-dump"], "write the memory alone, and let the container go on");

pub(super) static COMMAND: Command = Command {
    name: "checkpoint",
    summary: "write a running container to disk",
    usage: "<container-id>",
    about: "Writes the processes of the container to images that \"restore\" makes them from again. Needs criu.",
    flags: &[
        &criu::IMAGE_PATH,
        &criu::WORK_PATH,
        &PARENT_PATH,
        &LEAVE_RUNNING,
        &criu::TCP_ESTABLISHED,
        &TCP_SKIP_IN_FLIGHT,
        &LINK_REMAP,
        &criu::EXT_UNIX_SK,
        &criu::SHELL_JOB,
        &criu::LAZY_PAGES,
        &STATUS_FD,
        &PAGE_SERVER,
        &criu::FILE_LOCKS,
        &PRE_DUMP,
        &criu::MANAGE_CGROUPS_MODE,
        &criu::EMPTY_NS,
        &criu::AUTO_DEDUP,
        &criu::NETWORK_LOCK,
    ],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let options = options_of(&call.args)?;
    gantry_runtime::checkpoint(&call.host(), &call.container_id()?, &options)?;
    Ok(0)
}

fn options_of(args: &Parsed<'_>) -> Result<DumpOptions, Failure> {
    let image = criu::image_options(args)?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&image.images)
        .map_err(|error| Failure::of_path("mkdir", &image.images, &error))?;
    let goes_on = if args.switch("pre-dump") {
        Continue::PreDump
    } else if args.switch("leave-running") {
        Continue::Yes
    } else {
        Continue::No
    };
    Ok(DumpOptions {
        parent: args.text("parent-path").map(|parent| parent_path(&image.images, parent)).transpose()?,
        goes_on,
        tcp_skip_in_flight: args.switch("tcp-skip-in-flight"),
        link_remap: args.switch("link-remap"),
        page_server: args.text("page-server").map(page_server).transpose()?,
        status_fd: args.integer("status-fd").and_then(|number| u32::try_from(number).ok()),
        image,
    })
}

/// The directory of an earlier pre-dump, which criu finds from that of the images.
fn parent_path(images: &Path, parent: &str) -> Result<PathBuf, Failure> {
    if parent.starts_with('/') {
        return Err(Failure::new("--parent-path must be relative"));
    }
    let path = images.join(parent);
    let invalid = |error| Failure::of_path("stat", &path, &error).during("invalid --parent-path");
    let is_dir = std::fs::metadata(&path).map_err(invalid)?.is_dir();
    if !is_dir {
        return Err(invalid(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
    }
    Ok(PathBuf::from(parent))
}

fn page_server(text: &str) -> Result<PageServer, Failure> {
    let misuse = || Failure::new("Use --page-server ADDRESS:PORT to specify page server");
    let (address, port) = text.rsplit_once(':').ok_or_else(misuse)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if address.is_empty() || port.is_empty() {
        return Err(misuse());
    }
    let port = port.parse().map_err(|_| Failure::new("Invalid port number"))?;
    Ok(PageServer { address: address.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_are_an_address_and_a_port() {
        for (text, expect) in [
            ("10.0.0.1:27", Some(("10.0.0.1", 27))),
            ("[::1]:27", Some(("::1", 27))),
            (":27", None),
            ("host", None),
            ("host:x", None),
            ("host:70000", None),
        ] {
            let server = page_server(text).ok().map(|server| (server.address, server.port));
            assert_eq!(server.as_ref().map(|(address, port)| (address.as_str(), *port)), expect, "{text}");
        }
    }

    #[test]
    fn parents_are_directories_beside_the_images() {
        let dir = std::env::temp_dir();
        assert_eq!(parent_path(&dir, "..").unwrap(), Path::new(".."));
        for parent in ["/", "nonexistent", "../etc/passwd"] {
            assert!(parent_path(&dir, parent).unwrap_err().message.contains("--parent-path"), "{parent}");
        }
    }
}
