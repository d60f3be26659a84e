//! The last calls of a clone child, made from a page of its own after the runtime's binary has left its memory.
//!
//! Until execve(2) succeeds, `/proc/self/exe` of a container's process is the runtime's binary, and a payload such as
//! `#!/proc/self/exe` gets it opened, for writing later (CVE-2019-5736). Executing a protected copy of the runtime first
//! costs 0.5 ms. Instead the child, just before its execve(2),
//!
//! 1. copies a few instructions to an anonymous page and goes on there,
//! 2. unmaps the binary's segments,
//! 3. makes an empty memory file its executable (`PR_SET_MM_MAP` of prctl(2), which wants that nothing maps the old one),
//! 4. installs its seccomp filter and gives up its last capabilities,
//! 5. executes the program.
//!
//! So the program, its interpreter and whoever looks at the process meanwhile find an empty file. It costs about 20 µs.
//! Before, the process is not dumpable, and only those who could trace it anyway can open its `exe`: ptrace(2).
//!
//! The calls are a list that the instructions walk; a call that fails is reported by a message made beforehand.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::caps::{CapSets, CapsetArguments};
use crate::exec::StringArray;
use crate::seal::{MemoryMap, map_result, segments};
use crate::seccomp::{FilterProgram, Instruction};
use crate::syscall::{check, exit_now};

/// The length of a report; its last four bytes become the negative errno.
pub const REPORT_BYTES: usize = 16;

/// A report for each kind of call that can fail.
#[derive(Debug, Clone, Copy)]
pub struct Reports {
    /// Leaving the binary.
    pub leave: [u8; REPORT_BYTES],
    /// Installing the filter.
    pub filter: [u8; REPORT_BYTES],
    /// Giving up capabilities.
    pub capabilities: [u8; REPORT_BYTES],
    /// Executing the program.
    pub execute: [u8; REPORT_BYTES],
}

/// What is to be done last.
#[derive(Debug)]
pub struct Finale<'a> {
    /// The program's path.
    pub program: &'a CStr,
    /// Its arguments.
    pub argv: &'a StringArray,
    /// Its environment.
    pub envp: &'a StringArray,
    /// A seccomp filter and its flags.
    pub filter: Option<(&'a [Instruction], u32)>,
    /// Whether the filter comes after the capabilities, so that it may deny whatever execve(2) does not need: with
    /// no_new_privs it needs no privilege.
    pub filter_last: bool,
    /// The last capability sets.
    pub capabilities: Option<CapSets>,
    /// Where failures are told.
    pub reports: Reports,
    /// Who is told: at most two.
    pub listeners: [Option<BorrowedFd<'a>>; 2],
    /// Whether the binary has to be left: not where it is sealed already.
    pub leaves_binary: bool,
}

/// Whether [`perform`] can leave the binary on this kernel: CONFIG_CHECKPOINT_RESTORE.
///
/// It also needs `CAP_CHECKPOINT_RESTORE` (Linux 5.9) or `CAP_SYS_ADMIN` in the process's user namespace.
pub fn can_leave_binary() -> bool {
    let mut size = 0u32;
    // SAFETY: the kernel writes one 32-bit number.
    let result = unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP_SIZE, &raw mut size, 0u64, 0u64) };
    cfg!(target_arch = "x86_64") && result == 0 && size as usize == size_of::<MemoryMap>()
}

/// One call of the list.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Call {
    number: u64,
    arguments: [u64; 5],
    report: u64,
}

/// Segments, the executable, the filter, the capabilities and the program.
const MAX_CALLS: usize = 12;

struct List {
    calls: [Call; MAX_CALLS],
    len: usize,
}

impl List {
    fn push(
        &mut self,
        number: libc::c_long,
        arguments: [u64; 5],
        report: &mut [u8; REPORT_BYTES],
    ) -> Result<(), Errno> {
        let call = Call { number: number as u64, arguments, report: report.as_mut_ptr() as u64 };
        *self.calls.get_mut(self.len).ok_or(Errno::OVERFLOW)? = call;
        self.len += 1;
        Ok(())
    }
}

