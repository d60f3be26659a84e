//! Programs as graphs of decisions, in which what is equal exists once.

use std::collections::HashMap;

/// A node of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

/// A word of `struct seccomp_data` to look at, and the bits of it that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Word {
    /// Bytes from the start of the structure.
    pub(super) offset: u8,
    /// All ones, or what the word is masked with.
    pub(super) mask: u32,
}

impl Word {
    /// The system call's number.
    pub(super) const NUMBER: Word = Word { offset: 0, mask: u32::MAX };
    /// The architecture.
    pub(super) const ARCH: Word = Word { offset: 4, mask: u32::MAX };
}

/// How a word is compared with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    Equal(u32),
    Greater(u32),
    GreaterEqual(u32),
    /// Whether they have a bit in common.
    AnyBit(u32),
}

impl Comparison {
    pub(super) fn holds(self, word: u32) -> bool {
        match self {
            Comparison::Equal(value) => word == value,
            Comparison::Greater(value) => word > value,
            Comparison::GreaterEqual(value) => word >= value,
            Comparison::AnyBit(bits) => word & bits != 0,
        }
    }
}

/// What the filter does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// Answers with an action and its data.
    Return(u32),
    /// Loads a word, or looks at the one that is loaded, and goes on by a comparison.
    Branch { load: Option<Word>, comparison: Comparison, then: NodeId, otherwise: NodeId },
}

/// Nodes, each of which only refers to earlier ones.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    ids: HashMap<Node, NodeId>,
    /// The last answer that was asked for: most calls of a profile have the same one.
    last_answer: Option<(u32, NodeId)>,
}

impl Graph {
    pub(super) fn answer(&mut self, action: u32) -> NodeId {
        match self.last_answer {
            Some((last, id)) if last == action => id,
            _ => {
                let id = self.add(Node::Return(action));
                self.last_answer = Some((action, id));
                id
            }
        }
    }

    /// A decision, or its outcome where that is an answer either way.
    pub(super) fn branch(
        &mut self,
        load: Option<Word>,
        comparison: Comparison,
        then: NodeId,
        otherwise: NodeId,
    ) -> NodeId {
        // Other nodes may rely on the word that this one loads.
        if then == otherwise && matches!(self.node(then), Node::Return(_)) {
            return then;
        }
        self.add(Node::Branch { load, comparison, then, otherwise })
    }

    pub(super) fn node(&self, id: NodeId) -> Node {
        self.nodes[id.0 as usize]
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The position of a node in the order of creation.
    pub(super) fn index(id: NodeId) -> usize {
        id.0 as usize
    }

    fn add(&mut self, node: Node) -> NodeId {
        let next = NodeId(self.nodes.len() as u32);
        *self.ids.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            next
        })
    }
}
