//! Processes, as /proc shows them (proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5)).

use std::collections::HashMap;
use std::fs;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The kernel's USER_HZ, which is the same everywhere.
const TICKS_PER_SECOND: u64 = 100;
/// The most of a command line that is shown, in bytes.
const MAX_COMMAND: usize = 4096;
/// Where the majors of pseudo-terminals begin, and how many there are.
const PTS_MAJORS: std::ops::Range<u64> = 136..144;
const DAY: i64 = 24 * 3600;

/// What all processes have in common.
pub(super) struct Machine {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    booted: i64,
    memory_kib: u64,
    now: Timestamp,
}

/// A process.
pub(super) struct Process {
    pid: u32,
    comm: String,
    state: char,
    ppid: u32,
    session: u32,
    group: u32,
    tty: u64,
    foreground: i64,
    ticks: u64,
    nice: i64,
    threads: u64,
    started_ticks: u64,
    vsz_kib: u64,
    rss_kib: u64,
    locked: bool,
    uid: u32,
    gid: u32,
    command: String,
}

/// Names by their numbers: passwd(5), group(5).
fn names(path: &str) -> HashMap<u32, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    text.lines().rev().filter_map(entry).collect()
}

impl Machine {
    /// Looks at the machine. Blocks.
    pub(super) fn look() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = stat.lines().find_map(|line| line.strip_prefix("btime "));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        Self {
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
            booted: booted.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
            memory_kib: memory
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or(1)
                .max(1),
            now: Timestamp::now(),
        }
    }
}

impl Process {
    /// Looks at a process; None for one that is gone. Blocks.
    pub(super) fn look(pid: u32) -> Option<Self> {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
        let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
        let status = String::from_utf8_lossy(&read("status")?).into_owned();
        let command = read("cmdline").unwrap_or_default();
        Self::parse(pid, &stat, &status, &command)
    }

    fn parse(pid: u32, stat: &str, status: &str, command: &[u8]) -> Option<Self> {
        // The name may have spaces and brackets: it ends with the last one.
        let (comm, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
        let of_status =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().nth(1));
        let kib =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
        let id = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
        let size = |key: &str| kib(key).and_then(|text| text.parse().ok()).unwrap_or(0);
        let words: Vec<String> = command[..command.len().min(MAX_COMMAND)]
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let joined = words.join(" ").trim_end().to_owned();
        let clean =
            |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
        Some(Self {
            pid,
            comm: clean(comm),
            state: fields.first()?.chars().next()?,
            ppid: u32::try_from(number(1)?).ok()?,
            group: u32::try_from(number(2)?).ok()?,
            session: u32::try_from(number(3)?).ok()?,
            tty: number(4).unwrap_or(0),
            foreground: fields.get(5)?.parse().ok()?,
            ticks: number(11)?.saturating_add(number(12)?),
            nice: fields.get(16)?.parse().ok()?,
            threads: number(17)?,
            started_ticks: number(19)?,
            vsz_kib: size("VmSize:"),
            rss_kib: size("VmRSS:"),
            locked: size("VmLck:") > 0,
            // The effective ones.
            uid: id(of_status("Uid:")),
            gid: id(of_status("Gid:")),
            command: if joined.is_empty() { format!("[{}]", clean(comm)) } else { clean(&joined) },
        })
    }