/// Does what is to be done last; returns only when not even the first call was made.
///
/// # Errors
/// What mmap(2) and memfd_create(2) give. Later failures are told to the listeners, and the process ends with status 1.
pub fn perform(finale: &Finale<'_>) -> Result<std::convert::Infallible, Errno> {
    let mut reports = finale.reports;
    let mut list = List { calls: [Call::default(); MAX_CALLS], len: 0 };
    // What the list points to lives on this stack, which stays mapped.
    let executable: OwnedFd;
    let map: MemoryMap;
    if finale.leaves_binary {
        executable = empty_executable()?;
        let (loaded, _) = segments();
        for segment in &loaded {
            list.push(
                libc::SYS_munmap,
                [segment.start as u64, segment.len as u64, 0, 0, 0],
                &mut reports.leave,
            )?;
        }
        map = any_map(&raw const reports as u64, executable.as_raw_fd());
        let size = size_of::<MemoryMap>() as u64;
        let arguments = [libc::PR_SET_MM as u64, libc::PR_SET_MM_MAP as u64, &raw const map as u64, size, 0];
        list.push(libc::SYS_prctl, arguments, &mut reports.leave)?;
    }
    let filter: Option<(FilterProgram, u32)> = match finale.filter {
        Some((instructions, flags)) => Some((FilterProgram::new(instructions)?, flags)),
        None => None,
    };
    let sets = finale.capabilities.as_ref().map(CapsetArguments::new);
    for turn in [!finale.filter_last, finale.filter_last] {
        if let Some((program, flags)) = filter.as_ref().filter(|_| turn) {
            const SET_MODE_FILTER: u64 = 1;
            let arguments = [SET_MODE_FILTER, u64::from(*flags), &raw const *program as u64, 0, 0];
            list.push(libc::SYS_seccomp, arguments, &mut reports.filter)?;
        }
        if let Some(sets) = sets.as_ref().filter(|_| !turn) {
            let (header, data) = sets.addresses();
            list.push(libc::SYS_capset, [header, data, 0, 0, 0], &mut reports.capabilities)?;
        }
    }
    let arguments =
        [finale.program.as_ptr() as u64, finale.argv.address() as u64, finale.envp.address() as u64, 0, 0];
    list.push(libc::SYS_execve, arguments, &mut reports.execute)?;
    let [first, second] = finale.listeners.map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd()));
    walk(&list.calls, first, second)
}

/// An empty file that may be a process's executable.
fn empty_executable() -> Result<OwnedFd, Errno> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    const MFD_EXEC: u32 = 0x10;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux 6.3 wants to be told that the file may be executed; before, the flag is an error.
    let file = match memfd_create(c"gantry", flags | MemfdFlags::from_bits_retain(MFD_EXEC)) {
        Err(Errno::INVAL) => memfd_create(c"gantry", flags)?,
        result => result?,
    };
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// A map whose addresses satisfy the kernel: the next call replaces all of it.
fn any_map(address: u64, executable: i32) -> MemoryMap {
    MemoryMap {
        start_code: address,
        end_code: address + 1,
        start_data: address,
        end_data: address,
        start_brk: address,
        brk: address,
        start_stack: address,
        arg_start: address,
        arg_end: address,
        env_start: address,
        env_end: address,
        auxv: 0,
        auxv_size: 0,
        exe_fd: executable as u32,
    }
}

#[cfg(target_arch = "x86_64")]
mod arch {
    // rdi: the calls; esi, edx: descriptors for the report, or -1. The offsets are those of `Call`.
    core::arch::global_asm!(
        ".balign 16",
        ".global gantry_finale_start",
        "gantry_finale_start:",
        "mov r12, rdi",
        "mov r14d, esi",
        "mov r15d, edx",
        "2:",
        "mov rax, [r12]",
        "mov rdi, [r12 + 8]",
        "mov rsi, [r12 + 16]",
        "mov rdx, [r12 + 24]",
        "mov r10, [r12 + 32]",
        "mov r8, [r12 + 40]",
        "xor r9d, r9d",
        "syscall",
        "test rax, rax",
        "js 3f",
        "add r12, 56",
        "jmp 2b",
        "3:",
        "mov r13, [r12 + 48]",
        "mov [r13 + 12], eax",
        // write(2) to both; who is not there gives EBADF.
        "mov eax, 1",
        "mov edi, r14d",
        "mov rsi, r13",
        "mov edx, 16",
        "syscall",
        "mov eax, 1",
        "mov edi, r15d",
        "mov rsi, r13",
        "mov edx, 16",
        "syscall",
        // exit_group(2)
        "mov eax, 231",
        "mov edi, 1",
        "syscall",
        "ud2",
        ".global gantry_finale_end",
        "gantry_finale_end:",
    );

    unsafe extern "C" {
        pub(super) static gantry_finale_start: u8;
        pub(super) static gantry_finale_end: u8;
    }

    /// The instructions.
    pub(super) fn code() -> &'static [u8] {
        let start = &raw const gantry_finale_start;
        let end = &raw const gantry_finale_end;
        // SAFETY: both labels are in the same section of this program, the second behind the first, and what is between
        // them is instructions that nobody writes.
        unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod arch {
    /// None: [`super::can_leave_binary`] says so, and the calls are made one by one.
    pub(super) fn code() -> &'static [u8] {
        &[]
    }
}

