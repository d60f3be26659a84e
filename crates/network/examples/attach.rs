//! How long a container waits for its network: the least, the median and the 99th percentile of each step, in microseconds.
//!
//! Needs root. Changes the network namespace that it is run in, so give it one:
//!   cargo build --release --package gantry-network --example attach
//!   scripts/isolated.sh target/x86_64-unknown-linux-gnu/release/examples/attach [ROUNDS [PAUSE_MS]]
#![allow(clippy::unwrap_used, reason = "a program for developers")]

use std::time::{Duration, Instant};

use gantry_network::{Attach, Network, Options, PortRequest, Protocol};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let (rounds, pause) = (arguments.next().unwrap_or(300), arguments.next().unwrap_or(20));
    let directory = tempfile::tempdir().unwrap();
    let network =
        Network::open(Options { netns_dir: directory.path().join("netns"), ..Options::default() }).unwrap();
    let began = Instant::now();
    network.ensure().unwrap();
    println!("{:32} {:>8}", "ensure", began.elapsed().as_micros());
    for (name, host_port) in [("no port", None), ("ephemeral port", Some(0)), ("the same port", Some(8080))] {
        let mut times: [Vec<u128>; 4] = Default::default();
        for round in 0..rounds {
            let id = format!("c{round}");
            let mut time = |step: usize, began: Instant| times[step].push(began.elapsed().as_micros());
            let began = Instant::now();
            let netns = network.create_netns(&id).unwrap();
            time(0, began);
            let ports = host_port.map(|host_port| PortRequest {
                host_ip: None,
                host_port,
                host_port_end: 0,
                container_port: 80,
                protocol: Protocol::Tcp,
            });
            let request = Attach { ports: ports.into_iter().collect(), ..Attach::new(&id, netns) };
            let began = Instant::now();
            let endpoint = network.attach(&request).unwrap();
            time(1, began);
            let began = Instant::now();
            network.detach(&endpoint);
            time(2, began);
            let began = Instant::now();
            network.remove_netns(&id).unwrap();
            time(3, began);
            std::thread::sleep(Duration::from_millis(pause));
        }
        network.settle();
        for (step, times) in ["create_netns", "attach", "detach", "remove_netns"].iter().zip(&mut times) {
            times.sort_unstable();
            let at = |part: usize| times[(times.len() - 1) * part / 100];
            println!(
                "{:32} least {:>6}  median {:>6}  p99 {:>6}",
                format!("{step}, {name}"),
                at(0),
                at(50),
                at(99)
            );
        }
    }
}
