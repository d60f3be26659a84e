//! What a profile means, written down a second time: one call at a time, without trees, ranges or 32-bit words.

use crate::action::action;
use gantry_runtime::seccomp::{Arch, syscall_number};
use gantry_types::oci::{Seccomp, SyscallArg, SyscallRule};

pub(crate) const X32_BIT: u32 = 0x4000_0000;
pub(crate) const ENOSYS: u32 = 0x5_0026;
const KILL: u32 = 0;

/// A profile on a kernel.
pub(crate) struct Model<'a> {
    profile: &'a Seccomp,
    arches: Vec<Arch>,
    default: u32,
    /// The greatest number that the profile mentions, on each architecture; of ARM's own calls apart.
    newest: Vec<(Arch, u32, Option<u32>)>,
}

const SOCKETCALLS: [&str; 21] = [
    "",
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

fn ipc_call(number: u64) -> &'static str {
    match number {
        1 => "semop",
        2 => "semget",
        3 => "semctl",
        4 => "semtimedop",
        11 => "msgsnd",
        12 => "msgrcv",
        13 => "msgget",
        14 => "msgctl",
        21 => "shmat",
        22 => "shmdt",
        23 => "shmget",
        24 => "shmctl",
        _ => "",
    }
}

fn is_multiplexed(arch: Arch) -> bool {
    matches!(
        arch,
        Arch::X86
            | Arch::Mips
            | Arch::Mipsel
            | Arch::Ppc
            | Arch::Ppc64
            | Arch::Ppc64Le
            | Arch::S390
            | Arch::S390X
            | Arch::M68k
            | Arch::Sh
            | Arch::Sheb
    )
}

pub(crate) fn is_32_bit(arch: Arch) -> bool {
    !matches!(
        arch,
        Arch::X86_64
            | Arch::Aarch64
            | Arch::Mips64
            | Arch::Mipsel64
            | Arch::Ppc64
            | Arch::Ppc64Le
            | Arch::S390X
            | Arch::Parisc64
            | Arch::Riscv64
            | Arch::Loongarch64
    )
}

pub(crate) fn is_big_endian(arch: Arch) -> bool {
    matches!(
        arch,
        Arch::Mips
            | Arch::Mips64
            | Arch::Mips64N32
            | Arch::Ppc
            | Arch::Ppc64
            | Arch::S390
            | Arch::S390X
            | Arch::Parisc
            | Arch::Parisc64
            | Arch::M68k
            | Arch::Sheb
    )
}

fn is_private(arch: Arch, number: u32) -> bool {
    arch == Arch::Arm && number >= 0xf0000
}

impl<'a> Model<'a> {
    pub(crate) fn new(profile: &'a Seccomp, native: Arch) -> Model<'a> {
        let mut arches: Vec<Arch> =
            profile.architectures.iter().map(|name| Arch::from_name(name).unwrap()).collect();
        arches.push(native);
        arches.retain(|arch| is_big_endian(*arch) == is_big_endian(native));
        let names = || profile.syscalls.iter().flat_map(|rule| &rule.names);
        let newest = |arch: &Arch| {
            let numbers: Vec<u32> = names().filter_map(|name| syscall_number(name, *arch)).collect();
            let (private, common): (Vec<u32>, Vec<u32>) =
                numbers.into_iter().partition(|number| is_private(*arch, *number));
            (*arch, common.into_iter().max().unwrap_or(0), private.into_iter().max())
        };
        let newest = arches.iter().map(newest).collect();
        Model { profile, arches, default: action(&profile.default_action, profile.default_errno_ret), newest }
    }

    /// What the profile says of one number of one architecture.
    pub(crate) fn about(&self, audit: u32, number: u32) -> About<'_> {
        let x32 = number & X32_BIT != 0;
        let arch = match audit {
            0xc000_003e if x32 => Some(Arch::X32),
            audit => Arch::all().find(|candidate| candidate.audit() == audit),
        };
        let fixed = |verdict| About { arch: Arch::X86_64, number, default: verdict, clauses: Vec::new() };
        let Some(arch) = arch else { return fixed(KILL) };
        if !self.arches.contains(&arch) {
            // What a tracer leaves to skip a call is not refused as a call of x32.
            let skipped = arch == Arch::X32 && self.arches.contains(&Arch::X86_64) && number == u32::MAX;
            return fixed(if skipped { self.default } else { KILL });
        }
        if self.is_newer(arch, number) {
            return fixed(ENOSYS);
        }
        if arch == Arch::X86_64 && number >= X32_BIT && !self.arches.contains(&Arch::X32) {
            return fixed(KILL);
        }
        About { arch, number, default: self.default, clauses: self.clauses(arch, number) }
    }

