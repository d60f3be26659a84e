//! Compiles the one fixture that has to make raw system calls, which no crate but `sys` may do in Rust.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("syscall");
    println!("cargo::rerun-if-changed=fixtures/syscall.c");
    let status = Command::new("cc")
        .args(["-O1", "-static", "-s", "-Wall", "-o"])
        .arg(&out)
        .arg("fixtures/syscall.c")
        .status()
        .expect("cc is installed, as rustc links with it");
    assert!(status.success(), "cc fixtures/syscall.c: {status}");
}
