//! `linux.resources` as properties of a unit: systemd.resource-control(5).
//!
//! systemd is told of every limit that it knows, because it writes its own view of a unit's cgroup again when it is
//! reloaded. Values that it rounds are rounded here first, so that both write the same.

use gantry_types::oci::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

use super::error::SystemdError;
use super::value::{Property, Value};
use crate::devices::{Access, Kind, Policy};
use crate::error::LimitError;
use crate::hierarchy::Mode;
use crate::limits::{DEFAULT_CPU_PERIOD_US, Swap, io_weight, shares_to_weight, swap_without_memory};

/// CPUs and memory nodes beyond this are refused: they become a bit mask.
const MAX_INDEX: u32 = 1 << 16;

/// Since when systemd knows them.
const CPU_QUOTA_PERIOD_VERSION: u32 = 242;
const ALLOWED_CPUS_VERSION: u32 = 244;
const CPU_IDLE_VERSION: u32 = 252;
const OOM_POLICY_VERSION: u32 = 253;

/// systemd's "no limit".
const INFINITY: u64 = u64::MAX;

/// Properties being collected. The version is asked for only when something depends on it.
pub(super) struct Properties<'a> {
    pub(super) list: Vec<Property>,
    mode: Mode,
    version: &'a mut dyn FnMut() -> Result<u32, SystemdError>,
}

impl<'a> Properties<'a> {
    pub(super) fn new(mode: Mode, version: &'a mut dyn FnMut() -> Result<u32, SystemdError>) -> Self {
        Self { list: Vec::new(), mode, version }
    }

    pub(super) fn push(&mut self, name: &str, value: Value) {
        self.list.push(Property::new(name, value));
    }

    fn knows(&mut self, since: u32) -> Result<bool, LimitError> {
        (self.version)().map(|version| version >= since).map_err(LimitError::Systemd)
    }

    fn is_v2(&self) -> bool {
        self.mode == Mode::V2
    }

