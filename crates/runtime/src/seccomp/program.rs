//! What the compiler makes.

use gantry_sys::seccomp::{Instruction, flag};

/// A filter, ready for [`gantry_sys::seccomp::load`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// The instructions; none if there is nothing to load.
    pub instructions: Vec<Instruction>,
    /// Flags of seccomp(2), [`flag::NEW_LISTENER`] among them if a listener is wanted.
    pub flags: u32,
    /// Whether loading returns a notification descriptor, for the listener of the profile.
    pub listener: bool,
}

impl Program {
    /// Whether there is nothing to load: the profile means no filter.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// Asks for a notification descriptor.
    #[must_use]
    pub fn with_listener(self) -> Program {
        Program { flags: self.flags | flag::NEW_LISTENER, listener: true, ..self }
    }

    /// The instructions as `struct sock_filter` has them in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * size_of::<Instruction>());
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// Reads what [`Program::to_bytes`] wrote; `None` if the last instruction is cut.
    pub(super) fn instructions_from_bytes(bytes: &[u8]) -> Option<Vec<Instruction>> {
        let (instructions, rest) = bytes.as_chunks::<8>();
        rest.is_empty().then(|| {
            let instruction =
                |&[code0, code1, jump_true, jump_false, k0, k1, k2, k3]: &[u8; 8]| Instruction {
                    code: u16::from_ne_bytes([code0, code1]),
                    jump_true,
                    jump_false,
                    k: u32::from_ne_bytes([k0, k1, k2, k3]),
                };
            instructions.iter().map(instruction).collect()
        })
    }
}
