//! Device rules: the program's verdicts and the lines for cgroup v1 are the policy's. Rules are JSON, or made of any
//! bytes.
#![no_main]

use gantry_types::oci::DeviceRule;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 4] = ["a", "b", "c", ""];
const NUMBERS: [Option<i64>; 8] =
    [None, Some(-1), Some(0), Some(1), Some(2), Some(5), Some(0x7fff_ffff), Some(0xffff_ffff)];
const ACCESS: [&str; 8] = ["rwm", "r", "w", "m", "rw", "rm", "wm", ""];

fn rule(bytes: &mut Unstructured<'_>) -> Result<DeviceRule> {
    Ok(DeviceRule {
        allow: bytes.arbitrary()?,
        type_: (*bytes.choose(&TYPES)?).to_owned(),
        major: *bytes.choose(&NUMBERS)?,
        minor: *bytes.choose(&NUMBERS)?,
        access: (*bytes.choose(&ACCESS)?).to_owned(),
    })
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.first() == Some(&b'[') {
        return gantry_cgroup::fuzzing::devices(bytes);
    }
    let mut bytes = Unstructured::new(bytes);
    let mut rules = Vec::new();
    while rules.len() < 40
        && !bytes.is_empty()
        && let Ok(rule) = rule(&mut bytes)
    {
        rules.push(rule);
    }
    gantry_cgroup::fuzzing::device_rules(&rules);
});