fn walk(calls: &[Call; MAX_CALLS], first: i32, second: i32) -> Result<std::convert::Infallible, Errno> {
    let code = arch::code();
    if code.is_empty() {
        return walk_in_place(calls, first, second);
    }
    const PAGE: usize = 4096;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = map_result(unsafe { libc::mmap(std::ptr::null_mut(), PAGE, writable, flags, -1, 0) })?;
    // SAFETY: the page is fresh and larger than the instructions, a few dozen.
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), page.cast::<u8>(), code.len()) };
    // SAFETY: the range is the page that was mapped above.
    check(unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) }.into())?;
    // SAFETY: the page holds the instructions of a function of this signature and can be executed.
    let run =
        unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(*const Call, i32, i32) -> !>(page) };
    run(calls.as_ptr(), first, second)
}

/// The same walk in the binary itself, where it need not be left.
fn walk_in_place(
    calls: &[Call; MAX_CALLS],
    first: i32,
    second: i32,
) -> Result<std::convert::Infallible, Errno> {
    for call in calls {
        let [a, b, c, d, e] = call.arguments;
        // SAFETY: each call was made by `perform` with the arguments that it takes; munmap is not among them here.
        if let Err(errno) = check(unsafe { libc::syscall(call.number as libc::c_long, a, b, c, d, e) }) {
            // SAFETY: the report is one of `perform`'s, alive on its stack.
            let report = unsafe { &mut *(call.report as *mut [u8; REPORT_BYTES]) };
            report[12..].copy_from_slice(&(-errno.raw_os_error()).to_ne_bytes());
            for fd in [first, second] {
                // SAFETY: the kernel reads the report's bytes.
                unsafe { libc::write(fd, report.as_ptr().cast(), REPORT_BYTES) };
            }
            exit_now(1);
        }
    }
    exit_now(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clone::{CloneArgs, spawn};
    use crate::process::{Exit, Wait, wait};
    use std::ffi::CString;
    use std::os::fd::AsFd;

    fn finale(program: &CStr, arguments: &[&str], listener: BorrowedFd<'_>) -> i32 {
        let argv = StringArray::new(arguments.iter().map(|a| CString::new(*a).unwrap()).collect());
        let envp = StringArray::new(Vec::new());
        let report = |n: u8| [n; REPORT_BYTES];
        let reports =
            Reports { leave: report(1), filter: report(2), capabilities: report(3), execute: report(4) };
        let program = program.to_owned();
        let finale = Finale {
            program: &program,
            argv: &argv,
            envp: &envp,
            filter: None,
            filter_last: false,
            capabilities: None,
            reports,
            listeners: [Some(listener), None],
            leaves_binary: true,
        };
        let Err(_) = perform(&finale);
        100
    }

    fn run(program: &CStr, arguments: &[&str]) -> (Exit, Vec<u8>) {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let child = spawn(&CloneArgs::default(), || finale(program, arguments, writer.as_fd())).unwrap();
        drop(writer);
        let exit = wait(Wait::Child(child.pidfd.as_fd())).unwrap().unwrap().1;
        let mut report = vec![0; 32];
        let len = rustix::io::read(&reader, &mut report).unwrap();
        report.truncate(len);
        (exit, report)
    }

    #[test]
    fn the_program_runs_and_the_binary_is_gone() {
        if !can_leave_binary() || !rustix::process::geteuid().is_root() {
            println!(
                "SKIP the_program_runs_and_the_binary_is_gone: needs root and CONFIG_CHECKPOINT_RESTORE"
            );
            return;
        }
        assert_eq!(run(c"/bin/sh", &["sh", "-c", "exit 7"]), (Exit::Code(7), vec![]));
        // What the kernel would open for `#!/proc/self/exe` is the empty file, which it cannot execute.
        let (exit, report) = run(c"/proc/self/exe", &["x"]);
        assert_eq!(exit, Exit::Code(1));
        assert_eq!(report[..12], [4; 12]);
        assert_eq!(report[12..], (-Errno::NOEXEC.raw_os_error()).to_ne_bytes());
    }

    #[test]
    fn a_missing_program_is_reported() {
        if !can_leave_binary() || !rustix::process::geteuid().is_root() {
            println!("SKIP a_missing_program_is_reported: needs root and CONFIG_CHECKPOINT_RESTORE");
            return;
        }
        let (exit, report) = run(c"/nonexistent", &["x"]);
        assert_eq!((exit, report[12..].to_vec()), (Exit::Code(1), (-2i32).to_ne_bytes().to_vec()));
    }
}
