use std::path::Path;

use gantry_types::oci::{BlockIo, Cpu, Memory, Pids, Resources};

use crate::args::{Command, Flag, Flags, Kind, Parsed};
use crate::failure::Failure;
use crate::input::{open_limited, parse_object, read_limited};
use crate::invocation::Invocation;
use crate::log::Level;
use crate::size::parse_size;

/// The largest text of resources that is read, in bytes.
const MAX_RESOURCES_BYTES: u64 = 1 << 20;

static RESOURCES: Flag = Flag::text(
    &["resources", "r"],
    "file with the resources as JSON, '-' for standard input; other flags then do nothing",
);
static BLKIO_WEIGHT: Flag = Flag::new(Kind::Integer, &["blkio-weight"], "weight for block I/O, 10 to 1000");
static CPU_PERIOD: Flag =
    Flag::text(&["cpu-period"], "length of the CFS period in microseconds; 0 for the default");
static CPU_QUOTA: Flag = Flag::text(&["cpu-quota"], "CPU time in one period, in microseconds");
static CPU_BURST: Flag =
    Flag::text(&["cpu-burst"], "CPU time that may be saved up beyond the quota, in microseconds");
static CPU_SHARE: Flag = Flag::text(&["cpu-share"], "weight for CPU time against other containers");
static CPU_RT_PERIOD: Flag =
    Flag::text(&["cpu-rt-period"], "length of the real-time period in microseconds; 0 for the default");
static CPU_RT_RUNTIME: Flag =
    Flag::text(&["cpu-rt-runtime"], "real-time CPU time in one period, in microseconds");
static CPUSET_CPUS: Flag = Flag::text(&["cpuset-cpus"], "CPUs to run on, such as 0-3,7");
static CPUSET_MEMS: Flag = Flag::text(&["cpuset-mems"], "memory nodes to use, such as 0,1");
static KERNEL_MEMORY: Flag = Flag::text(&["kernel-memory"], "");
static KERNEL_MEMORY_TCP: Flag = Flag::text(&["kernel-memory-tcp"], "");
static MEMORY: Flag =
    Flag::text(&["memory"], "most memory, in bytes or with a unit such as 64m; -1 for no limit");
static CPU_IDLE: Flag = Flag::text(&["cpu-idle"], "1 to run only when nothing else does, 0 to run as usual");
static MEMORY_RESERVATION: Flag = Flag::text(&["memory-reservation"], "memory to keep under pressure");
static MEMORY_SWAP: Flag = Flag::text(&["memory-swap"], "most memory and swap together; -1 for no limit");
static PIDS_LIMIT: Flag = Flag::new(Kind::Integer, &["pids-limit"], "most tasks; -1 for no limit");
static L3_CACHE_SCHEMA: Flag = Flag::text(&["l3-cache-schema"], "Intel RDT schema of the L3 cache");
static MEM_BW_SCHEMA: Flag = Flag::text(&["mem-bw-schema"], "Intel RDT schema of the memory bandwidth");

pub(super) static COMMAND: Command = Command {
    name: "update",
    summary: "change a container's limits",
    usage: "<container-id>",
    about: "The JSON is linux.resources of runtime-spec (config-linux.md). What it leaves out stays as it is.",
    flags: &[
        &RESOURCES,
        &BLKIO_WEIGHT,
        &CPU_PERIOD,
        &CPU_QUOTA,
        &CPU_BURST,
        &CPU_SHARE,
        &CPU_RT_PERIOD,
        &CPU_RT_RUNTIME,
        &CPUSET_CPUS,
        &CPUSET_MEMS,
        &KERNEL_MEMORY,
        &KERNEL_MEMORY_TCP,
        &MEMORY,
        &CPU_IDLE,
        &MEMORY_RESERVATION,
        &MEMORY_SWAP,
        &PIDS_LIMIT,
        &L3_CACHE_SCHEMA,
        &MEM_BW_SCHEMA,
    ],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let resources = match call.args.text("resources") {
        Some(source) => read_resources(source)?,
        None => resources_of(&call.args)?,
    };
    if resources.memory.as_ref().is_some_and(|memory| memory.kernel.is_some() || memory.kernel_tcp.is_some())
    {
        call.log.write(Level::Warning, "Kernel memory settings are ignored and will be removed");
    }
    let (host, id) = (call.host(), call.container_id()?);
    gantry_runtime::update(&host, &id, &resources)?;
    let schema = |flag| call.args.text(flag).filter(|schema| !schema.is_empty());
    let schemas = (schema("l3-cache-schema"), schema("mem-bw-schema"));
    if schemas != (None, None) {
        gantry_runtime::update_schemata(&host, &id, schemas.0, schemas.1)?;
    }
    Ok(0)
}

