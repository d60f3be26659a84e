//! What each call that rules mention does, by number.

use super::arch::{Arch, Endian, Width};
use super::chain::{Memory, chain};
use super::graph::{Graph, NodeId};
use super::order::{Alternative, Contradiction, order};
use super::profile::{Condition, Operator, Policy};
use super::syscalls::Syscall;
use gantry_sys::seccomp::MAX_INSTRUCTIONS;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// More nodes than this cannot become a program: each becomes an instruction at least, but for a few answers that
/// nothing refers to.
const MAX_NODES: usize = MAX_INSTRUCTIONS + 8;

/// The part of an argument that a 32-bit ABI has.
const NARROW: u64 = 0xffff_ffff;

/// Why there is no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It would be longer than the kernel takes.
    TooLong,
    /// Rules of this call contradict each other.
    Contradiction(Syscall),
}

/// A rule as an ABI has it.
struct AbiRule {
    syscall: Syscall,
    action: u32,
    /// Into [`Policy::conditions`].
    conditions: usize,
    /// The call's number within a multiplexer.
    call: Option<u32>,
}

/// Builds the graphs of calls.
pub(super) struct Outcomes<'a> {
    policy: &'a Policy,
    memory: Memory,
    /// The chains that have been built; calls and ABIs share them.
    chains: HashMap<(Width, Vec<Alternative>), NodeId>,
}

impl<'a> Outcomes<'a> {
    pub(super) fn new(policy: &'a Policy, memory: Memory) -> Outcomes<'a> {
        Outcomes { policy, memory, chains: HashMap::new() }
    }

    /// The outcomes of all calls of an ABI that rules mention, by number.
    pub(super) fn of(&mut self, graph: &mut Graph, arch: Arch) -> Result<Vec<(u32, NodeId)>, Failure> {
        let mut rules: Vec<AbiRule> = Vec::with_capacity(self.policy.rules.len());
        let mut calls: Vec<(u32, usize)> = Vec::with_capacity(self.policy.rules.len());
        for rule in &self.policy.rules {
            let (syscall, action, conditions) = (rule.syscall, rule.action, rule.conditions);
            let mut add = |number: Option<u32>, call| {
                let Some(number) = number else { return };
                calls.push((number, rules.len()));
                rules.push(AbiRule { syscall, action, conditions, call });
            };
            if let Some(multiplexed) = syscall.multiplexed(arch) {
                add(multiplexed.through.number(arch), Some(multiplexed.call));
            }
            add(syscall.number(arch), None);
        }
        // By number, and then in the profile's order.
        calls.sort_unstable();
        let mut outcomes = Vec::with_capacity(calls.len());
        for calls in calls.chunk_by(|left, right| left.0 == right.0) {
            let rules: Vec<&AbiRule> = calls.iter().map(|(_, rule)| &rules[*rule]).collect();
            outcomes.push((calls[0].0, self.outcome(graph, arch, &rules)?));
            if graph.len() > MAX_NODES {
                return Err(Failure::TooLong);
            }
        }
        Ok(outcomes)
    }

    /// What one call does: the first rule without conditions wins over everything, as in libseccomp.
    fn outcome(&mut self, graph: &mut Graph, arch: Arch, rules: &[&AbiRule]) -> Result<NodeId, Failure> {
        let mut alternatives = Vec::new();
        for rule in rules {
            let conditions = self.conditions(rule, arch);
            if conditions.is_empty() {
                return Ok(graph.answer(rule.action));
            }
            alternatives.push(Alternative { conditions, action: rule.action });
        }
        let abi: (Width, Endian) = (arch.width(), arch.endian());
        let alternatives =
            order(alternatives, abi.0).map_err(|Contradiction| Failure::Contradiction(rules[0].syscall))?;
        match self.chains.entry((abi.0, alternatives)) {
            Entry::Occupied(entry) => Ok(*entry.get()),
            Entry::Vacant(entry) => {
                let node = chain(graph, &entry.key().1, self.policy.default, abi, self.memory);
                Ok(*entry.insert(node))
            }
        }
    }

    /// The conditions of a rule as libseccomp has them for an ABI, without those that compare no bit at all.
    ///
    /// Within a multiplexer the call's number takes the place of the first argument. The other conditions stay, though
    /// there they look at the multiplexer's own arguments, of which the profile's author did not think.
    fn conditions(&self, rule: &AbiRule, arch: Arch) -> Vec<Condition> {
        let call = rule.call.map(|call| Condition {
            argument: 0,
            operator: Operator::Equal,
            mask: u64::MAX,
            value: call.into(),
        });
        let narrow = |condition: Condition| match arch.width() {
            Width::Bits32 => {
                Condition { mask: condition.mask & NARROW, value: condition.value & NARROW, ..condition }
            }
            Width::Bits64 => condition,
        };
        let conditions = self.policy.conditions[rule.conditions].iter().copied();
        let conditions = conditions.filter(|condition| call.is_none() || condition.argument != 0);
        let conditions = call.into_iter().chain(conditions).map(narrow);
        conditions
            .filter(|condition| condition.operator != Operator::MaskedEqual || condition.mask != 0)
            .collect()
    }
}
