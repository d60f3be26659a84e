//! The kernel's part, for tests: what a program answers, and what the verifier refuses.

use super::*;

/// Runs a program as the kernel would; panics on what the verifier would refuse.
pub(in crate::devices) fn interpret(
    program: &[Instruction],
    kind: Kind,
    major: u32,
    minor: u32,
    access: Access,
) -> bool {
    let kind = if kind == Kind::Block { BLOCK } else { CHAR };
    let context = [(u32::from(access.bits()) << 16) | kind.cast_unsigned(), major, minor];
    let mut registers = [None::<u32>; 11];
    let mut at = 0_usize;
    loop {
        let Instruction { code, registers: pair, offset, immediate } = program[at];
        let (dst, src) = (usize::from(pair & 15), usize::from(pair >> 4));
        let immediate = immediate.cast_unsigned();
        let jump = |taken: bool| if taken { usize::try_from(offset).expect("jumps go forward") } else { 0 };
        at += 1;
        match code {
            op::LOAD => {
                assert_eq!(src, usize::from(CONTEXT));
                registers[dst] = Some(context[usize::try_from(offset).expect("offsets are positive") / 4]);
            }
            op::COPY => registers[dst] = Some(registers[src].expect("initialised")),
            op::MOVE => registers[dst] = Some(immediate),
            op::AND => registers[dst] = Some(registers[dst].expect("initialised") & immediate),
            op::SHIFT_RIGHT => registers[dst] = Some(registers[dst].expect("initialised") >> immediate),
            op::JUMP_UNEQUAL => at += jump(registers[dst].expect("initialised") != immediate),
            op::JUMP_EQUAL => at += jump(registers[dst].expect("initialised") == immediate),
            op::EXIT => return registers[0].expect("initialised") == 1,
            code => panic!("unknown operation {code:#x}"),
        }
    }
}

/// The verifier refuses instructions that no path leads to.
pub(in crate::devices) fn all_reachable(program: &[Instruction]) -> bool {
    let mut reached = vec![false; program.len()];
    let mut paths = vec![0];
    while let Some(at) = paths.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let instruction = program[at];
        if instruction.code != op::EXIT {
            paths.push(at + 1);
        }
        if matches!(instruction.code, op::JUMP_EQUAL | op::JUMP_UNEQUAL) {
            paths.push(at + 1 + usize::try_from(instruction.offset).expect("jumps go forward"));
        }
    }
    reached.into_iter().all(|reached| reached)
}
