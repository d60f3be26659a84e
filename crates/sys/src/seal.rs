//! Protection of our own binary from containers: CVE-2019-5736.
//!
//! Until the payload's execve(2), `/proc/self/exe` of a container's process is the runtime's binary, and a payload such
//! as `#!/proc/self/exe` gets it opened. Whoever holds that descriptor must not be able to write through it. So the
//! process's executable becomes a detached read-only mount of the binary, without executing anything again:
//!
//! 1. clone the binary's mount, make the clone read-only, open the binary in it, and drop the clone, which then lives
//!    in no namespace and can be changed by nobody, as long as the open file does;
//! 2. map each segment of the program anew from that file (same inode, same page cache), copying what is writable;
//! 3. now that nothing maps the old file any more, `PR_SET_MM_MAP` makes the new one the executable.
//!
//! That costs about 0.3 ms, where an execve(2) of a sealed copy costs 0.5 ms and its memory. Where the first step lacks
//! privileges or the kernel lacks a call, the caller executes a sealed memory file instead ([`exec_sealed_copy`]). A
//! clone child that executes one program and nothing else needs neither: [`crate::finale`].

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, openat,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::mount::{ATTR_RDONLY, MountAttr, Scope, mount_setattr};
use crate::path::FdPath;
use crate::syscall::check;

const EXE: &std::ffi::CStr = c"/proc/self/exe";
const PAGE: usize = 4096;

