//! `containerd-shim-gantry-v2`: the command line of the shim.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use gantry_shim::{Action, Failure, Heap, Invocation};

#[global_allocator]
static HEAP: Heap = Heap;

const HELP: &str = "\
usage: containerd-shim-gantry-v2 -namespace NAME -id ID [flags] start|serve|delete

containerd and gantryd start this program; it is not for people. In the working
directory it expects a bundle.

  start                find the shim of the bundle's group or start one, and print its address
  serve                become a shim, on the socket that the standard input brings with
                       the parameters
  delete               remove a container whose shim is gone, and print how it ended

  -namespace NAME      the tenancy
  -id ID               the container's id
  -address PATH        the daemon's gRPC socket
  -publish-binary PATH the daemon's binary (events go to $TTRPC_ADDRESS instead)
  -bundle PATH         the bundle, for delete
  -debug               log steps to the bundle's FIFO `log`
  -info                print what the runtime can do, as a protobuf message
  -v                   print the version

Environment: TTRPC_ADDRESS, the socket for events; GANTRY_SHIM_ROOT, the directory of
pods' state (default /run/gantry/shim).
";

fn main() -> ExitCode {
    match run() {
        Ok(output) => match std::io::stdout().write_all(&output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(failure) => {
            eprintln!("containerd-shim-gantry-v2: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<u8>, Failure> {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_default();
    let invocation = Invocation::parse(args)?;
    match invocation.action {
        Action::Start => gantry_shim::start(&invocation).map(String::into_bytes),
        Action::Serve => gantry_shim::serve(&invocation).map(|()| Vec::new()),
        Action::Delete => gantry_shim::delete(&invocation),
        Action::TakeOver(handover) => gantry_shim::take_over(handover).map(|()| Vec::new()),
        Action::Info => gantry_shim::info(),
        Action::Version => Ok(gantry_shim::version(&program).into_bytes()),
        Action::Help | Action::None => Ok(HELP.into()),
    }
}
