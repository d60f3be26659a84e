//! How fast a log is read: `read_log json-file|cri|local PATH [-]` prints the bytes that a client would get, and the rate.
//!
//! With `-`, the frames themselves go to standard output.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use gantry_logs::{Format, Frames, Framing, LogCursor, Progress, Query};

/// What a door writes at once.
const CHUNK_BYTES: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let format = match args.next().as_deref() {
        Some("json-file") => Format::JsonFile,
        Some("cri") => Format::Cri,
        Some("local") => Format::Local,
        _ => return Err("the format: json-file, cri or local".into()),
    };
    let path = args.next().ok_or("the path of a log")?;
    let mut output = args.next().is_some_and(|arg| arg == "-").then(std::io::stdout);
    for timestamps in [false, true] {
        let begun = Instant::now();
        let mut cursor = LogCursor::open(Path::new(&path), format, Query::default())?;
        let frames = Frames { framing: Framing::Multiplexed, timestamps, details: false };
        let (mut out, mut bytes) = (Vec::new(), 0u64);
        loop {
            out.clear();
            let progress = cursor.fill(frames, &mut out, CHUNK_BYTES)?;
            bytes += out.len() as u64;
            if let Some(output) = &mut output {
                output.write_all(&out)?;
            }
            if progress != Progress::Full {
                break;
            }
        }
        if output.is_some() {
            return Ok(());
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "timestamps {timestamps}: {bytes} bytes in {seconds:.3} s, {:.0} MB/s",
            bytes as f64 / seconds / 1e6
        );
    }
    Ok(())
}
