//! The way in from the C library.
//!
//! Rust's own `main` first makes a guard for the stack, for which it reads `/proc/self/maps`, sets up handlers, and so
//! on: twenty system calls and 0.1 ms, a tenth of a whole call of this program, thrice for each container that an
//! engine runs. A program that aborts on panic and has one thread needs two things of it, which are done here.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::fcntl_getfd;
use rustix::stdio::{stderr, stdin, stdout};

/// signal(7), on every architecture that Linux has.
const SIGPIPE: i32 = 13;
const SIGCHLD: i32 = 17;

/// The C library's `main`. Rust's standard library finds the arguments without its help: glibc hands them to the
/// initializers of `.init_array`, too.
#[cfg(all(target_env = "gnu", not(test)))]
// SAFETY: no other `main` is linked, as the crate is `no_main`, and the signature is that of C's.
#[allow(unsafe_code, reason = "the attribute is the whole of it: nothing is dereferenced")]
#[unsafe(no_mangle)]
extern "C" fn main(_count: std::ffi::c_int, _arguments: *const *const std::ffi::c_char) -> std::ffi::c_int {
    enter().into()
}

/// Runs the program and gives its exit code.
pub(crate) fn enter() -> u8 {
    occupy_standard_streams();
    // Whoever reads our output or holds the console's socket may go; that must not end us with a half-made container.
    gantry_sys::signal::ignore(SIGPIPE);
    // Whoever starts us may ignore it, and children of ours would then be reaped before we ask for them.
    gantry_sys::signal::default_one(SIGCHLD);
    if let Some(program) = crate::reaper::asked(std::env::args_os()) {
        return crate::reaper::run(&program);
    }
    crate::application::run(std::env::args_os())
}

/// Opens /dev/null in place of each standard stream that is closed, so that no file of ours gets its number, and a
/// message that is written to it.
fn occupy_standard_streams() {
    for stream in [stdin(), stdout(), stderr()] {
        if fcntl_getfd(stream).is_err()
            && let Ok(null) = openat(CWD, c"/dev/null", OFlags::RDWR, Mode::empty())
        {
            // The lowest free number is that of the stream, which stays open for good.
            std::mem::forget(null);
        }
    }
}
