//! Which rule wins where several rules of one system call match.
//!
//! libseccomp keeps the conditions of a call in a tree: each level is an alternative of words to compare, the greatest
//! argument first and its upper half before its lower, equality before `<` before `>`, and then by value. Rules that
//! start with the same comparison share it. Walking that tree is the same as trying the rules one by one in the order
//! that this module computes. A rule whose conditions are the start of another one's makes the other one pointless;
//! if they differ in their action, libseccomp takes that for a mistake unless the shorter one came first.

use super::arch::Width;
use super::profile::{Condition, Operator};
use std::cmp::Reverse;
use std::collections::HashMap;

/// One rule of a call: what must hold, and the answer then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Alternative {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: u32,
}

/// A comparison of one word, as libseccomp tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Step {
    /// The argument, and in the last bit whether it is the upper half.
    word: u8,
    kind: Kind,
    mask: u32,
    value: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Equal,
    MaskedEqual,
    Greater,
    GreaterEqual,
}

/// A step, and the operator that it came from.
type Path = Vec<(Step, Operator)>;

/// Two rules of one call contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contradiction;

/// Puts alternatives into the order in which they are tried.
pub(super) fn order(alternatives: Vec<Alternative>, width: Width) -> Result<Vec<Alternative>, Contradiction> {
    if alternatives.len() < 2 {
        return Ok(alternatives);
    }
    let paths: Vec<Path> =
        alternatives.iter().map(|alternative| path(&alternative.conditions, width)).collect();
    let mut indices: Vec<usize> = (0..alternatives.len()).collect();
    sort(&mut indices, &paths, 0);
    prune(&mut indices, &alternatives)?;
    let mut alternatives: Vec<_> = alternatives.into_iter().map(Some).collect();
    Ok(indices.into_iter().filter_map(|index| alternatives[index].take()).collect())
}

/// Sorts the rules whose paths agree up to `depth`; recurses as deep as a path is long, 12 words at most.
fn sort(indices: &mut [usize], paths: &[Path], depth: usize) {
    if indices.len() < 2 {
        return;
    }
    // The place of each comparison is that of the first rule which has it; a rule that ends here comes first.
    let mut places: HashMap<Option<Step>, usize> = HashMap::new();
    let mut keys: HashMap<usize, _> = HashMap::new();
    for &index in indices.iter() {
        let step = paths[index].get(depth);
        let place = places.len();
        let place = *places.entry(step.map(|(step, _)| *step)).or_insert(place);
        keys.entry(place).or_insert_with(|| step.map(|(step, operator)| key(step, *operator)));
    }
    let place = |index: usize| places[&paths[index].get(depth).map(|(step, _)| *step)];
    indices.sort_by_cached_key(|&index| {
        let place = place(index);
        (keys[&place], place)
    });
    for group in indices.chunk_by_mut(|&left, &right| place(left) == place(right)) {
        if paths[group[0]].len() > depth {
            sort(group, paths, depth + 1);
        }
    }
}

/// Drops the rules that a shorter or an equal one makes pointless, and refuses those that libseccomp refuses.
///
/// `indices` is in order, in which the shorter and the earlier come first.
fn prune(indices: &mut Vec<usize>, alternatives: &[Alternative]) -> Result<(), Contradiction> {
    let mut kept: HashMap<&[Condition], usize> = HashMap::with_capacity(indices.len());
    let mut contradiction = Ok(());
    indices.retain(|&index| {
        let Alternative { conditions, action } = &alternatives[index];
        let shorter = (1..=conditions.len()).find_map(|length| kept.get(&conditions[..length]));
        let Some(&shorter) = shorter else {
            kept.insert(conditions, index);
            return true;
        };
        let equal = alternatives[shorter].conditions.len() == conditions.len();
        if alternatives[shorter].action != *action && (equal || index < shorter) {
            contradiction = Err(Contradiction);
        }
        false
    });
    contradiction
}

/// Sorts before those that are tried later.
fn key(step: &Step, operator: Operator) -> (Reverse<u8>, u8, u32) {
    let (class, value) = match operator {
        Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => (0, u32::MAX - step.value),
        Operator::Less | Operator::LessEqual => (1, step.value),
        Operator::Greater | Operator::GreaterEqual => (2, u32::MAX - step.value),
    };
    (Reverse(step.word), class, value)
}

fn path(conditions: &[Condition], width: Width) -> Path {
    let mut path = Path::new();
    for condition in conditions {
        let operator = condition.operator;
        let kind = match operator {
            Operator::Equal | Operator::NotEqual => Kind::Equal,
            Operator::MaskedEqual => Kind::MaskedEqual,
            Operator::Greater | Operator::LessEqual => Kind::Greater,
            Operator::GreaterEqual | Operator::Less => Kind::GreaterEqual,
        };
        if width == Width::Bits64 {
            let kind = if kind == Kind::GreaterEqual { Kind::Greater } else { kind };
            let (mask, value) = ((condition.mask >> 32) as u32, (condition.value >> 32) as u32);
            path.push((Step { word: condition.argument * 2 + 1, kind, mask, value }, operator));
        }
        let (mask, value) = (condition.mask as u32, condition.value as u32 & condition.mask as u32);
        path.push((Step { word: condition.argument * 2, kind, mask, value }, operator));
    }
    path
}
