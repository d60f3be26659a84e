//! Unpacks a layer as fast as it goes, and says what each stage took: `unpack LAYER DIRECTORY [inflate|hash|null]`.
//! The directory must be there. `inflate` and `hash` stop after that stage, `null` only parses.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Instant;

use gantry_layer::{
    ApplyOptions, Archive, Compression, Error, Inflate, InflateLimits, Limits, Target, Whiteouts, apply,
};
use sha2::{Digest, Sha256};

struct Hashing<R>(R, Sha256);

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(out)?;
        self.1.update(&out[..count]);
        Ok(count)
    }
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, layer, directory, ..] = &arguments[..] else {
        panic!("unpack LAYER DIRECTORY [inflate|hash|null]")
    };
    let stage = arguments.get(3).map_or("apply", String::as_str);
    let file = File::open(layer).map_err(Error::Read)?;
    let root = File::open(directory).map_err(Error::Read)?;
    let start = Instant::now();
    let mut inflate = Inflate::new(file, Compression::Detect, InflateLimits::default());
    let mut drain = vec![0; 256 << 10];
    let bytes = match stage {
        "inflate" => drained(&mut inflate, &mut drain)?,
        "hash" => drained(&mut Hashing(inflate, Sha256::new()), &mut drain)?,
        "null" => {
            let mut archive = Archive::new(&mut inflate, &Limits::default());
            while archive.next_entry()?.is_some() {}
            archive.offset()
        }
        "unhashed" => unpack(&mut inflate, &root)?,
        _ => unpack(&mut Hashing(inflate, Sha256::new()), &root)?,
    };
    let wall = start.elapsed().as_secs_f64();
    let usage = std::fs::read_to_string("/proc/self/stat").map_err(Error::Read)?;
    let ticks: Vec<f64> = usage.split(' ').skip(13).take(2).filter_map(|text| text.parse().ok()).collect();
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{stage}: {megabytes:.1} MB in {wall:.3} s, {:.0} MB/s; user {:.2} s, system {:.2} s",
        megabytes / wall,
        ticks[0] / 100.0,
        ticks[1] / 100.0
    );
    Ok(())
}

fn drained(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<u64, Error> {
    let mut total = 0;
    loop {
        match reader.read(buffer).map_err(Error::Read)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

fn unpack(reader: &mut dyn Read, root: &File) -> Result<u64, Error> {
    let target =
        Target { root: root.as_fd(), whiteouts: Whiteouts::Overlay { userxattr: false }, lower: &[] };
    Ok(apply(reader, &target, &ApplyOptions::default())?.archive_bytes)
}