    fn started(&self, machine: &Machine) -> Timestamp {
        let seconds = machine.booted + i64::try_from(self.started_ticks / TICKS_PER_SECOND).unwrap_or(0);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn age(&self, machine: &Machine) -> i64 {
        machine.now.as_second().saturating_sub(self.started(machine).as_second()).max(0)
    }

    /// Tenths of a percent of one processor, over the life of the process.
    fn load(&self, machine: &Machine) -> u64 {
        let age = self.age(machine).max(1).unsigned_abs();
        self.ticks * 1000 / TICKS_PER_SECOND / age
    }

    fn stat(&self) -> String {
        let mut text = self.state.to_string();
        let flags = [
            (self.nice < 0, '<'),
            (self.nice > 0, 'N'),
            (self.locked, 'L'),
            (self.session == self.pid, 's'),
            (self.threads > 1, 'l'),
            (self.foreground == i64::from(self.group), '+'),
        ];
        text.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag));
        text
    }

    fn tty(&self) -> String {
        // The kernel's encoding of device numbers.
        let (major, minor) = (self.tty >> 8 & 0xfff, self.tty & 0xff | self.tty >> 12 & 0xfff00);
        match self.tty {
            0 => "?".to_owned(),
            _ if PTS_MAJORS.contains(&major) => format!("pts/{}", (major - PTS_MAJORS.start) << 8 | minor),
            _ if major == 4 && minor < 64 => format!("tty{minor}"),
            _ if major == 5 => "console".to_owned(),
            _ => format!("{major},{minor}"),
        }
    }

    /// The value of a column; None for one that there is not.
    pub(super) fn column(&self, name: &str, machine: &Machine) -> Option<String> {
        let user = |id: u32| machine.users.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let group = |id: u32| machine.groups.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let tenths = |value: u64| format!("{}.{}", value / 10, value % 10);
        let seconds = self.ticks / TICKS_PER_SECOND;
        Some(match name {
            "pid" | "tgid" => self.pid.to_string(),
            "ppid" => self.ppid.to_string(),
            "pgid" | "pgrp" => self.group.to_string(),
            "sid" | "sess" | "session" => self.session.to_string(),
            "user" | "euser" | "uname" => user(self.uid),
            "uid" | "euid" => self.uid.to_string(),
            "group" | "egroup" => group(self.gid),
            "gid" | "egid" => self.gid.to_string(),
            "comm" | "ucmd" | "ucomm" => self.comm.clone(),
            "args" | "cmd" | "command" => self.command.clone(),
            "c" => (self.load(machine) / 10).min(99).to_string(),
            "pcpu" | "%cpu" => tenths(self.load(machine)),
            "pmem" | "%mem" => tenths(self.rss_kib * 1000 / machine.memory_kib),
            "vsz" | "vsize" => self.vsz_kib.to_string(),
            "rss" | "rssize" | "rsz" => self.rss_kib.to_string(),
            "nlwp" | "thcount" => self.threads.to_string(),
            "ni" | "nice" => self.nice.to_string(),
            "s" | "state" => self.state.to_string(),
            "stat" => self.stat(),
            "tty" | "tt" | "tname" => self.tty(),
            "time" | "cputime" => {
                format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
            }
            "bsdtime" => format!("{}:{:02}", seconds / 60, seconds % 60),
            "stime" | "start_time" | "bsdstart" | "start" => self.begun(machine, name == "start"),
            "lstart" => self.zoned(machine).strftime("%a %b %e %H:%M:%S %Y").to_string(),
            "etime" => elapsed(self.age(machine)),
            "etimes" => self.age(machine).to_string(),
            _ => return None,
        })
    }

    fn zoned(&self, machine: &Machine) -> Zoned {
        self.started(machine).to_zoned(TimeZone::system())
    }

    fn begun(&self, machine: &Machine, with_seconds: bool) -> String {
        let format = match self.age(machine) {
            ..DAY if with_seconds => "%H:%M:%S",
            ..DAY => "%H:%M",
            _ => "%b%d",
        };
        self.zoned(machine).strftime(format).to_string()
    }
}

/// `[[days-]hours:]minutes:seconds`
fn elapsed(seconds: i64) -> String {
    let (days, hours, minutes, seconds) =
        (seconds / DAY, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{seconds:02}"),
        (0, _) => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "12 (a) b) S 1 12 12 34817 12 0 0 0 0 0 150 50 0 0 20 5 3 0 100 0 0";
    const STATUS: &str =
        "Name:\ta\nUid:\t1\t7\t1\t1\nGid:\t2\t8\t2\t2\nVmSize:\t  2048 kB\nVmLck:\t 0 kB\nVmRSS:\t 1024 kB\n";

    fn machine() -> Machine {
        Machine {
            users: HashMap::from([(7, "you".to_owned())]),
            groups: HashMap::new(),
            booted: 1000,
            memory_kib: 10240,
            now: Timestamp::from_second(1101).unwrap(),
        }
    }

    #[test]
    fn columns_are_those_of_ps() {
        let process = Process::parse(12, STAT, STATUS, b"/bin/x\0a b\0").unwrap();
        let machine = machine();
        for (name, value) in [
            ("pid", "12"),
            ("ppid", "1"),
            ("user", "you"),
            ("group", "8"),
            ("comm", "a) b"),
            ("args", "/bin/x a b"),
            ("c", "2"),
            ("pcpu", "2.0"),
            ("pmem", "10.0"),
            ("rss", "1024"),
            ("stat", "SNsl+"),
            ("tty", "pts/1"),
            ("time", "00:00:02"),
            ("etime", "01:40"),
        ] {
            assert_eq!(process.column(name, &machine).as_deref(), Some(value), "{name}");
        }
        assert!(process.column("wchan", &machine).is_none());
    }

    #[test]
    fn what_a_process_calls_itself_is_harmless() {
        let process = Process::parse(12, STAT, STATUS, b"\x1b[31m\0\n").unwrap();
        assert_eq!(process.command, "?[31m");
        assert_eq!(Process::parse(12, STAT, STATUS, b"").unwrap().command, "[a) b]");
        for stat in ["", "1 (a", "1 (a) S", "x"] {
            assert!(Process::parse(1, stat, STATUS, b"").is_none());
        }
    }

    #[test]
    fn times_that_passed_have_days() {
        assert_eq!([elapsed(59), elapsed(3661), elapsed(90061)], ["00:59", "01:01:01", "1-01:01:01"]);
    }
}
