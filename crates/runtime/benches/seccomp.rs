//! `cargo bench -p gantry-runtime --bench seccomp`: compiling and loading docker's default profile, ours and
//! libseccomp's in turn.

#![allow(clippy::unwrap_used)] // A benchmark may fail.

#[path = "../tests/seccomp/action.rs"]
mod action;
#[path = "../tests/seccomp/oracle.rs"]
#[allow(dead_code)] // The tests use more of it.
mod oracle;

use gantry_runtime::seccomp::{Arch, Instruction, compile};
use gantry_types::oci::Seccomp;
use oracle::{Answer, Oracle};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 400;

fn main() {
    let text = gantry_testkit::DOCKER_DEFAULT_SECCOMP;
    let profile: Seccomp = serde_json::from_str(text).unwrap();
    let ours = compile(&profile, Arch::X86_64).unwrap();
    println!("profile: {} bytes; program: {} instructions", text.len(), ours.instructions.len());
    for arch in ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] {
        let native = Arch::from_name(arch).unwrap();
        let single = Seccomp { architectures: Vec::new(), ..profile.clone() };
        println!("  {arch} alone: {} instructions", compile(&single, native).unwrap().instructions.len());
    }
    report("parse", || drop(black_box(serde_json::from_str::<Seccomp>(black_box(text)))));
    report("compile", || drop(black_box(compile(black_box(&profile), Arch::X86_64))));
    let Some(mut oracle) = Oracle::start() else { return load(&[("ours", &ours.instructions)]) };
    let theirs = [false, true].map(|optimize| match oracle.compile(&profile, optimize) {
        Answer::Program(program) => program,
        Answer::Refused => panic!("libseccomp refuses the profile"),
    });
    println!("libseccomp: linear {} instructions, tree {}", theirs[0].len(), theirs[1].len());
    load(&[
        ("ours", &ours.instructions),
        ("libseccomp, linear", &theirs[0]),
        ("libseccomp, tree", &theirs[1]),
    ]);
}

fn report(what: &str, mut run: impl FnMut()) {
    let mut samples: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    print(what, &mut samples);
}

fn print(what: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    println!("{what}: min {:?}, median {:?}", samples[0], samples[samples.len() / 2]);
}

/// Loads the programs in turn, each into a thread of its own.
fn load(programs: &[(&str, &Vec<Instruction>)]) {
    let mut samples = vec![Vec::new(); programs.len()];
    for _ in 0..ROUNDS {
        for ((_, program), samples) in programs.iter().zip(&mut samples) {
            let program = (*program).clone();
            let thread = std::thread::spawn(move || {
                rustix::thread::set_no_new_privs(true).unwrap();
                let start = Instant::now();
                gantry_sys::seccomp::load(&program, 0).unwrap();
                start.elapsed()
            });
            samples.push(thread.join().unwrap());
        }
    }
    for ((name, _), samples) in programs.iter().zip(&mut samples) {
        print(&format!("load {name}"), samples);
    }
}
