//! Going through a cgroup and everything below it.
//!
//! The cgroups below a container's may be the container's own doing, as deep as it likes: no recursion, and one
//! descriptor at a time.

use std::ffi::CString;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::dir::Dir;

/// More cgroups below one container than this are not walked: the kernel's own tools would not manage either.
const MAX_DESCENDANTS: usize = 1 << 20;

/// How far down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The cgroup itself.
    Own,
    /// The cgroup and everything below it.
    Tree,
}

/// Calls `visit` on a cgroup and on each one below it, parents first. A cgroup that disappears meanwhile is skipped,
/// unless it is the first.
pub(crate) fn walk(top: &Dir, mut visit: impl FnMut(&Dir) -> Result<(), Errno>) -> Result<(), Errno> {
    visit(top)?;
    let mut current = top.reopen()?;
    let mut pending = vec![current.children()?];
    let mut seen = 0;
    while let Some(names) = pending.last_mut() {
        let Some(name) = names.pop() else {
            pending.pop();
            if !pending.is_empty() {
                current = current.open_parent()?;
            }
            continue;
        };
        seen += 1;
        if seen > MAX_DESCENDANTS {
            return Err(Errno::OVERFLOW);
        }
        let child = match current.open_child(&name) {
            Ok(child) => child,
            Err(Errno::NOENT | Errno::NODEV) => continue,
            Err(errno) => return Err(errno),
        };
        match visit(&child).and_then(|()| child.children()) {
            Ok(below) => {
                current = child;
                pending.push(below);
            }
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The processes of a cgroup, in no order. Those of a threaded cgroup are given by thread.
pub(crate) fn pids(top: &Dir, depth: Depth) -> Result<Vec<i32>, Errno> {
    let mut pids = Vec::new();
    let mut buffer = Vec::new();
    let mut visit = |dir: &Dir| {
        match dir.read_into("cgroup.procs", &mut buffer) {
            Err(Errno::OPNOTSUPP) => dir.read_into("cgroup.threads", &mut buffer)?,
            other => other?,
        }
        // A process of another pid namespace is 0.
        let text = str::from_utf8(&buffer).map_err(|_| Errno::ILSEQ)?;
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0));
        Ok(())
    };
    match depth {
        Depth::Own => visit(top)?,
        Depth::Tree => walk(top, visit)?,
    }
    Ok(pids)
}

/// Removes what is below a cgroup, deepest first. Processes that are still leaving are waited for.
pub(crate) fn remove_below(top: &Dir, retry: &mut Retry) -> Result<(), Errno> {
    let mut current = top.reopen()?;
    let mut names: Vec<CString> = Vec::new();
    loop {
        if let Some(child) = current.children()?.pop() {
            match current.open_child(&child) {
                Ok(next) => {
                    current = next;
                    names.push(child);
                }
                Err(Errno::NOENT | Errno::NODEV) => retry.pause().ok_or(Errno::BUSY)?,
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let Some(name) = names.pop() else { return Ok(()) };
        current = current.open_parent()?;
        match retry.run(|| current.remove_child(&name)) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Something was put below it since: look again.
            Err(Errno::BUSY | Errno::NOTEMPTY) if !retry.is_over() => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits that grow, up to a deadline.
///
/// The first waits are of the time that the kernel needs to finish with a process that has been reaped, tens of
/// microseconds; later ones are for processes that are still being killed.
#[derive(Debug)]
pub(crate) struct Retry {
    delay: Duration,
    until: Instant,
}

impl Retry {
    const FIRST: Duration = Duration::from_micros(20);
    const LONGEST: Duration = Duration::from_millis(20);

    pub(crate) fn within(limit: Duration) -> Self {
        Self { delay: Self::FIRST, until: Instant::now() + limit }
    }

    /// Sleeps a little; `None` when the time is over.
    pub(crate) fn pause(&mut self) -> Option<()> {
        if self.is_over() {
            return None;
        }
        std::thread::sleep(self.delay);
        self.delay = (self.delay * 2).min(Self::LONGEST);
        Some(())
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Calls `operation` until it is something else than busy.
    pub(crate) fn run<T>(&mut self, mut operation: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        self.delay = Self::FIRST;
        loop {
            match operation() {
                Err(Errno::BUSY) if self.pause().is_some() => {}
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(depth: usize, width: usize) -> (tempfile::TempDir, Dir) {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open(top.path()).unwrap();
        let mut current = dir.reopen().unwrap();
        for _ in 0..depth {
            for n in 0..width {
                current.make_child(&format!("w{n}")).unwrap();
            }
            current.make_child("d").unwrap();
            current = current.open_child(c"d").unwrap();
        }
        (top, dir)
    }

    #[test]
    fn a_tree_deeper_than_descriptors_and_paths_allow_is_walked_and_removed() {
        let (_top, dir) = tree(2500, 0);
        let mut seen = 0;
        walk(&dir, |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 2501);
        remove_below(&dir, &mut Retry::within(Duration::from_secs(60))).unwrap();
        assert!(dir.children().unwrap().is_empty());
    }

    #[test]
    fn a_wide_tree_is_walked_whole() {
        let (_top, dir) = tree(4, 50);
        let mut seen = 0;
        walk(&dir, |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 1 + 4 * 51);
        remove_below(&dir, &mut Retry::within(Duration::from_secs(10))).unwrap();
        assert!(dir.children().unwrap().is_empty());
    }

    #[test]
    fn busy_is_retried_until_the_deadline_and_no_longer() {
        let mut tries = 0;
        let mut busy = || {
            tries += 1;
            Err::<(), _>(Errno::BUSY)
        };
        assert_eq!(Retry::within(Duration::from_millis(300)).run(&mut busy), Err(Errno::BUSY));
        assert!(tries > 3);
        assert_eq!(Retry::within(Duration::from_secs(9)).run(|| Err::<(), _>(Errno::PERM)), Err(Errno::PERM));
    }
}
