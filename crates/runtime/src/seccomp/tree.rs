//! From what happens to each range of numbers to a search tree.
//!
//! Neighbouring numbers with one outcome are one range. A number that is an exception within a range costs one
//! comparison for equality instead of two for its bounds. The tree is balanced by how many numbers a range has, because
//! the kernel runs the program once for every number when it is loaded (the cache of calls that are always allowed,
//! Linux 5.11).

use super::graph::{Comparison, Graph, NodeId, Word};

/// How many exceptions are tried one by one before the tree divides a range.
const MAX_EXCEPTIONS: usize = 3;

/// How many numbers the kernel runs the program for, at most; it has fewer than 512 of them.
const WEIGHED_NUMBERS: u32 = 480;

/// Numbers from `start` up to the next range have one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) outcome: NodeId,
}

/// A range with its exceptions.
struct Leaf {
    start: u32,
    outcome: NodeId,
    exceptions: Vec<(u32, NodeId)>,
    weight: u32,
}

/// Adds the tree of `ranges`, which are in order, start at 0, and differ from their neighbours.
///
/// `base` is the number of the ABI's first call.
pub(super) fn tree(graph: &mut Graph, ranges: &[Range], base: u32) -> NodeId {
    let leaves = leaves(ranges, base);
    subtree(graph, &leaves, Some(Word::NUMBER))
}

fn leaves(ranges: &[Range], base: u32) -> Vec<Leaf> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut rest = ranges;
    while let [first, after @ ..] = rest {
        let mut exceptions = Vec::new();
        rest = after;
        while let [exception, again, after @ ..] = rest {
            let single = exception.start.checked_add(1) == Some(again.start);
            if !single || again.outcome != first.outcome || exceptions.len() == MAX_EXCEPTIONS {
                break;
            }
            exceptions.push((exception.start, exception.outcome));
            rest = after;
        }
        let end = rest.first().map_or(u32::MAX, |next| next.start);
        let weighed = |number: u32| number.clamp(base, base + WEIGHED_NUMBERS);
        let weight = weighed(end) - weighed(first.start) + 1;
        leaves.push(Leaf { start: first.start, outcome: first.outcome, exceptions, weight });
    }
    leaves
}

/// Recurses as deep as the tree is: every two levels halve the weight, which is below 2³².
fn subtree(graph: &mut Graph, leaves: &[Leaf], load: Option<Word>) -> NodeId {
    let [first, rest @ ..] = leaves else { unreachable!("a tree has a range") };
    if rest.is_empty() {
        return first.exceptions.iter().enumerate().rev().fold(
            first.outcome,
            |otherwise, (index, exception)| {
                let load = if index == 0 { load } else { None };
                graph.branch(load, Comparison::Equal(exception.0), exception.1, otherwise)
            },
        );
    }
    let total: u32 = leaves.iter().map(|leaf| leaf.weight).sum();
    let mut before = 0;
    let middle = leaves.iter().position(|leaf| {
        before += leaf.weight;
        before * 2 >= total
    });
    // The leaf in the middle goes to the side that it leaves better balanced.
    let middle = middle.unwrap_or(0);
    let split = if before * 2 - total > leaves[middle].weight { middle } else { middle + 1 };
    let (low, high) = leaves.split_at(split.clamp(1, leaves.len() - 1));
    let then = subtree(graph, high, None);
    let otherwise = subtree(graph, low, None);
    graph.branch(load, Comparison::GreaterEqual(high[0].start), then, otherwise)
}
