//! libseccomp, behind a small C program that is compiled when a test first needs it.

use crate::action::action;
use gantry_runtime::seccomp::{Arch, Instruction};
use gantry_types::oci::Seccomp;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running oracle.
pub(crate) struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

/// What libseccomp makes of a profile.
#[derive(Debug)]
pub(crate) enum Answer {
    Program(Vec<Instruction>),
    /// It refuses the profile.
    Refused,
}

impl Oracle {
    /// Compiles and starts the oracle; `None`, and a line that says so, if libseccomp is not installed.
    pub(crate) fn start() -> Option<Oracle> {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("oracle");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/oracle.c");
        let compiled =
            Command::new("cc").args(["-O2", "-o"]).arg(&binary).args([source, "-lseccomp"]).output();
        match compiled {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                return skip(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("cc"));
            }
            Err(error) => return skip(&format!("cc: {error}")),
        }
        let mut child = Command::new(&binary).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Some(Oracle { child, input, output, _directory: directory })
    }

    /// The number of a call, negative where `arch` lacks it; `None` if libseccomp does not know the name.
    pub(crate) fn resolve(&mut self, arch: Arch, name: &str) -> Option<i64> {
        const UNKNOWN: i64 = -1;
        self.ask(&format!("resolve {} {name}\n", library_name(arch)));
        Some(self.line().parse().unwrap()).filter(|number| *number != UNKNOWN)
    }

    /// Compiles a profile as runc does, without what runc puts before libseccomp's program.
    pub(crate) fn compile(&mut self, profile: &Seccomp, optimize: bool) -> Answer {
        let default = action(&profile.default_action, profile.default_errno_ret);
        let mut request = format!("profile {default:x} {}\n", u8::from(optimize));
        for arch in &profile.architectures {
            writeln!(request, "arch {}", library_name(Arch::from_name(arch).unwrap())).unwrap();
        }
        for rule in &profile.syscalls {
            let action = action(&rule.action, rule.errno_ret);
            for name in rule.names.iter().filter(|_| action != default) {
                write!(request, "rule {action:x} {name} {:x}", rule.args.len()).unwrap();
                for arg in &rule.args {
                    let operator = operator(&arg.op);
                    write!(request, " {:x} {operator:x} {:x} {:x}", arg.index, arg.value, arg.value_two)
                        .unwrap();
                }
                request.push('\n');
            }
        }
        request.push_str("end\n");
        self.ask(&request);
        let line = self.line();
        let Some(length) = line.strip_prefix("ok ") else { return Answer::Refused };
        let mut bytes = vec![0; length.parse().unwrap()];
        self.output.read_exact(&mut bytes).unwrap();
        Answer::Program(bytes.chunks_exact(8).map(instruction).collect())
    }

    fn ask(&mut self, request: &str) {
        self.input.write_all(request.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skip(reason: &str) -> Option<Oracle> {
    eprintln!("SKIPPED: no libseccomp to compare with: {reason}");
    None
}

pub(crate) fn instruction(bytes: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

fn library_name(arch: Arch) -> String {
    arch.name().trim_start_matches("SCMP_ARCH_").to_lowercase()
}

/// `enum scmp_compare`.
fn operator(name: &str) -> u32 {
    let names = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    1 + names.iter().position(|op| name.strip_prefix("SCMP_CMP_") == Some(op)).unwrap() as u32
}
