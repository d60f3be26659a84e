//! `cargo xtask syscall-tables`: writes the tables of system call numbers from Debian's kernel headers.
//!
//! Downloads `linux-libc-dev` (all architectures are in one package since Debian 13) of the listed suites through a
//! private apt configuration, unpacks it, reads `asm/unistd*.h`, and writes one sorted list of names and, for each
//! table, the numbers in the same order. Names that only an older suite has (removed calls, 31-bit s390) are kept: a
//! profile may still mention them. `--headers DIR` reads unpacked packages instead, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

type Failure = Box<dyn std::error::Error>;

/// Where the tables go, under the workspace's root.
const OUTPUT: &str = "crates/runtime/src/seccomp/syscall_table.rs";

/// The suites to read, newest kernel first.
const SUITES: [&str; 2] = ["trixie-backports", "trixie"];

/// A number that means "not on this architecture".
const ABSENT: u16 = u16::MAX;

/// From this number on (pidfd_send_signal, Linux 5.1) all architectures number new calls alike.
const FIRST_COMMON: u16 = 424;

/// The numbers that ARM keeps for itself start here, far beyond 16 bits.
const ARM_PRIVATE_BASE: u32 = 0x000f_0000;

/// The table's stand-in for [`ARM_PRIVATE_BASE`].
const ARM_PRIVATE_MARK: u32 = 0xf000;

struct Table {
    name: &'static str,
    /// Below `/usr/lib/linux/uapi` in the package.
    header: &'static str,
    /// What the header adds to each number, which the table leaves out.
    base: &'static str,
}

const fn table(name: &'static str, header: &'static str, base: &'static str) -> Table {
    Table { name, header, base }
}

const TABLES: [Table; 18] = [
    table("X86", "x86/asm/unistd_32.h", ""),
    table("X86_64", "x86/asm/unistd_64.h", ""),
    table("X32", "x86/asm/unistd_x32.h", "__X32_SYSCALL_BIT"),
    table("ARM", "arm/asm/unistd-eabi.h", "__NR_SYSCALL_BASE"),
    table("AARCH64", "arm64/asm/unistd_64.h", ""),
    table("MIPS_O32", "mips/asm/unistd_o32.h", "__NR_Linux"),
    table("MIPS_N64", "mips/asm/unistd_n64.h", "__NR_Linux"),
    table("MIPS_N32", "mips/asm/unistd_n32.h", "__NR_Linux"),
    table("PPC", "powerpc/asm/unistd_32.h", ""),
    table("PPC64", "powerpc/asm/unistd_64.h", ""),
    table("S390", "s390/asm/unistd_32.h", ""),
    table("S390X", "s390/asm/unistd_64.h", ""),
    table("PARISC", "parisc/asm/unistd_32.h", ""),
    table("PARISC64", "parisc/asm/unistd_64.h", ""),
    table("RISCV64", "riscv/asm/unistd_64.h", ""),
    table("LOONGARCH64", "loongarch/asm/unistd_64.h", ""),
    table("M68K", "m68k/asm/unistd_32.h", ""),
    table("SH", "sh/asm/unistd_32.h", ""),
];

type Numbers = BTreeMap<String, u16>;

