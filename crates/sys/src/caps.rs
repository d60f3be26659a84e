//! Capabilities: capabilities(7).

use rustix::io::Errno;

use crate::syscall::check;

/// The three sets that capset(2) changes, a bit a capability.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CapSets {
    /// The effective set.
    pub effective: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The inheritable set.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Sets the calling thread's capability sets: capset(2).
///
/// # Errors
/// `EPERM` for a capability that is not permitted.
pub fn capset(sets: &CapSets) -> Result<(), Errno> {
    let arguments = CapsetArguments::new(sets);
    let (header, data) = arguments.addresses();
    // SAFETY: version 3 reads two data words; both objects are initialised and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header, data) }).map(drop)
}

/// What capset(2) reads.
pub(crate) struct CapsetArguments {
    header: Header,
    data: [Data; 2],
}

impl CapsetArguments {
    pub(crate) fn new(sets: &CapSets) -> Self {
        let word = |shift: u32| Data {
            effective: (sets.effective >> shift) as u32,
            permitted: (sets.permitted >> shift) as u32,
            inheritable: (sets.inheritable >> shift) as u32,
        };
        CapsetArguments { header: Header { version: VERSION_3, pid: 0 }, data: [word(0), word(32)] }
    }

    /// Where the header and the data are.
    pub(crate) fn addresses(&self) -> (u64, u64) {
        (&raw const self.header as u64, &raw const self.data as u64)
    }
}

/// Reads the calling thread's capability sets: capget(2).
pub fn capget() -> Result<CapSets, Errno> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes two data words; both objects are initialised and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, &raw mut data) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapSets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

fn prctl(option: i32, a: u64, b: u64) -> Result<usize, Errno> {
    // SAFETY: the options used here take integers only, and unused arguments are zero as they demand.
    check(unsafe { libc::prctl(option, a, b, 0u64, 0u64) }.into())
}

/// Drops every capability that is not in `keep` from the bounding set, up to `last`: PR_CAPBSET_DROP of prctl(2).
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn bound(keep: u64, last: u32) -> Result<(), Errno> {
    for cap in (0..=last).filter(|cap| keep & (1 << cap) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, cap.into(), 0) {
            Ok(_) => {}
            // Newer than the kernel, and so are those that follow.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether the bounding set has `cap`; `None` when the kernel does not know it.
pub fn in_bounding_set(cap: u32) -> Option<bool> {
    prctl(libc::PR_CAPBSET_READ, cap.into(), 0).ok().map(|set| set == 1)
}

/// Replaces the ambient set by `caps`: PR_CAP_AMBIENT of prctl(2), Linux 4.3.
///
/// # Errors
/// `EPERM` for a capability that is not both permitted and inheritable.
pub fn set_ambient(caps: u64) -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for cap in (0..64).filter(|cap| caps & (1 << cap) != 0) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, cap)?;
    }
    Ok(())
}

/// Keeps the permitted set over a change of user id: PR_SET_KEEPCAPS of prctl(2).
pub fn keep_over_setuid(keep: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}
