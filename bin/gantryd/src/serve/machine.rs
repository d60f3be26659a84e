//! Whether the machine goes down with the daemon, by systemd's word.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// systemd answers at once; a machine on its way down may be slow.
const PATIENCE: Duration = Duration::from_secs(5);
/// What `systemctl is-system-running` says then.
const STOPPING: &str = "stopping";

/// Whether it does. Elsewhere than under systemd nobody knows, and containers outlive the daemon.
pub(crate) async fn is_going_down() -> bool {
    if !Path::new("/run/systemd/system").is_dir() {
        return false;
    }
    let mut command = Command::new("systemctl");
    command.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim() == STOPPING,
        Ok(Err(error)) => {
            tracing::debug!(%error, "systemctl cannot be asked");
            false
        }
        Err(_) => {
            tracing::warn!(
                "systemctl does not say whether the machine goes down: containers are left as they are"
            );
            false
        }
    }
}