/// Runs the subcommand with its arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let scratch = std::env::temp_dir().join(format!("gantry-syscall-tables-{}", std::process::id()));
    let (packages, origin) = match arguments {
        [] => download(&scratch)?,
        [flag, directories @ ..] if flag == "--headers" && !directories.is_empty() => {
            (directories.iter().map(PathBuf::from).collect(), directories.join(", "))
        }
        _ => return Err("usage: cargo xtask syscall-tables [--headers DIR...]".into()),
    };
    let mut tables = TABLES
        .iter()
        .map(|table| Ok((table.name, read(table, &packages)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    supplement(&mut tables, "S390", "S390X");
    std::fs::write(OUTPUT, render(&tables, &origin)?)?;
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    for (name, numbers) in &tables {
        println!("{name}: {} system calls, up to {:?}", numbers.len(), newest(numbers));
    }
    Ok(())
}

/// Copies the calls that all architectures number alike to a table whose headers have stopped.
fn supplement(tables: &mut [(&'static str, Numbers)], stopped: &str, sibling: &str) {
    let find = |name: &str| tables.iter().position(|(table, _)| *table == name);
    let (Some(stopped), Some(sibling)) = (find(stopped), find(sibling)) else { return };
    for (name, number) in tables[sibling].1.clone() {
        if number >= FIRST_COMMON {
            tables[stopped].1.entry(name).or_insert(number);
        }
    }
}

fn newest(numbers: &Numbers) -> Option<(&String, &u16)> {
    numbers
        .iter()
        .filter(|(_, number)| u32::from(**number) < ARM_PRIVATE_MARK)
        .max_by_key(|(_, number)| **number)
}

/// Fetches and unpacks the header package of each suite; returns the directories and a line that names the versions.
fn download(scratch: &Path) -> Result<(Vec<PathBuf>, String), Failure> {
    for directory in ["lists/partial", "cache/archives/partial", "empty"] {
        std::fs::create_dir_all(scratch.join(directory))?;
    }
    let mut sources = String::new();
    for suite in SUITES {
        writeln!(
            sources,
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {suite} main"
        )?;
    }
    std::fs::write(scratch.join("sources.list"), sources)?;
    std::fs::write(scratch.join("status"), "")?;
    let root = scratch.display();
    let configuration = format!(
        "Dir::Etc \"{root}/empty\";\nDir::Etc::sourcelist \"{root}/sources.list\";\nDir::State \"{root}\";\n\
         Dir::State::lists \"{root}/lists\";\nDir::State::status \"{root}/status\";\nDir::Cache \"{root}/cache\";\n"
    );
    std::fs::write(scratch.join("apt.conf"), configuration)?;
    apt(scratch, &["update"])?;

    let mut packages = Vec::new();
    let mut versions = Vec::new();
    for suite in SUITES {
        let target = scratch.join(suite);
        std::fs::create_dir_all(&target)?;
        apt(&target, &["download", &format!("linux-libc-dev/{suite}")])?;
        let package = std::fs::read_dir(&target)?.next().ok_or("apt-get downloaded nothing")??.path();
        execute(Command::new("dpkg").arg("-x").arg(&package).arg(&target))?;
        let file = package.file_name().unwrap_or_default().to_string_lossy().replace("%3a", ":");
        versions.push(file.split('_').nth(1).unwrap_or("?").to_owned());
        packages.push(target);
    }
    Ok((packages, format!("linux-libc-dev {}", versions.join(" and "))))
}

fn apt(directory: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let configuration = directory.ancestors().map(|d| d.join("apt.conf")).find(|path| path.exists());
    let configuration = configuration.ok_or("no apt.conf above the directory")?;
    execute(
        Command::new("apt-get")
            .args(["-q", "-o", "APT::Sandbox::User=root"])
            .args(arguments)
            .current_dir(directory)
            .env("APT_CONFIG", configuration),
    )
}

fn execute(command: &mut Command) -> Result<(), Failure> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// Reads one table from all packages; a name keeps its number in the newest.
fn read(table: &Table, packages: &[PathBuf]) -> Result<Numbers, Failure> {
    let mut numbers = Numbers::new();
    for package in packages {
        let uapi = package.join("usr/lib/linux/uapi");
        // 31-bit s390 is gone from the newest headers.
        let Ok(text) = std::fs::read_to_string(uapi.join(table.header)) else { continue };
        for (name, number) in parse(&text, "__NR_", table.base)? {
            let number =
                u16::try_from(number).map_err(|_| format!("{name}: {number} has more than 16 bits"))?;
            numbers.entry(name).or_insert(number);
        }
        if table.name == "ARM" {
            let text = std::fs::read_to_string(uapi.join("arm/asm/unistd.h"))?;
            for (name, number) in parse(&text, "__ARM_NR_", "__ARM_NR_BASE")? {
                numbers.entry(name).or_insert((ARM_PRIVATE_MARK + number) as u16);
            }
            // An alias in asm/unistd.h.
            if let Some(number) = numbers.get("arm_sync_file_range").copied() {
                numbers.entry("sync_file_range2".to_owned()).or_insert(number);
            }
        }
    }
    if numbers.is_empty() {
        return Err(format!("no package has {}", table.header).into());
    }
    Ok(numbers)
}

/// Reads lines of `#define <prefix>name number`, where the number may be `(base + n)`.
fn parse(text: &str, prefix: &str, base: &str) -> Result<Vec<(String, u32)>, Failure> {
    let mut calls = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("#define"), Some(name)) = (words.next(), words.next()) else { continue };
        let Some(name) = name.strip_prefix(prefix) else { continue };
        let expression: String = words.collect::<String>().replace(['(', ')'], "");
        let number = match expression.strip_prefix(base) {
            Some(rest) => rest.trim_start_matches('+'),
            None => expression.as_str(),
        };
        if !is_call(name) {
            continue;
        }
        let number = number.parse().map_err(|_| format!("cannot read the number of {line:?}"))?;
        calls.push((name.to_owned(), number));
    }
    Ok(calls)
}

/// Whether `name` is a call, and not a base, a count or a placeholder such as MIPS's `reserved82`.
fn is_call(name: &str) -> bool {
    let base =
        matches!(name, "Linux" | "Linux_syscalls" | "syscalls" | "BASE" | "SYSCALL_BASE" | "SYSCALL_MASK");
    let placeholder = ["reserved", "unused"].iter().any(|prefix| {
        let number = name.strip_prefix(prefix).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    !base && !placeholder
}

fn render(tables: &[(&'static str, Numbers)], origin: &str) -> Result<String, Failure> {
    let names: BTreeSet<&String> = tables.iter().flat_map(|(_, numbers)| numbers.keys()).collect();
    let blob: String = names.iter().map(|name| name.as_str()).collect();
    let mut end = 0;
    let ends: Vec<usize> = names
        .iter()
        .map(|name| {
            end += name.len();
            end
        })
        .collect();
    u16::try_from(end)?;

    let mut out = String::new();
    writeln!(out, "//! System call numbers. Generated by `cargo xtask syscall-tables` from {origin}.\n")?;
    writeln!(out, "/// How many names there are.\npub(super) const COUNT: usize = {};\n", names.len())?;
    writeln!(
        out,
        "/// The number of a call that an architecture lacks.\npub(super) const ABSENT: u16 = {ABSENT:#x};\n"
    )?;
    writeln!(
        out,
        "/// Numbers from here to [`ABSENT`] are ARM's own: what is above this mark counts from [`ARM_PRIVATE_BASE`].\n\
         pub(super) const ARM_PRIVATE_MARK: u16 = {ARM_PRIVATE_MARK:#x};\n\n\
         /// Where ARM's own numbers start.\npub(super) const ARM_PRIVATE_BASE: u32 = {ARM_PRIVATE_BASE:#x};\n"
    )?;
    writeln!(
        out,
        "/// All names in order, without anything between them.\n#[rustfmt::skip]\npub(super) static NAMES: &str = \"\\"
    )?;
    for chunk in blob.as_bytes().chunks(104) {
        writeln!(out, "    {}\\", std::str::from_utf8(chunk)?)?;
    }
    writeln!(out, "\";\n")?;
    let ends = ends.iter().map(ToString::to_string);
    rows(&mut out, "Where each name ends in [`NAMES`].", "ENDS", ends)?;
    for (table, numbers) in tables {
        let numbers = names.iter().map(|name| match numbers.get(*name) {
            Some(number) => number.to_string(),
            None => "!0".to_owned(),
        });
        rows(&mut out, &format!("Numbers of {table}, in the order of the names."), table, numbers)?;
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(out)
}

fn rows(out: &mut String, doc: &str, name: &str, items: impl Iterator<Item = String>) -> std::fmt::Result {
    writeln!(out, "/// {doc}\n#[rustfmt::skip]\npub(super) static {name}: [u16; COUNT] = [")?;
    let mut line = String::from("   ");
    for item in items {
        if line.len() + item.len() + 2 > 110 {
            writeln!(out, "{line}")?;
            line.truncate(3);
        }
        write!(line, " {item},")?;
    }
    writeln!(out, "{line}\n];\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defines_are_read_with_and_without_a_base() {
        let text = "#ifndef X\n#define __NR_read 0\n#define __NR_write (__NR_Linux + 1)\n#define OTHER 3\n";
        let calls = parse(text, "__NR_", "__NR_Linux").unwrap();
        assert_eq!(calls, [("read".to_owned(), 0), ("write".to_owned(), 1)]);
    }

    #[test]
    fn arm_private_calls_count_from_their_base() {
        let text = "#define __ARM_NR_BASE (__NR_SYSCALL_BASE+0x0f0000)\n#define __ARM_NR_set_tls (__ARM_NR_BASE+5)\n";
        assert_eq!(parse(text, "__ARM_NR_", "__ARM_NR_BASE").unwrap(), [("set_tls".to_owned(), 5)]);
    }

    #[test]
    fn unknown_expressions_are_refused() {
        assert!(parse("#define __NR_odd (__NR_Else + 4)\n", "__NR_", "__NR_Linux").is_err());
    }
}