    /// What holds from the first process on.
    pub(super) fn early(&mut self, resources: &Resources) -> Result<(), LimitError> {
        if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
            self.push("TasksMax", Value::U64(tasks_max(limit)));
        }
        if let Some(cpu) = &resources.cpu {
            self.cpu_list("AllowedCPUs", "linux.resources.cpu.cpus", &cpu.cpus)?;
            self.cpu_list("AllowedMemoryNodes", "linux.resources.cpu.mems", &cpu.mems)?;
        }
        Ok(())
    }

    /// What can be set only when a unit starts.
    pub(super) fn at_start(&mut self, resources: &Resources) -> Result<(), LimitError> {
        // The kernel takes a change of memory.oom.group at any time; systemd writes its own policy over it.
        let group = resources.unified.get("memory.oom.group").map(|value| value.trim_ascii());
        let policy = match group {
            Some("0") => "continue",
            Some("1") => "kill",
            _ => return Ok(()),
        };
        if self.knows(OOM_POLICY_VERSION)? {
            self.push("OOMPolicy", Value::Str(policy.into()));
        }
        Ok(())
    }

    /// What would hinder the set-up. Rounds the quota of `resources` to what systemd can say.
    pub(super) fn late(&mut self, resources: &mut Resources) -> Result<(), LimitError> {
        if let Some(memory) = &resources.memory {
            self.memory(memory)?;
        }
        if let Some(cpu) = &mut resources.cpu {
            self.cpu(cpu)?;
        }
        if let Some(io) = &resources.block_io {
            self.io(io);
        }
        if self.is_v2() {
            self.unified(resources)?;
        }
        Ok(())
    }

    fn memory(&mut self, memory: &Memory) -> Result<(), LimitError> {
        let bytes = |limit: i64| if limit < 0 { INFINITY } else { limit.unsigned_abs() };
        let limit = memory.limit.unwrap_or(0);
        if limit != 0 {
            self.push(if self.is_v2() { "MemoryMax" } else { "MemoryLimit" }, Value::U64(bytes(limit)));
        }
        if !self.is_v2() {
            return Ok(());
        }
        if let Some(reservation) = memory.reservation.filter(|&reservation| reservation != 0) {
            self.push("MemoryLow", Value::U64(bytes(reservation)));
        }
        let swap = memory.swap.unwrap_or(0);
        let invalid = |reason| LimitError::Invalid {
            field: "linux.resources.memory.swap".into(),
            value: swap.to_string(),
            reason,
        };
        match swap_without_memory(swap, limit).map_err(invalid)? {
            Swap::Keep => {}
            Swap::Unlimited => self.push("MemorySwapMax", Value::U64(INFINITY)),
            Swap::Bytes(bytes) => self.push("MemorySwapMax", Value::U64(bytes)),
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &mut Cpu) -> Result<(), LimitError> {
        let shares = cpu.shares.unwrap_or(0);
        if !self.is_v2() {
            if shares != 0 {
                self.push("CPUShares", Value::U64(shares));
            }
        } else if cpu.idle == Some(1) && self.knows(CPU_IDLE_VERSION)? {
            // A weight of 0 is systemd's word for cpu.idle.
            self.push("CPUWeight", Value::U64(0));
        } else if shares != 0 {
            self.push("CPUWeight", Value::U64(shares_to_weight(shares)));
        }
        let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
        if quota != 0 || period != 0 {
            let (per_second, rounded) = quota_per_second(quota, period);
            if period != 0 && self.knows(CPU_QUOTA_PERIOD_VERSION)? {
                self.push("CPUQuotaPeriodUSec", Value::U64(period));
            }
            self.push("CPUQuotaPerSecUSec", Value::U64(per_second));
            cpu.quota = cpu.quota.map(|_| rounded);
        }
        Ok(())
    }

    fn cpu_list(&mut self, name: &str, field: &str, list: &str) -> Result<(), LimitError> {
        if list.is_empty() || !self.knows(ALLOWED_CPUS_VERSION)? {
            return Ok(());
        }
        let mask = mask(list).ok_or_else(|| LimitError::Invalid {
            field: field.into(),
            value: format!("{list:?}"),
            reason: "not a list as in \"0-3,7\"",
        })?;
        self.push(name, Value::bytes(&mask));
        Ok(())
    }

    fn io(&mut self, io: &BlockIo) {
        let weight = |weight: u16| if self.mode == Mode::V2 { io_weight(weight) } else { weight.into() };
        let names = match self.mode {
            Mode::V2 => ["IOWeight", "IODeviceWeight", "IOReadBandwidthMax", "IOWriteBandwidthMax"],
            _ => ["BlockIOWeight", "BlockIODeviceWeight", "BlockIOReadBandwidth", "BlockIOWriteBandwidth"],
        };
        let mut list = Vec::new();
        if let Some(asked @ 1..) = io.weight {
            list.push(Property::new(names[0], Value::U64(weight(asked))));
        }
        let by_device: Vec<Value> = io
            .weight_device
            .iter()
            .filter_map(|device| Some((device, device.weight.filter(|&weight| weight != 0)?)))
            .map(|(device, asked)| device_number(device.major, device.minor, weight(asked)))
            .collect();
        if !by_device.is_empty() {
            list.push(Property::new(names[1], Value::Array("(st)".into(), by_device)));
        }
        let mut rates =
            vec![(names[2], &io.throttle_read_bps_device), (names[3], &io.throttle_write_bps_device)];
        if self.mode == Mode::V2 {
            rates.push(("IOReadIOPSMax", &io.throttle_read_iops_device));
            rates.push(("IOWriteIOPSMax", &io.throttle_write_iops_device));
        }
        for (name, devices) in rates {
            let rate = |device: &ThrottleDevice| {
                device_number(
                    device.major,
                    device.minor,
                    if device.rate == 0 { INFINITY } else { device.rate },
                )
            };
            if !devices.is_empty() {
                list.push(Property::new(
                    name,
                    Value::Array("(st)".into(), devices.iter().map(rate).collect()),
                ));
            }
        }
        self.list.extend(list);
    }

    /// Files of cgroup v2 that systemd has a property for. The others are written to the cgroup only.
    fn unified(&mut self, resources: &Resources) -> Result<(), LimitError> {
        let idle = resources.unified.get("cpu.idle").is_some_and(|value| value.trim_ascii() == "1");
        for (key, value) in &resources.unified {
            let value = value.trim_ascii();
            let invalid = |reason| LimitError::Invalid {
                field: format!("linux.resources.unified[{key:?}]"),
                value: format!("{value:?}"),
                reason,
            };
            let number = || match value {
                "max" => Ok(INFINITY),
                digits => digits.parse().map_err(|_| invalid("neither a number nor \"max\"")),
            };
            match key.as_str() {
                "cpu.idle" if idle && self.knows(CPU_IDLE_VERSION)? => self.push("CPUWeight", Value::U64(0)),
                "cpu.weight" if !idle => self.push("CPUWeight", Value::U64(number()?)),
                "cpu.max" => {
                    let mut words = value.split_ascii_whitespace();
                    let quota = words.next().filter(|word| *word != "max").map(str::parse::<i64>).transpose();
                    let period = words.next().map(str::parse::<u64>).transpose();
                    let (Ok(quota), Ok(period), None) = (quota, period, words.next()) else {
                        return Err(invalid("not a quota and a period"));
                    };
                    if period.is_some() && self.knows(CPU_QUOTA_PERIOD_VERSION)? {
                        self.push("CPUQuotaPeriodUSec", Value::U64(period.unwrap_or(DEFAULT_CPU_PERIOD_US)));
                    }
                    let (per_second, _) = quota_per_second(quota.unwrap_or(-1), period.unwrap_or(0));
                    self.push("CPUQuotaPerSecUSec", Value::U64(per_second));
                }
                "cpuset.cpus" => {
                    self.cpu_list("AllowedCPUs", "linux.resources.unified[\"cpuset.cpus\"]", value)?
                }
                "cpuset.mems" => {
                    self.cpu_list("AllowedMemoryNodes", "linux.resources.unified[\"cpuset.mems\"]", value)?;
                }
                "memory.high" => self.push("MemoryHigh", Value::U64(number()?)),
                "memory.low" => self.push("MemoryLow", Value::U64(number()?)),
                "memory.min" => self.push("MemoryMin", Value::U64(number()?)),
                "memory.max" => self.push("MemoryMax", Value::U64(number()?)),
                "memory.swap.max" => self.push("MemorySwapMax", Value::U64(number()?)),
                "pids.max" => self.push("TasksMax", Value::U64(number()?.max(1))),
                _ => {}
            }
        }
        Ok(())
    }

    /// The devices of a policy, for cgroup v1, where systemd opens them all if it is told nothing. It knows no list of
    /// what is denied: such a policy is nothing for it, until ours is written.
    pub(super) fn devices(&mut self, policy: &Policy) {
        let entry = |path: String, access: Access| {
            Value::Struct(vec![Value::Str(path), Value::Str(access.to_string())])
        };
        self.push("DeviceAllow", Value::Array("(ss)".into(), Vec::new()));
        if policy.allows_everything() {
            self.push("DevicePolicy", Value::Str("auto".into()));
            return;
        }
        self.push("DevicePolicy", Value::Str("strict".into()));
        if policy.allows_by_default() {
            return;
        }
        let entries = policy
            .exceptions()
            .filter_map(|(devices, access)| {
                let kind = if devices.kind == Kind::Block { "block" } else { "char" };
                let path = match (devices.major, devices.minor) {
                    (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                    (Some(major), None) => format!("{kind}-{major}"),
                    (None, None) => format!("{kind}-*"),
                    (None, Some(_)) => return None,
                };
                Some(entry(path, access))
            })
            .collect();
        self.push("DeviceAllow", Value::Array("(ss)".into(), entries));
    }
}

/// systemd refuses 0.
fn tasks_max(limit: i64) -> u64 {
    match limit {
        0 => 1,
        1.. => limit.unsigned_abs(),
        _ => INFINITY,
    }
}

fn device_number(major: i64, minor: i64, value: u64) -> Value {
    Value::Struct(vec![Value::Str(format!("/dev/block/{major}:{minor}")), Value::U64(value)])
}

/// A quota of a period as microseconds in a second, and the quota that this comes to. systemd knows whole per cents;
/// rounding up lets a cgroup below have what was asked for.
fn quota_per_second(quota: i64, period: u64) -> (u64, i64) {
    const SECOND: u128 = 1_000_000;
    const PER_CENT: u128 = 10_000;
    let Ok(wanted @ 1..) = u128::try_from(quota) else { return (INFINITY, quota) };
    let period = u128::from(if period == 0 { DEFAULT_CPU_PERIOD_US } else { period });
    let per_second = (wanted * SECOND / period).max(1);
    if per_second.is_multiple_of(PER_CENT) {
        return (per_second.try_into().unwrap_or(INFINITY), quota);
    }
    let rounded = per_second.next_multiple_of(PER_CENT);
    let quota = i64::try_from(rounded * period / SECOND).unwrap_or(quota);
    (rounded.try_into().unwrap_or(INFINITY), quota)
}

/// A list as a mask: bit n of byte n / 8 is number n.
fn mask(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    let mut named = 0;
    for range in list.split(',').map(str::trim_ascii).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        // Whoever names more numbers than there are names some again and again.
        named += last.saturating_sub(first).saturating_add(1).min(MAX_INDEX);
        if first > last || last >= MAX_INDEX || named > MAX_INDEX {
            return None;
        }
        for n in first..=last {
            let byte = n as usize / 8;
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            mask[byte] |= 1 << (n % 8);
        }
    }
    (!mask.is_empty()).then_some(mask)
}

