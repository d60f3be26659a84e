//! From the ordered alternatives of one system call to a graph that tries them in turn.
//!
//! What a path through the graph has learnt is used: after `high == 0` held, it is not asked again by the next
//! alternative, and after it failed, alternatives that need it are skipped. So five values of one argument cost one
//! look at its upper half, and not five. A path remembers little (what it last learnt on two words), and where
//! that still makes the graph larger than trying all alternatives in full, it remembers nothing.

use super::arch::{Endian, Width};
use super::graph::{Comparison, Graph, NodeId, Word};
use super::lower::{self, Next};
use super::order::Alternative;
use std::collections::HashMap;

/// With more tests than this nothing is remembered: each path may have to look at all alternatives.
const MAX_REMEMBERED_TESTS: usize = 512;

/// Whether paths remember what they learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Kept,
    None,
}

/// Where to go from a test of an alternative.
#[derive(Debug, Clone, Copy)]
enum Goto {
    Test(usize),
    Answer,
    NextAlternative,
}

#[derive(Debug, Clone, Copy)]
struct Test {
    word: Word,
    comparison: Comparison,
    then: Goto,
    otherwise: Goto,
}

/// An alternative as tests; without any, it always holds.
struct Steps {
    tests: Vec<Test>,
    action: u32,
}

/// What is known of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Fact {
    word: Word,
    comparison: Comparison,
    held: bool,
}

/// The last facts on two words, the older one first.
type Facts = [Option<Fact>; 2];

/// A test that has to be made, with what is known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    alternative: usize,
    test: usize,
    /// Whether the word is in the accumulator.
    loaded: bool,
    facts: Facts,
}

/// What a path comes to.
#[derive(Debug, Clone, Copy)]
enum Target {
    State(State),
    Answer(u32),
}

struct Chain {
    alternatives: Vec<Steps>,
    default: u32,
    memory: Memory,
}

/// Adds the graph of `alternatives`, of which the first that holds gives the answer, else `default`.
pub(super) fn chain(
    graph: &mut Graph,
    alternatives: &[Alternative],
    default: u32,
    (width, endian): (Width, Endian),
    memory: Memory,
) -> NodeId {
    let mut chain = Chain {
        alternatives: alternatives.iter().filter_map(|one| steps(one, width, endian)).collect(),
        default,
        memory: Memory::None,
    };
    let tests = chain.alternatives.iter().map(|one| one.tests.len()).sum();
    if memory == Memory::Kept && tests <= MAX_REMEMBERED_TESTS {
        chain.memory = Memory::Kept;
        if let Some(root) = chain.build(graph, tests) {
            return root;
        }
        chain.memory = Memory::None;
    }
    chain.build(graph, usize::MAX).unwrap_or_else(|| graph.answer(default))
}

/// Lowers all conditions of an alternative; `None` if it never holds.
fn steps(alternative: &Alternative, width: Width, endian: Endian) -> Option<Steps> {
    let lowered: Vec<_> =
        alternative.conditions.iter().map(|condition| lower::lower(condition, width, endian)).collect();
    if lowered.iter().any(|condition| condition.start == Next::Fail) {
        return None;
    }
    let mut tests = Vec::new();
    for condition in lowered.iter().filter(|condition| condition.start != Next::Hold) {
        // Tests are made last to first, so that the start is the last one.
        let base = tests.len();
        let count = condition.tests.len();
        let goto = |next| match next {
            Next::Test(index) => Goto::Test(base + count - 1 - index),
            Next::Hold => Goto::Test(base + count),
            Next::Fail => Goto::NextAlternative,
        };
        tests.extend(condition.tests.iter().rev().map(|test| Test {
            word: test.word,
            comparison: test.comparison,
            then: goto(test.then),
            otherwise: goto(test.otherwise),
        }));
    }
    let count = tests.len();
    for test in &mut tests {
        for goto in [&mut test.then, &mut test.otherwise] {
            if matches!(goto, Goto::Test(index) if *index == count) {
                *goto = Goto::Answer;
            }
        }
    }
    Some(Steps { tests, action: alternative.action })
}