/// Whether the executable is a sealed copy or a detached read-only mount already.
///
/// # Errors
/// What opening `/proc/self/exe` gives.
pub fn is_sealed() -> Result<bool, Errno> {
    let exe = openat(CWD, EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
        return Ok(true);
    }
    let detached = rustix::fs::readlinkat(CWD, EXE, Vec::new())?.as_bytes() == b"/";
    let flags = rustix::fs::fstatvfs(&exe)?.f_flag;
    Ok(detached && flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Makes the process's executable a detached read-only mount of the same binary, in place.
///
/// mount_setattr(2) (Linux 5.12) needs `CAP_SYS_ADMIN`; `PR_SET_MM_MAP` of prctl(2) with an executable needs
/// `CAP_CHECKPOINT_RESTORE` (Linux 5.9) and CONFIG_CHECKPOINT_RESTORE. The process must be single-threaded.
///
/// # Errors
/// `EPERM`, `ENOSYS`, `EINVAL`: not possible here; nothing that can be seen has changed.
pub fn seal_in_place() -> Result<(), Errno> {
    let file = detached_binary()?;
    remap_segments(file.as_fd())?;
    set_executable(file.as_fd())
}

fn detached_binary() -> Result<OwnedFd, Errno> {
    detached(openat(CWD, EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?.as_fd())
}

/// Opens a file anew, for reading, in a read-only mount of its own that is in no namespace: whoever executes that can be
/// seen by a container ([`is_sealed`]).
///
/// mount_setattr(2), Linux 5.12; needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// `EPERM`, `ENOSYS`: not possible here.
pub fn detached(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(file, c"", flags)?;
    let attr = MountAttr { attr_set: ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(tree.as_fd(), &attr, Scope::Mount)?;
    openat(CWD, FdPath::new(tree.as_fd()).as_cstr(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The pages of one loaded segment that come from the file.
pub(crate) struct Segment {
    pub(crate) start: usize,
    pub(crate) len: usize,
    offset: usize,
    flags: u32,
}

impl Segment {
    /// Whether the program may write to it.
    pub(crate) fn is_writable(&self) -> bool {
        self.flags & libc::PF_W != 0
    }
}

/// The program's loaded segments, and the range that the linker asked to be read-only after relocation.
pub(crate) fn segments() -> (Vec<Segment>, Option<(usize, usize)>) {
    // SAFETY: getauxval has no precondition.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as *const libc::Elf64_Phdr;
    // SAFETY: as above.
    let count = unsafe { libc::getauxval(libc::AT_PHNUM) } as usize;
    // SAFETY: the kernel put the address and the number of the program headers there, and they are mapped for good.
    let headers = unsafe { std::slice::from_raw_parts(headers, count) };
    let base = headers
        .iter()
        .find(|h| h.p_type == libc::PT_PHDR)
        .map_or(0, |h| (headers.as_ptr() as usize).wrapping_sub(h.p_vaddr as usize));
    let mut loaded = Vec::with_capacity(8);
    let mut relro = None;
    for header in headers {
        let address = base + header.p_vaddr as usize;
        match header.p_type {
            libc::PT_LOAD if header.p_filesz > 0 => {
                let slack = address % PAGE;
                loaded.push(Segment {
                    start: address - slack,
                    len: (header.p_filesz as usize + slack).next_multiple_of(PAGE),
                    offset: header.p_offset as usize - slack,
                    flags: header.p_flags,
                });
            }
            libc::PT_GNU_RELRO => {
                // glibc protects the whole pages only.
                let end = (address + header.p_memsz as usize) / PAGE * PAGE;
                relro = Some((address / PAGE * PAGE, end));
            }
            _ => {}
        }
    }
    (loaded, relro)
}

fn remap_segments(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let (loaded, relro) = segments();
    for segment in &loaded {
        if segment.flags & libc::PF_W != 0 {
            copy_segment(segment, relro)?;
        } else {
            map_segment(segment, file)?;
        }
    }
    Ok(())
}

pub(crate) fn map_result(address: *mut libc::c_void) -> Result<*mut libc::c_void, Errno> {
    if address == libc::MAP_FAILED {
        check(-1)?;
    }
    Ok(address)
}

/// Maps a segment that is never written again over itself, from the same bytes of the same inode.
fn map_segment(segment: &Segment, file: BorrowedFd<'_>) -> Result<(), Errno> {
    let protection = libc::PROT_READ | if segment.flags & libc::PF_X != 0 { libc::PROT_EXEC } else { 0 };
    // SAFETY: the range is a read-only segment of this program, and gets the same content at the same place in one
    // step: the file is the running binary, which nobody can have written meanwhile (ETXTBSY).
    map_result(unsafe {
        libc::mmap(
            segment.start as *mut libc::c_void,
            segment.len,
            protection,
            libc::MAP_PRIVATE | libc::MAP_FIXED,
            file.as_raw_fd(),
            segment.offset as libc::off_t,
        )
    })
    .map(drop)
}

/// Puts an anonymous copy of a writable segment in its place.
fn copy_segment(segment: &Segment, relro: Option<(usize, usize)>) -> Result<(), Errno> {
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let copy = map_result(unsafe { libc::mmap(std::ptr::null_mut(), segment.len, writable, flags, -1, 0) })?;
    // Nothing from here to mremap may write to the program's data, or the write would be lost; errno and the stack
    // are elsewhere, and the process has one thread.
    // SAFETY: the source is a mapped, readable segment and the target a fresh mapping of the same length.
    unsafe { std::ptr::copy_nonoverlapping(segment.start as *const u8, copy.cast::<u8>(), segment.len) };
    let end = segment.start + segment.len;
    if let Some((from, to)) = relro.filter(|&(from, to)| from >= segment.start && to <= end && from < to) {
        let inside = copy.wrapping_byte_add(from - segment.start);
        // SAFETY: the range is inside the new mapping.
        check(unsafe { libc::mprotect(inside, to - from, libc::PROT_READ) }.into())?;
        // mremap(2) moves one mapping at a time.
        move_mapping(copy, from - segment.start, segment.start)?;
        move_mapping(inside, to - from, from)?;
        return move_mapping(inside.wrapping_byte_add(to - from), end - to, to);
    }
    move_mapping(copy, segment.len, segment.start)
}

fn move_mapping(from: *mut libc::c_void, len: usize, to: usize) -> Result<(), Errno> {
    if len == 0 {
        return Ok(());
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the source is a mapping of ours with the bytes of the target, which it replaces in one step.
    map_result(unsafe { libc::mremap(from, len, len, flags, to as *mut libc::c_void) }).map(drop)
}

/// `struct prctl_mm_map` of prctl(2), PR_SET_MM_MAP.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MemoryMap {
    pub(crate) start_code: u64,
    pub(crate) end_code: u64,
    pub(crate) start_data: u64,
    pub(crate) end_data: u64,
    pub(crate) start_brk: u64,
    pub(crate) brk: u64,
    pub(crate) start_stack: u64,
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_start: u64,
    pub(crate) env_end: u64,
    pub(crate) auxv: u64,
    pub(crate) auxv_size: u32,
    pub(crate) exe_fd: u32,
}

/// Makes `file` the executable, and leaves the rest of the memory map's description as it is.
fn set_executable(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = openat(CWD, c"/proc/self/stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0u8; 1024];
    let len = rustix::io::read(&stat, &mut text)?;
    // Behind the last parenthesis of the program's name, which may itself hold spaces and parentheses, is field 3.
    let start = text[..len].iter().rposition(|&b| b == b')').ok_or(Errno::INVAL)? + 2;
    let field = |number: usize| -> u64 {
        let digits = text[start..len].split(|&b| b == b' ').nth(number - 3).unwrap_or_default();
        digits.iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + u64::from(b - b'0'))
    };
    // SAFETY: sbrk(0) moves nothing.
    let brk = unsafe { libc::sbrk(0) } as u64;
    // The numbers are those of proc_pid_stat(5).
    let map = MemoryMap {
        start_code: field(26),
        end_code: field(27),
        start_stack: field(28),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        arg_start: field(48),
        arg_end: field(49),
        env_start: field(50),
        env_end: field(51),
        brk,
        auxv: 0,
        auxv_size: 0,
        exe_fd: file.as_raw_fd() as u32,
    };
    // SAFETY: the kernel reads the size given of a live structure; the values are the process's own, but for the file.
    check(
        unsafe {
            libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size_of::<MemoryMap>(), 0u64)
        }
        .into(),
    )
    .map(drop)
}

/// Executes a sealed copy of the binary in memory with the same arguments and environment; returns only on failure.
///
/// memfd_create(2), Linux 3.17; needs no privilege. It costs the binary's size in memory while the process lives.
///
/// # Errors
/// `EACCES` where the system forbids executable memory files, and what copying gives.
pub fn exec_sealed_copy() -> Result<std::convert::Infallible, Errno> {
    const MFD_EXEC: u32 = 0x10;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = c"gantry-runtime";
    // Linux 6.3 wants to be told that the file is to be executed; before, the flag is an error.
    let copy = match rustix::fs::memfd_create(name, flags | MemfdFlags::from_bits_retain(MFD_EXEC)) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        result => result?,
    };
    let exe = openat(CWD, EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let size = rustix::fs::fstat(&exe)?.st_size as u64;
    let mut done = 0u64;
    while done < size {
        match rustix::fs::sendfile(&copy, &exe, None, (size - done) as usize)? {
            0 => return Err(Errno::IO),
            sent => done += sent as u64,
        }
    }
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(0o755))?;
    fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    let strings = |items: Vec<CString>| crate::exec::StringArray::new(items);
    let to_c = |text: std::ffi::OsString| CString::new(std::os::unix::ffi::OsStringExt::into_vec(text)).ok();
    let argv = strings(std::env::args_os().filter_map(to_c).collect());
    let envp = strings(
        std::env::vars_os()
            .filter_map(|(mut key, value)| {
                key.push("=");
                key.push(value);
                to_c(key)
            })
            .collect(),
    );
    Err(crate::exec::execveat(copy.as_fd(), &argv, &envp, AtFlags::EMPTY_PATH.bits()))
}
