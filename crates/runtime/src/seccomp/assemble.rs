//! From a graph to instructions.
//!
//! BPF only jumps forward, and a comparison at most 255 instructions. The program is written from its end: what a node
//! refers to is placed before the node itself. Where a target has moved too far away, a copy of it (an answer) or a
//! jump to it is put within reach, and serves all nodes around it.

use super::graph::{Comparison, Graph, Node, NodeId, Word};
use gantry_sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

/// `BPF_LD | BPF_W | BPF_ABS`.
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
const JUMP_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
const JUMP_GREATER_EQUAL: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`.
const JUMP_ANY_BIT: u16 = 0x45;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// How far a comparison can jump.
const MAX_JUMP: usize = u8::MAX as usize;

/// The program would be longer than the kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Writes the program that starts at `root`.
pub(super) fn assemble(graph: &Graph, root: NodeId) -> Result<Vec<Instruction>, TooLong> {
    let mut assembler = Assembler { graph, reversed: Vec::new(), nearest: vec![None; graph.len()] };
    // Children before parents, without recursion: a chain of conditions may be as long as the program.
    let mut pending = vec![(root, false)];
    while let Some((id, children_done)) = pending.pop() {
        if assembler.nearest[Graph::index(id)].is_some() {
            continue;
        }
        match assembler.graph.node(id) {
            Node::Branch { then, otherwise, .. } if !children_done => {
                // The last one to be popped ends up next to the node.
                pending.extend([(id, true), (then, false), (otherwise, false)]);
            }
            node => assembler.write(id, node)?,
        }
    }
    let mut program = assembler.reversed;
    program.reverse();
    Ok(program)
}

struct Assembler<'a> {
    graph: &'a Graph,
    /// The program so far, its last instruction first.
    reversed: Vec<Instruction>,
    /// Where the copy of each node that is closest to the program's start is, counted from the end.
    nearest: Vec<Option<usize>>,
}

impl Assembler<'_> {
    fn write(&mut self, id: NodeId, node: Node) -> Result<(), TooLong> {
        match node {
            Node::Return(action) => self.push(RETURN, action)?,
            Node::Branch { load, comparison, then, otherwise } => {
                let (mut far, mut near) = (self.distance(then), self.distance(otherwise));
                while far > MAX_JUMP || near > MAX_JUMP {
                    self.bring_near(if far > MAX_JUMP { then } else { otherwise })?;
                    (far, near) = (self.distance(then), self.distance(otherwise));
                }
                let (code, k) = match comparison {
                    Comparison::Equal(k) => (JUMP_EQUAL, k),
                    Comparison::Greater(k) => (JUMP_GREATER, k),
                    Comparison::GreaterEqual(k) => (JUMP_GREATER_EQUAL, k),
                    Comparison::AnyBit(k) => (JUMP_ANY_BIT, k),
                };
                self.emit(Instruction { code, jump_true: far as u8, jump_false: near as u8, k })?;
                if let Some(word) = load {
                    self.load(word)?;
                }
            }
        }
        self.nearest[Graph::index(id)] = Some(self.reversed.len() - 1);
        Ok(())
    }

    fn load(&mut self, word: Word) -> Result<(), TooLong> {
        if word.mask != u32::MAX {
            self.push(AND, word.mask)?;
        }
        self.push(LOAD, word.offset.into())
    }

    /// How many instructions are between the next one and `target`.
    fn distance(&self, target: NodeId) -> usize {
        let position = self.nearest[Graph::index(target)].expect("children are written before their parents");
        self.reversed.len() - 1 - position
    }

    fn bring_near(&mut self, target: NodeId) -> Result<(), TooLong> {
        match self.graph.node(target) {
            Node::Return(action) => self.push(RETURN, action)?,
            Node::Branch { .. } => {
                let distance = self.distance(target);
                self.push(JUMP, distance as u32)?;
            }
        }
        self.nearest[Graph::index(target)] = Some(self.reversed.len() - 1);
        Ok(())
    }

    fn push(&mut self, code: u16, k: u32) -> Result<(), TooLong> {
        self.emit(Instruction { code, jump_true: 0, jump_false: 0, k })
    }

    fn emit(&mut self, instruction: Instruction) -> Result<(), TooLong> {
        if self.reversed.len() == MAX_INSTRUCTIONS {
            return Err(TooLong);
        }
        self.reversed.push(instruction);
        Ok(())
    }
}