    fn is_newer(&self, arch: Arch, number: u32) -> bool {
        if matches!(self.default >> 16, 0x7fff | 0x7ffc | 0x7ff0) {
            return false;
        }
        let Some((_, newest, private)) = self.newest.iter().find(|(candidate, ..)| *candidate == arch) else {
            return false;
        };
        let unknown = match (newest, private) {
            (0, _) => false,
            (_, Some(private)) if is_private(arch, number) => number > *private,
            _ => number > *newest,
        };
        unknown || *newest != 0 && number == 0 && matches!(arch, Arch::S390 | Arch::S390X)
    }

    /// All that rules say of a number, each with conditions that must all hold.
    fn clauses(&self, arch: Arch, number: u32) -> Vec<Clause<'_>> {
        let mut clauses = Vec::new();
        for rule in self.profile.syscalls.iter().filter(|rule| verdict(rule) != self.default) {
            let mut indices: Vec<u32> = rule.args.iter().map(|arg| arg.index).collect();
            indices.sort_unstable();
            let repeated = indices.windows(2).any(|pair| pair[0] == pair[1]);
            let sets: Vec<&[SyscallArg]> =
                if repeated { rule.args.chunks(1).collect() } else { vec![&rule.args] };
            for name in &rule.names {
                for set in &sets {
                    let vacuous = |arg: &SyscallArg| {
                        let mask = if is_32_bit(arch) { arg.value & 0xffff_ffff } else { arg.value };
                        arg.op == "SCMP_CMP_MASKED_EQ" && mask == 0
                    };
                    let conditions = set.iter().filter(|arg| !vacuous(arg));
                    if syscall_number(name, arch) == Some(number) {
                        let conditions = conditions.clone().collect();
                        clauses.push(Clause { verdict: verdict(rule), name: None, conditions });
                    }
                    if is_reached_through(arch, number, name) {
                        let conditions = conditions.filter(|arg| arg.index != 0).collect();
                        clauses.push(Clause { verdict: verdict(rule), name: Some(name), conditions });
                    }
                }
            }
        }
        clauses
    }
}

/// What a profile says of one number.
pub(crate) struct About<'a> {
    arch: Arch,
    number: u32,
    default: u32,
    clauses: Vec<Clause<'a>>,
}

impl About<'_> {
    /// The verdicts that are right for a call: one, or those of all rules that match and have no order.
    pub(crate) fn verdicts(&self, arguments: &[u64; 6]) -> Vec<u32> {
        let unconditional = |clause: &&Clause<'_>| clause.name.is_none() && clause.conditions.is_empty();
        if let Some(clause) = self.clauses.iter().find(unconditional) {
            return vec![clause.verdict];
        }
        let first = if is_32_bit(self.arch) { arguments[0] & 0xffff_ffff } else { arguments[0] };
        let holding = self.clauses.iter().filter(|clause| {
            clause.name.is_none_or(|name| multiplexed_name(self.arch, self.number, first) == name)
                && clause.conditions.iter().all(|arg| holds(arg, self.arch, arguments[arg.index as usize]))
        });
        let mut verdicts: Vec<u32> = holding.map(|clause| clause.verdict).collect();
        verdicts.dedup();
        if verdicts.is_empty() { vec![self.default] } else { verdicts }
    }
}

struct Clause<'a> {
    verdict: u32,
    /// The call within a multiplexer that this is about.
    name: Option<&'a str>,
    conditions: Vec<&'a SyscallArg>,
}

/// Which call the multiplexer `number` makes when `call` is its first argument.
fn multiplexed_name(arch: Arch, number: u32, call: u64) -> &'static str {
    let is = |name| is_multiplexed(arch) && syscall_number(name, arch) == Some(number);
    if is("socketcall") {
        SOCKETCALLS.get(call as usize).copied().unwrap_or("")
    } else if is("ipc") {
        ipc_call(call)
    } else {
        ""
    }
}

fn is_reached_through(arch: Arch, number: u32, name: &str) -> bool {
    let is = |name| is_multiplexed(arch) && syscall_number(name, arch) == Some(number);
    (is("socketcall") || is("ipc")) && (1..25).any(|call| multiplexed_name(arch, number, call) == name)
}

fn verdict(rule: &SyscallRule) -> u32 {
    action(&rule.action, rule.errno_ret)
}

fn holds(arg: &SyscallArg, arch: Arch, value: u64) -> bool {
    let width = if is_32_bit(arch) { 0xffff_ffff } else { u64::MAX };
    let (value, reference) = (value & width, arg.value & width);
    match arg.op.trim_start_matches("SCMP_CMP_") {
        "EQ" => value == reference,
        "NE" => value != reference,
        "LT" => value < reference,
        "LE" => value <= reference,
        "GT" => value > reference,
        "GE" => value >= reference,
        "MASKED_EQ" => value & reference == arg.value_two & reference,
        other => panic!("{other}"),
    }
}
