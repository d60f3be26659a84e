use super::annotations::{decode_base64, program_from_annotation};
use super::cache::{self, decode, encode};
use super::{Arch, Program, compile};
use gantry_types::oci::Seccomp;

/// A profile as JSON: what it compiles to is a program that the kernel takes.
pub fn profile(data: &[u8]) {
    let Ok(profile) = gantry_types::oci::from_json::<Seccomp>(data) else { return };
    for native in [Arch::X86_64, Arch::Aarch64, Arch::S390X] {
        let Ok(program) = compile(&profile, native) else { continue };
        assert!(program.instructions.len() <= gantry_sys::seccomp::MAX_INSTRUCTIONS);
        for (index, instruction) in program.instructions.iter().enumerate() {
            let furthest = usize::from(instruction.jump_true.max(instruction.jump_false));
            assert!(index + furthest < program.instructions.len());
        }
    }
}

/// A file of the cache: as it is, and with a head that fits.
pub fn cache_entry(bytes: &[u8]) {
    let key: cache::Key = *b"0123456789abcdef0123456789abcdef";
    assert_eq!(decode(&key, bytes), None, "nobody guesses the checksum");
    let mut program = Program { flags: bytes.len() as u32, ..Program::default() };
    let whole = bytes.len() / 8 * 8;
    program.instructions = Program::instructions_from_bytes(&bytes[..whole]).expect("whole instructions");
    program.listener = program.flags & gantry_sys::seccomp::flag::NEW_LISTENER != 0;
    let mut entry = encode(&key, &program);
    assert_eq!(decode(&key, &entry).as_ref(), Some(&program));
    // One bit of damage anywhere.
    let at = bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let length = entry.len();
    entry[at % length] ^= 1 << (at % 8);
    assert_eq!(decode(&key, &entry), None);
}

/// A program in base64.
pub fn bpf_annotation(text: &str) {
    if let Ok(program) = program_from_annotation(text, None) {
        assert_eq!(decode_base64(text), Some(program.to_bytes()));
    }
}
