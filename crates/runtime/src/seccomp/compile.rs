//! From a checked profile to a program.

use super::arch::Arch;
use super::assemble::{TooLong, assemble};
use super::chain::Memory;
use super::error::SeccompError;
use super::graph::{Comparison, Graph, NodeId, Word};
use super::outcomes::{Failure, Outcomes};
use super::profile::{self, Policy};
use super::program::Program;
use super::tree::{Range, tree};
use super::zones::{Zone, Zones, x86_64_zones, zones};
use gantry_sys::seccomp::{Instruction, action};
use gantry_types::oci::Seccomp;

/// The answer to calls of an ABI that the profile does not name: libseccomp's `SCMP_FLTATR_ACT_BADARCH`.
const BAD_ARCH: u32 = action::KILL_THREAD;

/// The answer to calls that are newer than the profile.
const NO_SUCH_CALL: u32 = action::ERRNO | 38;

/// Turns a profile into a program for a kernel of the architecture `native`.
///
/// A profile without a default action and without rules means no filter, as in runc: the program is empty.
///
/// # Errors
/// Whatever is wrong with the profile; see [`SeccompError`].
pub fn compile(profile: &Seccomp, native: Arch) -> Result<Program, SeccompError> {
    if profile.default_action.is_empty() && profile.syscalls.is_empty() {
        return Ok(Program::default());
    }
    let policy = Policy::new(profile, native)?;
    let instructions = match program(&policy, Memory::Kept) {
        Err(Failure::TooLong) => program(&policy, Memory::None),
        result => result,
    };
    let instructions = instructions.map_err(|failure| match failure {
        Failure::Contradiction(syscall) => SeccompError::Contradiction { syscall: syscall.name() },
        Failure::TooLong => SeccompError::TooLarge {
            names: profile::names(profile),
            conditions: profile::conditions(profile),
            architectures: policy.architectures.len(),
        },
    })?;
    Ok(Program { instructions, flags: policy.flags, listener: policy.listener })
}

fn program(policy: &Policy, memory: Memory) -> Result<Vec<Instruction>, Failure> {
    let mut graph = Graph::default();
    let mut outcomes = Outcomes::new(policy, memory);
    let mut architectures = policy.architectures.clone();
    // x32's calls have numbers of their own under x86_64's architecture.
    let x32 = architectures.contains(&Arch::X32);
    let x86_64 = architectures.contains(&Arch::X86_64);
    if x86_64 {
        architectures.retain(|arch| *arch != Arch::X32);
    }
    let mut root = graph.answer(BAD_ARCH);
    // The native architecture is first in the list, and so is asked first.
    for (index, arch) in architectures.iter().enumerate().rev() {
        let (zones, calls) = match arch {
            Arch::X86_64 if x32 => {
                let mut calls = outcomes.of(&mut graph, Arch::X86_64)?;
                calls.extend(outcomes.of(&mut graph, Arch::X32)?);
                (x86_64_zones(policy, x86_64, x32), calls)
            }
            Arch::X86_64 | Arch::X32 => (x86_64_zones(policy, x86_64, x32), outcomes.of(&mut graph, *arch)?),
            arch => (zones(policy, *arch), outcomes.of(&mut graph, *arch)?),
        };
        let ranges = ranges(&mut graph, policy, &zones, &calls);
        let calls = tree(&mut graph, &ranges, arch.base());
        let load = (index == 0).then_some(Word::ARCH);
        root = graph.branch(load, Comparison::Equal(arch.audit()), calls, root);
    }
    assemble(&graph, root).map_err(|TooLong| Failure::TooLong)
}

/// Lays calls over zones, both in order, and joins neighbours of one outcome.
fn ranges(graph: &mut Graph, policy: &Policy, zones: &Zones, calls: &[(u32, NodeId)]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::with_capacity(2 * calls.len() + zones.len());
    let mut push = |start: u32, outcome: NodeId| {
        // A later outcome of the same start replaces the earlier one.
        ranges.pop_if(|last| last.start == start);
        if ranges.last().is_none_or(|last| last.outcome != outcome) {
            ranges.push(Range { start, outcome });
        }
    };
    let mut calls = calls.iter().peekable();
    for (index, (start, zone)) in zones.iter().enumerate() {
        let outcome = graph.answer(match zone {
            Zone::Default => policy.default,
            Zone::Unknown => NO_SUCH_CALL,
            Zone::Foreign => BAD_ARCH,
        });
        push(*start, outcome);
        let end = zones.get(index + 1).map(|(end, _)| *end);
        while let Some((number, call)) = calls.next_if(|(number, _)| end.is_none_or(|end| *number < end)) {
            push(*number, *call);
            if let Some(next) = number.checked_add(1) {
                push(next, outcome);
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests;
