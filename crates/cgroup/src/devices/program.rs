//! A policy as a program for the kernel: `BPF_PROG_TYPE_CGROUP_DEVICE`.
//!
//! The kernel runs it for each attempt to open or make a device, with `struct bpf_cgroup_dev_ctx { u32 access_type;
//! u32 major; u32 minor; }`, where `access_type` is the kind in its low half and the access in its high one. It
//! answers 1 to grant. The program asks about one exception after the other; the first that applies answers with the
//! opposite of the default.
//!
//! Exceptions with the same major number are together, and once that number has matched nothing but they and the
//! wildcards before them can apply. That is for the verifier, which follows every path: a number that it knows must
//! not lead into the rest of the program, or its work is the square of the number of rules (400 would be refused).

use gantry_sys::bpf::Instruction;

use super::policy::Policy;
use super::rule::{Access, Devices, Kind};

/// Offsets in the context, in bytes.
const ACCESS_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

/// Registers: the context comes in r1, the answer leaves in r0.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND_REG: u8 = 2;
const ACCESS_REG: u8 = 3;
const MAJOR_REG: u8 = 4;
const MINOR_REG: u8 = 5;

/// Operations: class | operation or size | source or mode.
mod op {
    /// dst = *(u32 *)(src + offset): `BPF_LDX | BPF_MEM | BPF_W`.
    pub(super) const LOAD: u8 = 0x61;
    /// 32 bits, immediate: `BPF_ALU | … | BPF_K`; the high half becomes 0.
    pub(super) const AND: u8 = 0x54;
    pub(super) const SHIFT_RIGHT: u8 = 0x74;
    pub(super) const MOVE: u8 = 0xb4;
    /// 32 bits, register: `BPF_ALU | BPF_MOV | BPF_X`.
    pub(super) const COPY: u8 = 0xbc;
    /// 32 bits: `BPF_JMP32 | BPF_JNE | BPF_K`, Linux 5.1. The 64-bit form would extend the sign of large numbers.
    pub(super) const JUMP_UNEQUAL: u8 = 0x56;
    /// `BPF_JMP32 | BPF_JEQ | BPF_K`.
    pub(super) const JUMP_EQUAL: u8 = 0x16;
    /// `BPF_JMP | BPF_EXIT`.
    pub(super) const EXIT: u8 = 0x95;
}

fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: dst | (src << 4), offset, immediate }
}

/// A jump whose target is not known yet.
const PENDING: i16 = -1;

/// Exceptions of one major number between two tests of it, so that no jump is longer than the kernel encodes.
const GROUP: usize = 2000;

/// Translates a policy.
pub(super) fn compile(policy: &Policy) -> Vec<Instruction> {
    let default = policy.allows_by_default();
    let exceptions: Vec<_> = policy.exceptions().filter(|entry| !is_covered(policy, entry)).collect();
    let mut out = Vec::with_capacity(16 + exceptions.len() * 9);
    out.extend([
        instruction(op::LOAD, KIND_REG, CONTEXT, ACCESS_TYPE, 0),
        instruction(op::COPY, ACCESS_REG, KIND_REG, 0, 0),
        instruction(op::AND, KIND_REG, 0, 0, 0xffff),
        instruction(op::SHIFT_RIGHT, ACCESS_REG, 0, 0, 16),
        instruction(op::LOAD, MAJOR_REG, CONTEXT, MAJOR, 0),
        instruction(op::LOAD, MINOR_REG, CONTEXT, MINOR, 0),
    ]);
    for (devices, access) in exceptions.iter().filter(|(devices, _)| devices.major.is_none()) {
        let start = out.len();
        test_kind(&mut out, devices.kind);
        append(&mut out, start, default, devices.minor, *access);
    }
    for group in exceptions.chunk_by(|(a, _), (b, _)| (a.kind, a.major) == (b.kind, b.major)) {
        let Some(major) = group[0].0.major else { continue };
        let mut parts = group.chunks(GROUP).peekable();
        while let Some(part) = parts.next() {
            let start = out.len();
            test_kind(&mut out, group[0].0.kind);
            out.push(instruction(op::JUMP_UNEQUAL, MAJOR_REG, 0, PENDING, major.cast_signed()));
            for (devices, access) in part {
                let start = out.len();
                append(&mut out, start, default, devices.minor, *access);
            }
            // The verifier refuses what cannot be reached: nothing can come after an unconditional answer.
            let (last, access) = part[part.len() - 1];
            let is_final = last.minor.is_none() && access == Access::ALL && !default;
            if parts.peek().is_none() && !is_final {
                answer(&mut out, default);
            }
            land(&mut out, start);
        }
    }
    answer(&mut out, default);
    out
}

fn test_kind(out: &mut Vec<Instruction>, kind: Kind) {
    let kind = if kind == Kind::Block { BLOCK } else { CHAR };
    out.push(instruction(op::JUMP_UNEQUAL, KIND_REG, 0, PENDING, kind));
}

/// Lets the pending jumps since `start` lead to the end.
fn land(out: &mut [Instruction], start: usize) {
    let end = out.len();
    for (at, instruction) in out.iter_mut().enumerate().skip(start) {
        if instruction.offset == PENDING {
            instruction.offset = i16::try_from(end - at - 1).expect("a group is shorter than a jump");
        }
    }
}

fn answer(out: &mut Vec<Instruction>, grant: bool) {
    out.push(instruction(op::MOVE, ANSWER, 0, 0, grant.into()));
    out.push(instruction(op::EXIT, 0, 0, 0, 0));
}

/// Whether a wildcard says the same: the standard devices of a container that may use all of them.
fn is_covered(policy: &Policy, (devices, access): &(Devices, Access)) -> bool {
    let wider = [
        Devices { major: None, ..*devices },
        Devices { minor: None, ..*devices },
        Devices { major: None, minor: None, ..*devices },
    ];
    wider.iter().any(|other| other != devices && access.without(policy.exception(other)).is_none())
}

/// The rest of one exception: the pending jumps since `start` lead to what follows.
fn append(
    out: &mut Vec<Instruction>,
    start: usize,
    allow_by_default: bool,
    minor: Option<u32>,
    access: Access,
) {
    if access != Access::ALL || allow_by_default {
        // Denied is what has any of it, allowed what has nothing else.
        let (bits, jump) = match allow_by_default {
            true => (access, op::JUMP_EQUAL),
            false => (Access::ALL.without(access), op::JUMP_UNEQUAL),
        };
        out.push(instruction(op::COPY, ANSWER, ACCESS_REG, 0, 0));
        out.push(instruction(op::AND, ANSWER, 0, 0, bits.bits().into()));
        out.push(instruction(jump, ANSWER, 0, PENDING, 0));
    }
    if let Some(minor) = minor {
        out.push(instruction(op::JUMP_UNEQUAL, MINOR_REG, 0, PENDING, minor.cast_signed()));
    }
    answer(out, !allow_by_default);
    land(out, start);
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod interpreter;
#[cfg(test)]
mod tests;
