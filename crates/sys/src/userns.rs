//! User namespaces for processes that are made later: user_namespaces(7).
//!
//! A process with threads can neither make nor enter one. So a child is in it for a moment, which shares the memory of the
//! process and does nothing but wait:
//!
//! ```text
//!   caller ──► thread ──clone(CLONE_VM | CLONE_VFORK | CLONE_NEWUSER …)──► child: "here I am", waits, ends
//!      │         └ sleeps until the child has ended                          ▲
//!      └─ writes its maps, opens its namespaces, then lets it go ────────────┘
//! ```

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null_mut;
use std::thread;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::signal;
use crate::syscall::check;

/// What the child needs of stack, and the room below it that no signal handler uses: all are blocked.
const STACK_BYTES: usize = 64 << 10;
/// The thread calls clone(2) and waits.
const THREAD_STACK_BYTES: usize = 256 << 10;
const ALLOWED: u64 = (libc::CLONE_NEWUSER | libc::CLONE_NEWNET) as u64;

/// What the child knows.
struct Orders {
    /// Where it says that it is there.
    tell: c_int,
    /// What ends when it is to go.
    hear: c_int,
    parent: libc::pid_t,
}

/// Makes a user namespace, and with `CLONE_NEWNET` in `flags` a network namespace that belongs to it, and calls `work` with the
/// id of a process that is in them until `work` returns. Its maps are `work`'s to write; whatever it opens of `/proc/<id>/ns`
/// stays.
///
/// clone(2); needs no privilege but what `user.max_user_namespaces` and the kernel's policy want, and with `CLONE_NEWNET` none
/// beyond, as it is made by the new namespace's root.
///
/// # Errors
/// `EINVAL` for other flags; `ENOSPC` at a limit of namespaces; `EPERM` where a policy forbids them; `EAGAIN`, `ENOMEM`.
pub fn visit<T>(flags: u64, work: impl FnOnce(i32) -> T) -> Result<T, Errno> {
    if flags & !ALLOWED != 0 || flags & libc::CLONE_NEWUSER as u64 == 0 {
        return Err(Errno::INVAL);
    }
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let (hear, release) = pipe_with(PipeFlags::CLOEXEC)?;
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("userns".to_owned()).stack_size(THREAD_STACK_BYTES);
        let maker = builder.spawn_scoped(scope, move || make(flags, tell, hear));
        let maker = maker.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        let mut pid = [0; size_of::<i32>()];
        let came = rustix::io::retry_on_intr(|| rustix::io::read(&told, &mut pid));
        let done = match came {
            Ok(count) if count == pid.len() => Ok(work(i32::from_ne_bytes(pid))),
            Ok(_) => Err(Errno::CHILD),
            Err(errno) => Err(errno),
        };
        // The child goes, also if there was a panic: nobody else has this end.
        drop(release);
        match maker.join() {
            Ok(Ok(())) => done,
            Ok(Err(errno)) => Err(errno),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The thread: makes the child, sleeps until that has ended, and buries it.
fn make(flags: u64, tell: OwnedFd, hear: OwnedFd) -> Result<(), Errno> {
    // Handlers would run in the child, on this process's memory.
    signal::set_blocked(u64::MAX)?;
    let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
    let orders =
        Orders { tell: tell.as_raw_fd(), hear: hear.as_raw_fd(), parent: std::process::id() as libc::pid_t };
    // One table of descriptors: the child ends when the caller closes its pipe, and holds nothing itself.
    let all = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | flags as c_int;
    // SAFETY: the child runs `wait` on a stack of its own, which is aligned, grows down from its end, and outlives it: with
    // CLONE_VFORK this thread goes on when it has ended. `orders` lives as long. The child calls system calls only; the
    // thread's storage, which it shares, has nobody else meanwhile, as its owner sleeps. No exit signal is asked for.
    let pid = check(
        unsafe {
            libc::clone(
                wait,
                stack.as_mut_ptr_range().end.cast::<c_void>(),
                all,
                (&raw const orders).cast::<c_void>().cast_mut(),
            )
        }
        .into(),
    )?;
    // SAFETY: takes integers and a null pointer. A child without a signal at its end is waited for with __WALL alone, which
    // nobody else does.
    check(unsafe { libc::waitpid(pid as libc::pid_t, null_mut(), libc::__WALL) }.into()).map(drop)
}

/// The child: neither allocates nor locks nor touches what is not its own.
extern "C" fn wait(orders: *mut c_void) -> c_int {
    // SAFETY: `make` passes a valid pointer to what nobody changes, and sleeps until this returns.
    let orders = unsafe { &*orders.cast::<Orders>() };
    // SAFETY: takes integers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: takes nothing. Who died before the call above sends no signal.
    if unsafe { libc::getppid() } != orders.parent {
        return 1;
    }
    // SAFETY: takes nothing.
    let own = unsafe { libc::getpid() }.to_ne_bytes();
    // SAFETY: the buffer is on this stack, as long as is said.
    if unsafe { libc::write(orders.tell, own.as_ptr().cast(), own.len()) } < 0 {
        return 1;
    }
    let mut end = 0u8;
    // SAFETY: the buffer is one byte on this stack. It ends when the other end is closed.
    unsafe { libc::read(orders.hear, (&raw mut end).cast(), 1) };
    0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_namespace_outlives_its_visitor_and_owns_its_network() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: this needs root");
            return;
        }
        let both = (libc::CLONE_NEWUSER | libc::CLONE_NEWNET) as u64;
        let (pid, user, net) = visit(both, |pid| {
            for map in ["gid_map", "uid_map"] {
                fs::write(format!("/proc/{pid}/{map}"), "0 200000 65536").unwrap();
            }
            let open = |kind: &str| OwnedFd::from(fs::File::open(format!("/proc/{pid}/ns/{kind}")).unwrap());
            (pid, open("user"), open("net"))
        })
        .unwrap();
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "nobody is left");
        assert_eq!(crate::ns::kind(user.as_fd()), Ok(libc::CLONE_NEWUSER as u64));
        assert_eq!(crate::ns::kind(net.as_fd()), Ok(libc::CLONE_NEWNET as u64));
        // NS_GET_USERNS of ioctl_ns(2), by what /proc shows of a namespace.
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let own = fs::File::open("/proc/self/ns/user").map(OwnedFd::from).unwrap();
        assert_ne!(inode(&user), inode(&own));
    }

    #[test]
    fn several_at_once_do_not_meet() {
        let visits = || {
            for _ in 0..20 {
                let kind = visit(libc::CLONE_NEWUSER as u64, |pid| {
                    let file = fs::File::open(format!("/proc/{pid}/ns/user")).unwrap();
                    crate::ns::kind(file.as_fd())
                });
                assert_eq!(kind, Ok(Ok(libc::CLONE_NEWUSER as u64)));
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(visits))));
    }

    #[test]
    fn other_flags_are_refused() {
        for flags in [0, libc::CLONE_NEWNET as u64, (libc::CLONE_NEWUSER | libc::CLONE_NEWPID) as u64] {
            assert_eq!(visit(flags, |_| ()), Err(Errno::INVAL));
        }
    }
}
