//! The architectures (strictly: the system call ABIs) that a profile can name.

use super::syscall_table::{self as table, COUNT};

/// A system call ABI, by libseccomp's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names say it all.
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Ppc,
    Ppc64,
    Ppc64Le,
    S390,
    S390X,
    Parisc,
    Parisc64,
    Riscv64,
    Loongarch64,
    M68k,
    Sh,
    Sheb,
}

/// How wide the arguments are that a filter of this ABI looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Width {
    /// The lower half only, as in libseccomp: the upper half of x32's arguments is not looked at either.
    Bits32,
    Bits64,
}

/// The byte order, which decides where the halves of an argument are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Endian {
    Little,
    Big,
}

struct Description {
    arch: Arch,
    name: &'static str,
    /// `AUDIT_ARCH_*`: what the kernel puts into `seccomp_data.arch`.
    audit: u32,
    width: Width,
    endian: Endian,
    numbers: &'static [u16; COUNT],
    /// What the ABI adds to each number.
    base: u32,
    /// Whether socketcall(2) and ipc(2) stand for many calls.
    multiplexed: bool,
}

/// The bit that tells x32's numbers from x86_64's: `__X32_SYSCALL_BIT`.
pub(super) const X32_BIT: u32 = 0x4000_0000;

const LE: u32 = 0x4000_0000;
const B64: u32 = 0x8000_0000;
const N32: u32 = 0x2000_0000;

const EM_386: u32 = 3;
const EM_68K: u32 = 4;
const EM_MIPS: u32 = 8;
const EM_PARISC: u32 = 15;
const EM_PPC: u32 = 20;
const EM_PPC64: u32 = 21;
const EM_S390: u32 = 22;
const EM_ARM: u32 = 40;
const EM_SH: u32 = 42;
const EM_X86_64: u32 = 62;
const EM_AARCH64: u32 = 183;
const EM_RISCV: u32 = 243;
const EM_LOONGARCH: u32 = 258;

