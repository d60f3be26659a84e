//! From the request to the program.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::contender::Serving;
use crate::statistics::{Series, print};

/// Create and start until the program has written a byte.
pub(crate) fn measure(serving: &[Serving<'_>], count: usize) -> Result<(), String> {
    let mut series: Vec<Series> = serving.iter().map(|one| Series::new(&one.contender.name)).collect();
    let mut first = Vec::new();
    // In blocks: back to back is what is asked for, and turns are what is fair.
    const BLOCK: usize = 10;
    for block in 0..count.div_ceil(BLOCK) {
        for (one, series) in serving.iter().zip(&mut series) {
            for turn in 0..BLOCK.min(count - block * BLOCK) {
                let took = once(one, &format!("start-{block}-{turn}"))?;
                match (block, turn) {
                    (0, 0) => first.push((one.contender.name.clone(), took)),
                    // The first of a block finds everything asleep.
                    (_, 0) => {}
                    _ => series.add(took),
                }
            }
        }
    }
    print("create and start until the program runs", &series, Duration::ZERO);
    for (name, took) in first {
        println!("the first one of {name}: {:.2} ms", took.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn once(one: &Serving<'_>, id: &str) -> Result<Duration, String> {
    let failed = |status: tonic::Status| format!("{}: {status}", one.contender.name);
    let path = one.dir.join(format!("{id}.out"));
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|errno| errno.to_string())?;
    let mut output = reader(&path)?;
    let model = one
        .api
        .block_on(one.api.model(one.contender.runtime, one.contender.options(), &["/bin/echo", "x"]))
        .map_err(failed)?;
    let mounts = one.api.block_on(one.api.prepare(&model, id)).map_err(failed)?;
    let begin = Instant::now();
    one.api.block_on(one.api.start(id, mounts, Some(path.clone()))).map_err(failed)?;
    let mut byte = [0];
    output.read_exact(&mut byte).map_err(|error| format!("{}: {error}", one.contender.name))?;
    let took = begin.elapsed();
    one.api.block_on(one.api.remove(id)).map_err(failed)?;
    let _ = std::fs::remove_file(&path);
    Ok(took)
}

/// For writing, too: no end comes before the beginning.
fn reader(path: &Path) -> Result<File, String> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| errno.to_string())?;
    Ok(file.into())
}
