//! An interpreter of seccomp's BPF that also checks what the kernel checks before it takes a program.

use gantry_sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

/// `struct seccomp_data`: what a filter looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Call {
    /// The number of the system call.
    pub number: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

impl Call {
    /// The 32-bit word at `offset`, as a machine of the given byte order has it in memory.
    fn word(&self, offset: u32, big_endian: bool) -> u32 {
        let wide = |value: u64| {
            let second = offset % 8 == 4;
            if second == big_endian { value as u32 } else { (value >> 32) as u32 }
        };
        match offset {
            0 => self.number,
            4 => self.arch,
            8..16 => wide(self.instruction_pointer),
            _ => wide(self.arguments[(offset as usize - 16) / 8]),
        }
    }
}

/// Why the kernel would not take a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(String);

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The answer, with its data.
    pub answer: u32,
    /// How many instructions were executed.
    pub steps: usize,
    /// Whether an argument or the instruction pointer was looked at: the kernel then has to run the program for
    /// every such call.
    pub looked_at_arguments: bool,
}

/// Instructions of a program that passed the kernel's checks.
#[derive(Debug, Clone)]
pub struct Checked<'a>(&'a [Instruction]);

/// Checks a program as `bpf_check_classic` and `seccomp_check_filter` do, and that all of it can be reached.
pub fn check(program: &[Instruction]) -> Result<Checked<'_>, Invalid> {
    let fail = |at: usize, why: &str| Err(Invalid(format!("instruction {at}: {why}")));
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return fail(program.len(), "the program is empty or too long");
    }
    let mut reached = vec![false; program.len()];
    reached[0] = true;
    for (at, instruction) in program.iter().enumerate() {
        if !reached[at] {
            return fail(at, "cannot be reached");
        }
        let mut targets = Vec::new();
        match instruction.code {
            0x20 if instruction.k % 4 == 0 && instruction.k < 64 => targets.push(at + 1),
            0x20 => return fail(at, "loads from outside of the data"),
            0x54 => targets.push(at + 1),
            0x05 => targets.push(at + 1 + instruction.k as usize),
            0x15 | 0x25 | 0x35 | 0x45 => {
                targets.push(at + 1 + usize::from(instruction.jump_true));
                targets.push(at + 1 + usize::from(instruction.jump_false));
            }
            0x06 => {}
            _ => return fail(at, "has an unknown code"),
        }
        for target in targets {
            match reached.get_mut(target) {
                Some(reached) => *reached = true,
                None => return fail(at, "leaves the program"),
            }
        }
    }
    Ok(Checked(program))
}

impl Checked<'_> {
    /// Runs the program on a little-endian machine.
    pub fn run(&self, call: &Call) -> Run {
        self.run_on(call, false)
    }

    /// Runs the program on a machine of the given byte order.
    pub fn run_on(&self, call: &Call, big_endian: bool) -> Run {
        let mut accumulator = 0;
        let mut at = 0;
        let mut run = Run { answer: 0, steps: 0, looked_at_arguments: false };
        loop {
            let Instruction { code, jump_true, jump_false, k } = self.0[at];
            run.steps += 1;
            at += 1;
            let holds = match code {
                0x20 => {
                    accumulator = call.word(k, big_endian);
                    run.looked_at_arguments |= k >= 8;
                    continue;
                }
                0x54 => {
                    accumulator &= k;
                    continue;
                }
                0x05 => {
                    at += k as usize;
                    continue;
                }
                0x15 => accumulator == k,
                0x25 => accumulator > k,
                0x35 => accumulator >= k,
                0x45 => accumulator & k != 0,
                _ => {
                    run.answer = k;
                    return run;
                }
            };
            at += usize::from(if holds { jump_true } else { jump_false });
        }
    }
}

/// A program of somebody else's, which may have parts that cannot be reached.
#[derive(Debug, Clone)]
pub struct Reference<'a>(Checked<'a>);

impl<'a> Reference<'a> {
    /// Takes `program` as it is; running an invalid one may panic.
    pub fn new(program: &'a [Instruction]) -> Reference<'a> {
        Reference(Checked(program))
    }

    /// Runs the program on a little-endian machine.
    pub fn run(&self, call: &Call) -> Run {
        self.0.run(call)
    }
}

/// One line per instruction, for messages of failed tests.
pub fn disassemble(program: &[Instruction]) -> String {
    let line = |(at, instruction): (usize, &Instruction)| {
        let Instruction { code, jump_true, jump_false, k } = *instruction;
        let jump = |name: &str| {
            let (then, otherwise) = (at + 1 + usize::from(jump_true), at + 1 + usize::from(jump_false));
            format!("{name} {k:#x} ? {then} : {otherwise}")
        };
        let text = match code {
            0x20 => format!("ld [{k}]"),
            0x54 => format!("and {k:#x}"),
            0x05 => format!("ja {}", at + 1 + k as usize),
            0x15 => jump("jeq"),
            0x25 => jump("jgt"),
            0x35 => jump("jge"),
            0x45 => jump("jset"),
            0x06 => format!("ret {k:#x}"),
            _ => format!("code {code:#x}"),
        };
        format!("{at:4}  {text}\n")
    };
    program.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn instruction(code: u16, jump_true: u8, jump_false: u8, k: u32) -> Instruction {
        Instruction { code, jump_true, jump_false, k }
    }

    #[test]
    fn programs_that_the_kernel_refuses_are_invalid() {
        let ret = instruction(0x06, 0, 0, 7);
        assert!(check(&[]).is_err());
        assert!(check(&[instruction(0x20, 0, 0, 64), ret]).is_err());
        assert!(check(&[instruction(0x20, 0, 0, 2), ret]).is_err());
        assert!(check(&[instruction(0x05, 0, 0, 1), ret]).is_err());
        assert!(check(&[instruction(0x15, 0, 1, 1), ret]).is_err());
        assert!(check(&[instruction(0x20, 0, 0, 0)]).is_err());
        assert!(check(&[ret, ret]).is_err());
        assert_eq!(check(&[ret]).unwrap().run(&Call::default()).answer, 7);
    }

    #[test]
    fn halves_of_arguments_depend_on_the_byte_order() {
        let program = [
            instruction(0x20, 0, 0, 20),
            instruction(0x15, 0, 1, 1),
            instruction(0x06, 0, 0, 1),
            instruction(0x06, 0, 0, 2),
        ];
        let call = Call { arguments: [1 << 32, 0, 0, 0, 0, 0], ..Call::default() };
        let checked = check(&program).unwrap();
        assert_eq!(checked.run(&call).answer, 1);
        assert_eq!(checked.run_on(&call, true).answer, 2);
    }
}