fn read_resources(source: &str) -> Result<Resources, Failure> {
    let text = if source == "-" {
        read_limited(source, std::io::stdin().lock(), MAX_RESOURCES_BYTES)
    } else {
        open_limited(Path::new(source), MAX_RESOURCES_BYTES)
    };
    parse_object("resources", &text?)
}

/// The resources that the flags name; what no flag names is absent.
fn resources_of(args: &Parsed<'_>) -> Result<Resources, Failure> {
    let weight = args.integer("blkio-weight").filter(|weight| *weight != 0);
    let weight = weight
        .map(|weight| u16::try_from(weight).map_err(|_| invalid("blkio-weight", weight)))
        .transpose()?;
    let text = |name| args.text(name).unwrap_or_default().to_owned();
    let cpu = Cpu {
        shares: number(args, "cpu-share")?,
        quota: number(args, "cpu-quota")?,
        burst: number(args, "cpu-burst")?,
        period: number(args, "cpu-period")?,
        realtime_runtime: number(args, "cpu-rt-runtime")?,
        realtime_period: number(args, "cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: number(args, "cpu-idle")?,
    };
    let memory = Memory {
        limit: amount(args, "memory")?,
        reservation: amount(args, "memory-reservation")?,
        swap: amount(args, "memory-swap")?,
        kernel: amount(args, "kernel-memory")?,
        kernel_tcp: amount(args, "kernel-memory-tcp")?,
        ..Memory::default()
    };
    Ok(Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: args.integer("pids-limit").map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    })
}

fn invalid(flag: &str, value: impl std::fmt::Display) -> Failure {
    Failure::new(format!("invalid value for {flag}: {value}"))
}

fn number<T: std::str::FromStr>(args: &Parsed<'_>, flag: &str) -> Result<Option<T>, Failure> {
    args.text(flag).map(|text| text.parse().map_err(|_| invalid(flag, text))).transpose()
}

/// An amount of memory, or -1 for no limit.
fn amount(args: &Parsed<'_>, flag: &str) -> Result<Option<i64>, Failure> {
    match args.text(flag) {
        None => Ok(None),
        Some("-1") => Ok(Some(-1)),
        Some(text) => parse_size(text).map(Some).map_err(|reason| invalid(flag, reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;

    fn resources(line: &str) -> Result<String, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let args = parse(COMMAND.flags, COMMAND.placement, &words).unwrap().unwrap();
        let resources = resources_of(&args).map_err(|failure| failure.message)?;
        Ok(serde_json::to_string(&resources).unwrap())
    }

    #[test]
    fn flags_name_resources_and_nothing_else_is_set() {
        for (line, expect) in [
            ("id", "{}"),
            ("--memory 64m id", r#"{"memory":{"limit":67108864}}"#),
            ("--memory -1 --memory-swap -1 id", r#"{"memory":{"limit":-1,"swap":-1}}"#),
            ("id --memory-reservation=1.5g", r#"{"memory":{"reservation":1610612736}}"#),
            ("--cpu-quota -1 --cpu-period 100000 id", r#"{"cpu":{"quota":-1,"period":100000}}"#),
            ("--cpu-share 512 --cpuset-cpus 0-1 id", r#"{"cpu":{"shares":512,"cpus":"0-1"}}"#),
            ("--cpu-idle 1 --cpu-burst 5 id", r#"{"cpu":{"burst":5,"idle":1}}"#),
            ("--pids-limit -1 id", r#"{"pids":{"limit":-1}}"#),
            ("--pids-limit 0 id", r#"{"pids":{"limit":0}}"#),
            ("--blkio-weight 300 id", r#"{"blockIO":{"weight":300}}"#),
            ("--blkio-weight 0 id", "{}"),
            ("--kernel-memory 1m id", r#"{"memory":{"kernel":1048576}}"#),
        ] {
            assert_eq!(resources(line).as_deref(), Ok(expect), "{line}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_by_flag() {
        for line in [
            "--memory x id",
            "--memory -2 id",
            "--memory-swap 1q id",
            "--cpu-share -1 id",
            "--cpu-period 1.5 id",
            "--cpu-quota 99999999999999999999 id",
            "--cpu-idle yes id",
            "--blkio-weight 65536 id",
            "--blkio-weight -1 id",
        ] {
            let message = resources(line).unwrap_err();
            let flag = line.split_whitespace().next().unwrap().trim_start_matches('-');
            assert!(message.starts_with(&format!("invalid value for {flag}: ")), "{line}: {message}");
        }
    }

    #[test]
    fn resources_are_read_from_a_file_up_to_a_limit() {
        assert_eq!(
            read_resources("/nonexistent").unwrap_err().message,
            "open /nonexistent: no such file or directory"
        );
        assert!(read_resources("/dev/zero").unwrap_err().message.contains("larger than"));
        assert!(read_resources("/dev/null").unwrap_err().message.starts_with("resources: "));
    }
}
