//! `linux.resources.unified`: files of cgroup v2 by name.

use gantry_types::oci::Resources;
use rustix::io::Errno;

use super::{Files, invalid};
use crate::error::LimitError;

/// Whether a file is written before the container's first process exists: what must hold from the beginning, and
/// cannot slow down, kill or freeze the set-up.
pub(super) fn is_early(key: &str) -> bool {
    key.starts_with("pids.")
        || key.starts_with("cpuset.")
        || matches!(key, "memory.oom.group" | "memory.low" | "memory.min")
}

/// Writes the files that `wanted` selects, a value of several lines line by line.
pub(super) fn apply(
    files: Files<'_>,
    resources: &Resources,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), LimitError> {
    for (key, value) in resources.unified.iter().filter(|(key, _)| wanted(key)) {
        if key.contains('/') || matches!(key.as_str(), "" | "." | "..") {
            return Err(invalid(
                "linux.resources.unified",
                format!("{key:?}"),
                "must be a file name (no slashes)",
            ));
        }
        for line in value.lines() {
            files.try_put(key, line).map_err(|errno| refused(files, key, line, errno))?;
        }
    }
    Ok(())
}

fn refused(files: Files<'_>, key: &str, value: &str, errno: Errno) -> LimitError {
    let field = || format!("linux.resources.unified[{key:?}]");
    if matches!(errno, Errno::NOENT | Errno::PERM | Errno::ACCESS) {
        let Some((controller, _)) = key.split_once('.') else {
            return invalid(&field(), value, "must be in the form CONTROLLER.PARAMETER");
        };
        if controller != "cgroup" && files.lacks(controller) {
            return LimitError::NoController {
                field: field(),
                controller: controller.into(),
                reason: "the controller is not available in the container's cgroup",
            };
        }
    }
    LimitError::Write { field: field(), file: key.into(), value: value.into(), errno }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;

    fn resources(entries: &[(&str, &str)]) -> Resources {
        let unified = entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Resources { unified, ..Resources::default() }
    }

    #[test]
    fn only_files_of_the_cgroup_are_written() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("cgroup.controllers"), "memory\n").unwrap();
        std::fs::write(tree.path().join("memory.high"), "").unwrap();
        let dir = Dir::open(tree.path()).unwrap();
        let files = Files { dir: &dir };
        let run = |key, value| apply(files, &resources(&[(key, value)]), |_| true);
        run("memory.high", "1\n22").unwrap();
        assert_eq!(dir.read("memory.high").unwrap(), "22");
        for bad in ["../memory.high", "/etc/passwd", "", "..", "a/b"] {
            assert!(matches!(run(bad, "1"), Err(LimitError::Invalid { .. })), "{bad}");
        }
        assert!(matches!(run("nodot", "1"), Err(LimitError::Invalid { .. })));
        assert!(matches!(run("io.max", "1"), Err(LimitError::NoController { .. })));
        assert!(matches!(run("memory.nothing", "1"), Err(LimitError::Write { errno: Errno::NOENT, .. })));
        assert!(matches!(run("cgroup.nothing", "1"), Err(LimitError::Write { .. })));
    }
}