impl Chain {
    /// Builds the graph unless it needs more than `budget` tests.
    fn build(&self, graph: &mut Graph, budget: usize) -> Option<NodeId> {
        let start = self.resolve(0, Goto::Test(0), None, [None; 2]);
        let mut states: HashMap<State, (Target, Target)> = HashMap::new();
        let mut pending = vec![start];
        while let Some(target) = pending.pop() {
            let Target::State(state) = target else { continue };
            if states.contains_key(&state) {
                continue;
            }
            if states.len() >= budget {
                return None;
            }
            let outcomes = self.outcomes(&state);
            states.insert(state, outcomes);
            pending.extend([outcomes.0, outcomes.1]);
        }
        // A path only goes forward, so what a test leads to comes before it in this order.
        let mut ordered: Vec<(State, (Target, Target))> = states.into_iter().collect();
        ordered.sort_unstable_by_key(|(state, _)| {
            std::cmp::Reverse((state.alternative, state.test, state.loaded))
        });
        let mut nodes: HashMap<State, NodeId> = HashMap::with_capacity(ordered.len());
        for (state, (then, otherwise)) in ordered {
            let test = &self.alternatives[state.alternative].tests[state.test];
            let then = node(graph, &nodes, then);
            let otherwise = node(graph, &nodes, otherwise);
            let load = (!state.loaded).then_some(test.word);
            nodes.insert(state, graph.branch(load, test.comparison, then, otherwise));
        }
        Some(node(graph, &nodes, start))
    }

    fn outcomes(&self, state: &State) -> (Target, Target) {
        let test = &self.alternatives[state.alternative].tests[state.test];
        let outcome = |goto, held| {
            let facts = learn(state.facts, Fact { word: test.word, comparison: test.comparison, held });
            self.resolve(state.alternative, goto, Some(test.word), facts)
        };
        (outcome(test.then, true), outcome(test.otherwise, false))
    }

    /// Follows a path through what is known already, to the next test that has to be made.
    fn resolve(
        &self,
        mut alternative: usize,
        mut goto: Goto,
        mut loaded: Option<Word>,
        mut facts: Facts,
    ) -> Target {
        loop {
            let Some(steps) = self.alternatives.get(alternative) else { return Target::Answer(self.default) };
            let index = match goto {
                Goto::Test(index) if index < steps.tests.len() => index,
                Goto::Test(_) | Goto::Answer => return Target::Answer(steps.action),
                Goto::NextAlternative => {
                    if self.memory == Memory::None {
                        (loaded, facts) = (None, [None; 2]);
                    }
                    alternative += 1;
                    goto = Goto::Test(0);
                    continue;
                }
            };
            let test = &steps.tests[index];
            goto = match facts.iter().flatten().find_map(|fact| decide(fact, test)) {
                Some(true) => test.then,
                Some(false) => test.otherwise,
                None => {
                    let loaded = loaded == Some(test.word);
                    return Target::State(State { alternative, test: index, loaded, facts });
                }
            };
        }
    }
}

fn node(graph: &mut Graph, nodes: &HashMap<State, NodeId>, target: Target) -> NodeId {
    match target {
        Target::Answer(action) => graph.answer(action),
        Target::State(state) => nodes[&state],
    }
}

/// Whether `fact` already says how `test` ends.
fn decide(fact: &Fact, test: &Test) -> Option<bool> {
    if fact.word.offset != test.word.offset {
        return None;
    }
    if let Fact { word: Word { mask: u32::MAX, .. }, comparison: Comparison::Equal(value), held: true } = fact
    {
        return Some(test.comparison.holds(value & test.word.mask));
    }
    (fact.word == test.word && fact.comparison == test.comparison).then_some(fact.held)
}

/// Remembers `fact`, and forgets what it makes old.
fn learn(facts: Facts, fact: Fact) -> Facts {
    match facts {
        [Some(first), second] if first.word.offset == fact.word.offset => [second, Some(fact)],
        [first, Some(second)] if second.word.offset == fact.word.offset => [first, Some(fact)],
        [first, None] => [first, Some(fact)],
        [_, second] => [second, Some(fact)],
    }
}
