//! Gantry's command line.
#![forbid(unsafe_code)]

fn main() {}
