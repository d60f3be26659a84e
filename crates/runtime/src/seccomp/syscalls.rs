//! Names of system calls, and the calls that hide behind socketcall(2) and ipc(2).
//!
//! One sorted list of names serves all architectures, so that a name is searched once, in about 8 KiB; each
//! architecture adds 1 KiB of numbers.

use super::arch::Arch;
use super::syscall_table::{COUNT, ENDS, NAMES};
use std::cmp::Ordering;

/// A system call, as an index into the list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Syscall(u16);

/// Which multiplexer a call can also be made through, and the call's number there: its first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multiplexed {
    /// socketcall(2) or ipc(2).
    pub(super) through: Syscall,
    /// The first argument.
    pub(super) call: u32,
}

impl Syscall {
    /// Finds a name; `None` if no architecture has it.
    pub(super) const fn from_name(name: &str) -> Option<Syscall> {
        let (mut low, mut high) = (0, COUNT);
        while low < high {
            let middle = low.midpoint(high);
            match compare(name_at(middle), name.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(Syscall(middle as u16)),
            }
        }
        None
    }

    /// The name.
    pub(super) fn name(self) -> &'static str {
        // The table is text, and its ends are between characters.
        std::str::from_utf8(name_at(self.0.into())).unwrap_or_default()
    }

    /// The number on `arch`, or `None` if the call does not exist there.
    pub(super) fn number(self, arch: Arch) -> Option<u32> {
        arch.number(usize::from(self.0))
    }

    /// How the call can be made through a multiplexer on `arch`.
    pub(super) fn multiplexed(self, arch: Arch) -> Option<Multiplexed> {
        if !arch.is_multiplexed() {
            return None;
        }
        let find = |calls: &[(Syscall, u32)]| {
            calls.iter().find(|(syscall, _)| *syscall == self).map(|(_, call)| *call)
        };
        if let Some(call) = find(&SOCKETCALLS) {
            return Some(Multiplexed { through: SOCKETCALL, call });
        }
        find(&IPC_CALLS).map(|call| Multiplexed { through: IPC, call })
    }
}

/// All names of system calls that any architecture has, in order.
pub fn syscall_names() -> impl Iterator<Item = &'static str> {
    (0..COUNT).map(|index| Syscall(index as u16).name())
}

/// The number of the call `name` on `arch`.
pub fn syscall_number(name: &str, arch: Arch) -> Option<u32> {
    Syscall::from_name(name)?.number(arch)
}

const fn name_at(index: usize) -> &'static [u8] {
    let start = if index == 0 { 0 } else { ENDS[index - 1] as usize };
    let (_, from_start) = NAMES.as_bytes().split_at(start);
    from_start.split_at(ENDS[index] as usize - start).0
}

/// `Ord::cmp`, which cannot be called when the tables below are built.
const fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let mut index = 0;
    while index < left.len() && index < right.len() {
        if left[index] != right[index] {
            return if left[index] < right[index] { Ordering::Less } else { Ordering::Greater };
        }
        index += 1;
    }
    if left.len() == right.len() {
        Ordering::Equal
    } else if left.len() < right.len() {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// A name that the table must have, looked up when this is built.
const fn known(name: &str) -> Syscall {
    Syscall::from_name(name).expect("the generated table has the name")
}

const SOCKETCALL: Syscall = known("socketcall");
const IPC: Syscall = known("ipc");

/// `SYS_*` of linux/net.h.
static SOCKETCALLS: [(Syscall, u32); 20] = [
    (known("socket"), 1),
    (known("bind"), 2),
    (known("connect"), 3),
    (known("listen"), 4),
    (known("accept"), 5),
    (known("getsockname"), 6),
    (known("getpeername"), 7),
    (known("socketpair"), 8),
    (known("send"), 9),
    (known("recv"), 10),
    (known("sendto"), 11),
    (known("recvfrom"), 12),
    (known("shutdown"), 13),
    (known("setsockopt"), 14),
    (known("getsockopt"), 15),
    (known("sendmsg"), 16),
    (known("recvmsg"), 17),
    (known("accept4"), 18),
    (known("recvmmsg"), 19),
    (known("sendmmsg"), 20),
];

/// The calls of linux/ipc.h.
static IPC_CALLS: [(Syscall, u32); 12] = [
    (known("semop"), 1),
    (known("semget"), 2),
    (known("semctl"), 3),
    (known("semtimedop"), 4),
    (known("msgsnd"), 11),
    (known("msgrcv"), 12),
    (known("msgget"), 13),
    (known("msgctl"), 14),
    (known("shmat"), 21),
    (known("shmdt"), 22),
    (known("shmget"), 23),
    (known("shmctl"), 24),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        for index in 0..COUNT {
            assert!(index == 0 || name_at(index - 1) < name_at(index));
            let name = std::str::from_utf8(name_at(index)).unwrap();
            assert_eq!(Syscall::from_name(name), Some(Syscall(index as u16)));
        }
        for name in ["", "a", "reads", "zzz", "readv2", "\u{fffd}"] {
            assert_eq!(Syscall::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let number = |name: &str, arch| Syscall::from_name(name).unwrap().number(arch);
        assert_eq!(number("read", Arch::X86_64), Some(0));
        assert_eq!(number("read", Arch::X86), Some(3));
        assert_eq!(number("readv", Arch::X32), Some(0x4000_0203));
        assert_eq!(number("read", Arch::Mipsel), Some(4003));
        assert_eq!(number("set_tls", Arch::Arm), Some(0xf0005));
        assert_eq!(number("open", Arch::Aarch64), None);
        assert_eq!(number("listns", Arch::Riscv64), Some(470));
        assert_eq!(number("listns", Arch::S390), Some(470));
    }

    #[test]
    fn socket_and_ipc_calls_are_multiplexed_where_the_abi_has_it() {
        let find = |name: &str, arch| Syscall::from_name(name).unwrap().multiplexed(arch);
        assert_eq!(find("accept4", Arch::X86), Some(Multiplexed { through: SOCKETCALL, call: 18 }));
        assert_eq!(find("shmctl", Arch::S390X), Some(Multiplexed { through: IPC, call: 24 }));
        assert_eq!(find("accept4", Arch::X86_64), None);
        assert_eq!(find("read", Arch::X86), None);
    }
}
