//! A program that does nothing: the first process of a pod's pid namespace.
//!
//! It is a whole executable of a few hundred bytes, so that a pod needs no image and its pause next to no memory. It lets
//! the kernel reap whoever is orphaned to it (SIGCHLD ignored: waitpid(2)), ends on SIGTERM and SIGINT, and sleeps.

use std::arch::global_asm;

global_asm!(
    ".pushsection .rodata.gantry_pause,\"a\",@progbits",
    ".globl gantry_pause_begin",
    ".globl gantry_pause_end",
    "gantry_pause_begin:",
    "sub rsp, 64",
    // struct kernel_sigaction: handler, flags, restorer, mask.
    "mov qword ptr [rsp], 1", // SIG_IGN
    "mov qword ptr [rsp + 8], 0",
    "mov qword ptr [rsp + 16], 0",
    "mov qword ptr [rsp + 24], 0",
    "mov edi, 17", // SIGCHLD
    "mov rsi, rsp",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, 13", // rt_sigaction
    "syscall",
    "lea rax, [rip + 3f]",
    "mov qword ptr [rsp], rax",
    "mov qword ptr [rsp + 8], 0x04000000", // SA_RESTORER, which x86_64 demands
    "mov qword ptr [rsp + 16], rax",
    "mov edi, 15", // SIGTERM
    "mov eax, 13",
    "syscall",
    "mov edi, 2", // SIGINT
    "mov eax, 13",
    "syscall",
    "2:",
    "mov eax, 34", // pause
    "syscall",
    "jmp 2b",
    "3:",
    "xor edi, edi",
    "mov eax, 231", // exit_group
    "syscall",
    "gantry_pause_end:",
    ".popsection",
);

unsafe extern "C" {
    static gantry_pause_begin: u8;
    static gantry_pause_end: u8;
}

/// Where the program is loaded.
const BASE: u64 = 0x40_0000;
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// The executable: elf(5), one segment, and a stack that cannot be executed.
pub fn executable() -> Vec<u8> {
    let begin = &raw const gantry_pause_begin;
    let end = &raw const gantry_pause_end;
    // SAFETY: both are symbols of one section, the second behind the first.
    let len = unsafe { end.offset_from(begin) } as usize;
    // SAFETY: the bytes between the two symbols are initialised, read-only data of the program.
    let code = unsafe { std::slice::from_raw_parts(begin, len) };
    let start = HEADER + 2 * PROGRAM_HEADER;
    let size = (start + code.len()) as u64;
    let mut image = Vec::with_capacity(size as usize);
    // ELFCLASS64, little endian, version 1.
    image.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for half in [2u16, 62] {
        // ET_EXEC, EM_X86_64
        image.extend_from_slice(&half.to_le_bytes());
    }
    image.extend_from_slice(&1u32.to_le_bytes());
    for word in [BASE + start as u64, HEADER as u64, 0] {
        // e_entry, e_phoff, e_shoff
        image.extend_from_slice(&word.to_le_bytes());
    }
    image.extend_from_slice(&0u32.to_le_bytes());
    for half in [HEADER as u16, PROGRAM_HEADER as u16, 2, 64, 0, 0] {
        // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
        image.extend_from_slice(&half.to_le_bytes());
    }
    // PT_LOAD, PF_R | PF_X; PT_GNU_STACK, PF_R | PF_W: type, flags, offset, vaddr, paddr, filesz, memsz, align.
    for (kind, flags, address, size, align) in
        [(1u32, 5u32, BASE, size, 0x1000u64), (0x6474_e551, 6, 0, 0, 16)]
    {
        image.extend_from_slice(&kind.to_le_bytes());
        image.extend_from_slice(&flags.to_le_bytes());
        for word in [0, address, address, size, size, align] {
            image.extend_from_slice(&word.to_le_bytes());
        }
    }
    image.extend_from_slice(code);
    image
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_program_sleeps_until_it_is_told_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create_new(true).mode(0o755).open(&path).unwrap();
        std::io::Write::write_all(&mut file, &executable()).unwrap();
        drop(file);
        // By another process: a fork of this threaded one may still hold the file open for writing.
        let copy = dir.path().join("copy");
        assert!(Command::new("cp").args([&path, &copy]).status().unwrap().success());
        let mut child = Command::new(&copy).spawn().unwrap();
        // Once it sleeps in pause(2), its handlers are set.
        let wchan = format!("/proc/{}/syscall", child.id());
        while !std::fs::read_to_string(&wchan).unwrap().starts_with("34 ") {
            std::thread::yield_now();
        }
        assert!(child.try_wait().unwrap().is_none());
        crate::process::kill(child.id() as i32, 15).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
