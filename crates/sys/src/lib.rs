//! System calls that rustix lacks, and the rooted path resolver, behind safe signatures.
//!
//! The only crate of the workspace with `unsafe`. Every function states its man page, kernel version, privilege and
//! errors. It never logs, never retries but on `EINTR`, and holds no state but the kernel's feature level.
//!
//! Whatever a clone child calls ([`clone`]) neither allocates nor takes a lock.
#![allow(unsafe_code)]

pub mod bpf;
pub mod buffer;
pub mod caps;
pub mod clone;
pub mod exec;
pub mod fdpass;
pub mod features;
pub mod finale;
pub mod heap;
pub mod keyring;
pub mod memory;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod ns;
pub mod path;
#[cfg(target_arch = "x86_64")]
pub mod pause;
pub mod process;
pub mod sched;
pub mod seal;
pub mod seccomp;
pub mod signal;
pub mod syscall;
pub mod tty;
pub mod userns;
pub mod writeback;

pub use rustix::io::Errno;