const fn describe(
    (arch, name): (Arch, &'static str),
    audit: u32,
    width: Width,
    (numbers, base): (&'static [u16; COUNT], u32),
    multiplexed: bool,
) -> Description {
    let endian = if audit & LE != 0 { Endian::Little } else { Endian::Big };
    Description { arch, name, audit, width, endian, numbers, base, multiplexed }
}

use Width::{Bits32, Bits64};

/// In the order of [`Arch`].
static DESCRIPTIONS: [Description; 23] = [
    describe((Arch::X86, "SCMP_ARCH_X86"), EM_386 | LE, Bits32, (&table::X86, 0), true),
    describe((Arch::X86_64, "SCMP_ARCH_X86_64"), EM_X86_64 | B64 | LE, Bits64, (&table::X86_64, 0), false),
    describe((Arch::X32, "SCMP_ARCH_X32"), EM_X86_64 | B64 | LE, Bits32, (&table::X32, X32_BIT), false),
    describe((Arch::Arm, "SCMP_ARCH_ARM"), EM_ARM | LE, Bits32, (&table::ARM, 0), false),
    describe(
        (Arch::Aarch64, "SCMP_ARCH_AARCH64"),
        EM_AARCH64 | B64 | LE,
        Bits64,
        (&table::AARCH64, 0),
        false,
    ),
    describe((Arch::Mips, "SCMP_ARCH_MIPS"), EM_MIPS, Bits32, (&table::MIPS_O32, 4000), true),
    describe((Arch::Mips64, "SCMP_ARCH_MIPS64"), EM_MIPS | B64, Bits64, (&table::MIPS_N64, 5000), false),
    describe(
        (Arch::Mips64N32, "SCMP_ARCH_MIPS64N32"),
        EM_MIPS | B64 | N32,
        Bits32,
        (&table::MIPS_N32, 6000),
        false,
    ),
    describe((Arch::Mipsel, "SCMP_ARCH_MIPSEL"), EM_MIPS | LE, Bits32, (&table::MIPS_O32, 4000), true),
    describe(
        (Arch::Mipsel64, "SCMP_ARCH_MIPSEL64"),
        EM_MIPS | B64 | LE,
        Bits64,
        (&table::MIPS_N64, 5000),
        false,
    ),
    describe(
        (Arch::Mipsel64N32, "SCMP_ARCH_MIPSEL64N32"),
        EM_MIPS | B64 | LE | N32,
        Bits32,
        (&table::MIPS_N32, 6000),
        false,
    ),
    describe((Arch::Ppc, "SCMP_ARCH_PPC"), EM_PPC, Bits32, (&table::PPC, 0), true),
    describe((Arch::Ppc64, "SCMP_ARCH_PPC64"), EM_PPC64 | B64, Bits64, (&table::PPC64, 0), true),
    describe((Arch::Ppc64Le, "SCMP_ARCH_PPC64LE"), EM_PPC64 | B64 | LE, Bits64, (&table::PPC64, 0), true),
    describe((Arch::S390, "SCMP_ARCH_S390"), EM_S390, Bits32, (&table::S390, 0), true),
    describe((Arch::S390X, "SCMP_ARCH_S390X"), EM_S390 | B64, Bits64, (&table::S390X, 0), true),
    describe((Arch::Parisc, "SCMP_ARCH_PARISC"), EM_PARISC, Bits32, (&table::PARISC, 0), false),
    describe((Arch::Parisc64, "SCMP_ARCH_PARISC64"), EM_PARISC | B64, Bits64, (&table::PARISC64, 0), false),
    describe((Arch::Riscv64, "SCMP_ARCH_RISCV64"), EM_RISCV | B64 | LE, Bits64, (&table::RISCV64, 0), false),
    describe(
        (Arch::Loongarch64, "SCMP_ARCH_LOONGARCH64"),
        EM_LOONGARCH | B64 | LE,
        Bits64,
        (&table::LOONGARCH64, 0),
        false,
    ),
    describe((Arch::M68k, "SCMP_ARCH_M68K"), EM_68K, Bits32, (&table::M68K, 0), true),
    describe((Arch::Sh, "SCMP_ARCH_SH"), EM_SH | LE, Bits32, (&table::SH, 0), true),
    describe((Arch::Sheb, "SCMP_ARCH_SHEB"), EM_SH, Bits32, (&table::SH, 0), true),
];

impl Arch {
    /// The architecture that this program was built for, or `None` where seccomp filters do not work.
    pub const fn native() -> Option<Arch> {
        Some(if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Arch::X86_64
        } else if cfg!(target_arch = "x86_64") {
            Arch::X32
        } else if cfg!(target_arch = "x86") {
            Arch::X86
        } else if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else if cfg!(target_arch = "arm") {
            Arch::Arm
        } else if cfg!(target_arch = "riscv64") {
            Arch::Riscv64
        } else if cfg!(target_arch = "loongarch64") {
            Arch::Loongarch64
        } else if cfg!(target_arch = "s390x") {
            Arch::S390X
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            Arch::Ppc64Le
        } else if cfg!(target_arch = "powerpc64") {
            Arch::Ppc64
        } else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
            Arch::Mipsel64
        } else if cfg!(target_arch = "mips64") {
            Arch::Mips64
        } else {
            return None;
        })
    }

    /// Finds an architecture by its name in a profile, such as `SCMP_ARCH_X86_64`.
    pub fn from_name(name: &str) -> Option<Arch> {
        DESCRIPTIONS.iter().find(|description| description.name == name).map(|description| description.arch)
    }

    /// All architectures.
    pub fn all() -> impl Iterator<Item = Arch> {
        DESCRIPTIONS.iter().map(|description| description.arch)
    }

    /// The name in a profile.
    pub fn name(self) -> &'static str {
        self.describe().name
    }

    /// The kernel's `AUDIT_ARCH_*`; x32 shares x86_64's.
    pub fn audit(self) -> u32 {
        self.describe().audit
    }

    pub(super) fn width(self) -> Width {
        self.describe().width
    }

    pub(super) fn endian(self) -> Endian {
        self.describe().endian
    }

    pub(super) fn is_multiplexed(self) -> bool {
        self.describe().multiplexed
    }

    /// The number of the first call.
    pub(super) fn base(self) -> u32 {
        self.describe().base
    }

    /// The number of the call at `index` in the list of names (see [`super::syscalls`]).
    pub(super) fn number(self, index: usize) -> Option<u32> {
        let description = self.describe();
        match description.numbers[index] {
            table::ABSENT => None,
            number if number > table::ARM_PRIVATE_MARK => {
                Some(u32::from(number - table::ARM_PRIVATE_MARK) + table::ARM_PRIVATE_BASE)
            }
            number => Some(u32::from(number) + description.base),
        }
    }

    fn describe(self) -> &'static Description {
        &DESCRIPTIONS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_in_the_order_of_the_enum() {
        for (index, description) in DESCRIPTIONS.iter().enumerate() {
            assert_eq!(description.arch as usize, index);
            assert_eq!(Arch::from_name(description.name), Some(description.arch));
        }
    }

    #[test]
    fn audit_values_are_the_kernels() {
        assert_eq!(Arch::X86_64.audit(), 0xc000_003e);
        assert_eq!(Arch::X86.audit(), 0x4000_0003);
        assert_eq!(Arch::Aarch64.audit(), 0xc000_00b7);
        assert_eq!(Arch::Mips64N32.audit(), 0xa000_0008);
        assert_eq!(Arch::S390X.audit(), 0x8000_0016);
    }
}