/// The number of a version such as `257.13-1~deb13u1` or `v245`.
pub(super) fn version_number(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(['v', '"']);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, mode: Mode) -> Result<(Vec<(String, Value)>, Resources), String> {
        let mut resources: Resources = serde_json::from_str(json).unwrap();
        let mut version = || Ok(257);
        let mut properties = Properties::new(mode, &mut version);
        properties.early(&resources).map_err(|error| error.to_string())?;
        properties.at_start(&resources).map_err(|error| error.to_string())?;
        properties.late(&mut resources).map_err(|error| error.to_string())?;
        let list = properties.list.into_iter().map(|property| (property.name, property.value)).collect();
        Ok((list, resources))
    }

    #[test]
    fn limits_become_properties() {
        let json = r#"{"memory":{"limit":100,"swap":150,"reservation":-1},"pids":{"limit":0},
            "cpu":{"shares":1024,"quota":25000,"period":50000,"cpus":"0-2,9","mems":"0"},
            "blockIO":{"weight":10,"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":0}]},
            "unified":{"memory.high":"5","memory.oom.group":"1","hugetlb.2MB.max":"1"}}"#;
        let (list, _) = of(json, Mode::V2).unwrap();
        let expect = [
            ("TasksMax", Value::U64(1)),
            ("AllowedCPUs", Value::bytes(&[0b111, 0b10])),
            ("AllowedMemoryNodes", Value::bytes(&[1])),
            ("OOMPolicy", Value::Str("kill".into())),
            ("MemoryMax", Value::U64(100)),
            ("MemoryLow", Value::U64(INFINITY)),
            ("MemorySwapMax", Value::U64(50)),
            ("CPUWeight", Value::U64(100)),
            ("CPUQuotaPeriodUSec", Value::U64(50_000)),
            ("CPUQuotaPerSecUSec", Value::U64(500_000)),
            ("IOWeight", Value::U64(1)),
            ("IOReadIOPSMax", Value::Array("(st)".into(), vec![device_number(8, 0, INFINITY)])),
            ("MemoryHigh", Value::U64(5)),
        ];
        assert_eq!(list, expect.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn lists_that_say_the_same_again_and_again_are_refused() {
        assert_eq!(mask("0-65535").map(|mask| mask.len()), Some(8192));
        assert_eq!(mask(&"0-65535,".repeat(1 << 20)), None);
    }

    #[test]
    fn quotas_are_rounded_up_to_what_systemd_can_say() {
        for (quota, period, per_second, rounded) in [
            (50_000, 100_000, 500_000, 50_000),
            (50_001, 100_000, 510_000, 51_000),
            (1, 100_000, 10_000, 1000),
            (-1, 100_000, INFINITY, -1),
            (0, 50_000, INFINITY, 0),
            (25_000, 0, 250_000, 25_000),
            (i64::MAX, 1, INFINITY, i64::MAX),
            (1, u64::MAX, 10_000, 184_467_440_737_095_516),
        ] {
            assert_eq!(quota_per_second(quota, period), (per_second, rounded), "{quota} {period}");
        }
        let (_, resources) = of(r#"{"cpu":{"quota":50001}}"#, Mode::V2).unwrap();
        assert_eq!(resources.cpu.unwrap().quota, Some(51_000));
    }

    #[test]
    fn an_idle_unit_has_a_weight_of_nothing() {
        let (list, _) = of(r#"{"cpu":{"shares":500,"idle":1}}"#, Mode::V2).unwrap();
        assert_eq!(list, [("CPUWeight".to_owned(), Value::U64(0))]);
        let (list, _) = of(r#"{"unified":{"cpu.weight":"7","cpu.idle":"1"}}"#, Mode::V2).unwrap();
        assert_eq!(list, [("CPUWeight".to_owned(), Value::U64(0))]);
    }

    #[test]
    fn on_v1_the_names_are_the_old_ones() {
        let json = r#"{"memory":{"limit":-1,"swap":5},"cpu":{"shares":7},"blockIO":{"weight":300}}"#;
        let (list, _) = of(json, Mode::Hybrid).unwrap();
        let names: Vec<_> = list.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["MemoryLimit", "CPUShares", "BlockIOWeight"]);
        assert_eq!(list[0].1, Value::U64(INFINITY));
    }

    #[test]
    fn senseless_values_are_refused() {
        for (json, start) in [
            (r#"{"cpu":{"cpus":"3-1"}}"#, "linux.resources.cpu.cpus: \"3-1\""),
            (r#"{"cpu":{"mems":"0-4294967295"}}"#, "linux.resources.cpu.mems: "),
            (r#"{"memory":{"swap":1}}"#, "linux.resources.memory.swap: 1: unable"),
            (r#"{"unified":{"memory.max":"lots"}}"#, "linux.resources.unified[\"memory.max\"]: \"lots\""),
            (r#"{"unified":{"cpu.max":"1 2 3"}}"#, "linux.resources.unified[\"cpu.max\"]: "),
        ] {
            let error = of(json, Mode::V2).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn systemd_is_told_of_devices_in_its_own_words() {
        let mut version = || Ok(247);
        let mut properties = Properties::new(Mode::V1, &mut version);
        properties.devices(&crate::devices::policy(&[]).unwrap());
        let Value::Array(_, entries) = &properties.list[2].value else { panic!() };
        let entry = |path: &str, access: &str| {
            Value::Struct(vec![Value::Str(path.into()), Value::Str(access.into())])
        };
        for expect in [entry("/dev/char/1:3", "rwm"), entry("char-136", "rwm"), entry("block-*", "m")] {
            assert!(entries.contains(&expect), "{expect:?}");
        }
    }

    #[test]
    fn versions_are_read() {
        for (text, number) in
            [("257.13-1~deb13u1", Some(257)), ("v245.4", Some(245)), ("\"v239", Some(239)), ("x", None)]
        {
            assert_eq!(version_number(text), number);
        }
    }
}
