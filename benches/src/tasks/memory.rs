//! Many containers that do nothing.

use std::fs;
use std::time::Duration;

use super::contender::Serving;

/// How long daemons have to give memory back.
const SETTLE: Duration = Duration::from_secs(12);

/// Memory of daemon and shims, and the daemon's return.
pub(crate) fn measure(serving: &mut [Serving<'_>], count: usize) -> Result<(), String> {
    println!("\n## {count} containers that sleep");
    println!(
        "| engine | daemon MiB | shims MiB | both / ours | daemon alone before MiB | restart until it serves ms |"
    );
    println!("|---|---|---|---|---|---|");
    let mut ours = None;
    for one in serving {
        let before = pss(&[one.pid()]);
        let failed = |name: &str, status: tonic::Status| format!("{name}: {status}");
        let name = one.contender.name.clone();
        let model = one.api.block_on(one.api.model(
            one.contender.runtime,
            one.contender.options(),
            &["/bin/sleep", "1000000"],
        ));
        let model = model.map_err(|status| failed(&name, status))?;
        let known = shims();
        for index in 0..count {
            let id = format!("idle-{index}");
            let mounts =
                one.api.block_on(one.api.prepare(&model, &id)).map_err(|status| failed(&name, status))?;
            one.api.block_on(one.api.start(&id, mounts, None)).map_err(|status| failed(&name, status))?;
        }
        std::thread::sleep(SETTLE);
        let own: Vec<u32> = shims().into_iter().filter(|pid| !known.contains(pid)).collect();
        let (daemon, shims) = (pss(&[one.pid()]), pss(&own));
        let restart = one.restart()?;
        let found = one.api.block_on(one.api.count()).map_err(|status| failed(&name, status))?;
        if found != count {
            return Err(format!("{name}: {found} of {count} tasks were found again"));
        }
        let both = daemon + shims;
        let first = *ours.get_or_insert(both);
        let mib = |kib: u64| kib as f64 / 1024.0;
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} |",
            mib(daemon),
            mib(shims),
            both as f64 / first as f64,
            mib(before),
            restart.as_secs_f64() * 1e3
        );
        for index in 0..count {
            let id = format!("idle-{index}");
            one.api.block_on(one.api.remove(&id)).map_err(|status| failed(&name, status))?;
        }
    }
    Ok(())
}

/// The processes of shims, of any make.
fn shims() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_shim = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(program).contains("containerd-shim")
    };
    pids.filter(is_shim).collect()
}

/// The proportional memory of processes, in KiB (proc_pid_smaps(5)).
fn pss(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default()
    };
    pids.iter().map(of).sum()
}
