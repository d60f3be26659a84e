//! Clients: what a person types.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a client went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Went {
    pub(crate) wall: Duration,
    /// The processor time of the client itself.
    pub(crate) cpu: Duration,
}

/// Runs a client to its end; what it says goes to a file below `dir`, and into the error.
pub(crate) fn run(mut command: Command, dir: &Path) -> Result<Went, String> {
    let path = dir.join("client.log");
    let log = fs::File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let copy = log.try_clone().map_err(|error| format!("{}: {error}", path.display()))?;
    command.stdin(Stdio::null()).stdout(log).stderr(copy);
    let before = children_cpu();
    let begin = Instant::now();
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    let went = Went { wall: begin.elapsed(), cpu: children_cpu().saturating_sub(before) };
    if status.success() {
        return Ok(went);
    }
    Err(format!("{command:?}: {status}\n{}", fs::read_to_string(&path).unwrap_or_default()))
}

/// The processor time of the children that have ended, of proc_pid_stat(5).
fn children_cpu() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
    // cutime and cstime are the 16th and 17th fields; the first here is the third.
    TICK * (ticks(13) + ticks(14))
}
