//! Values of single flags.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use gantry_docker_api::container::{
    DeviceMapping, DeviceRequest, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice,
};
use gantry_docker_api::{mount, size};

/// `name=value` each; a name alone has the empty value.
pub(crate) fn pairs(list: &[String]) -> Vec<(String, String)> {
    let pair = |text: &String| {
        text.split_once('=').map_or((text.clone(), String::new()), |(k, v)| (k.into(), v.into()))
    };
    list.iter().map(pair).collect()
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy> {
    let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
    ensure!(
        !name.is_empty() || text.is_empty(),
        "invalid restart policy format: no policy provided before colon"
    );
    let maximum_retry_count = match count {
        Some(count) => count.parse().ok().with_context(|| {
            format!("invalid restart policy format: maximum retry count must be an integer, not {count:?}")
        })?,
        None => 0,
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

/// Capabilities by their full names, each once and in order.
pub(super) fn capabilities(list: &[String]) -> Vec<String> {
    let full = |name: &String| {
        let name = name.trim().to_ascii_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    list.iter().map(full).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// A decimal number of processors, as billionths.
pub(crate) fn nano_cpus(text: &str) -> Result<i64> {
    let bad = || format!("invalid value {text:?} for --cpus: failed to parse as a decimal number");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(!text.is_empty() && text != "." && is_number(whole) && is_number(fraction), bad());
    ensure!(fraction.trim_end_matches('0').len() <= 9, "value {text:?} for --cpus is too precise");
    let fraction = format!("{:0<9}", fraction.trim_end_matches('0'));
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().with_context(bad)? };
    let billionths: i64 = fraction.parse().with_context(bad)?;
    whole.checked_mul(1_000_000_000).and_then(|nano| nano.checked_add(billionths)).with_context(bad)
}

/// `host:ip` and `host=ip`, as `host:ip`.
pub(super) fn hosts(list: &[String]) -> Result<Vec<String>> {
    let host = |text: &String| {
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        let Some((name, address)) = split.filter(|(name, _)| !name.is_empty()) else {
            bail!("bad format for add-host: {text:?}");
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let is_address = address == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok();
        ensure!(is_address, "invalid IP address in add-host: {address:?}");
        Ok(format!("{name}:{bare}"))
    };
    list.iter().map(host).collect()
}

/// Device files, and names of CDI's (`vendor/class=name`).
pub(super) fn devices(list: &[String]) -> Result<(Vec<DeviceMapping>, Vec<String>)> {
    let (mut devices, mut cdi) = (Vec::new(), Vec::new());
    for text in list {
        if !text.starts_with('/')
            && text.split_once('=').is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty())
        {
            cdi.push(text.clone());
            continue;
        }
        let is_mode = |mode: &str| !mode.is_empty() && mode.bytes().all(|byte| b"rwm".contains(&byte));
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, mode) = match parts.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, mode] if is_mode(mode) => (*host, *host, *mode),
            [host, container] => (*host, *container, "rwm"),
            [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
            _ => bail!("invalid device specification: {text}"),
        };
        ensure!(host.starts_with('/'), "bad format for path: {host}");
        devices.push(DeviceMapping {
            path_on_host: host.to_owned(),
            path_in_container: container.to_owned(),
            cgroup_permissions: mode.to_owned(),
        });
    }
    Ok((devices, cdi))
}

/// `all`, a count, or `device=0,driver=x,capabilities=...`.
pub(super) fn gpus(text: &str) -> Result<DeviceRequest> {
    let mut request = DeviceRequest::default();
    let mut capabilities = vec!["gpu".to_owned()];
    let fields =
        mount::fields(text).with_context(|| format!("invalid argument {text:?} for \"--gpus\" flag"))?;
    for field in &fields {
        let count = |value: &str| -> Result<i64> {
            if value == "all" { Ok(-1) } else { value.parse().context("count must be an integer") }
        };
        match field.split_once('=') {
            None => request.count = count(field)?,
            Some(("count", value)) => request.count = count(value)?,
            Some(("driver", value)) => request.driver = value.to_owned(),
            Some(("device", value)) => request.device_ids = value.split(',').map(str::to_owned).collect(),
            Some(("capabilities", value)) => capabilities.extend(value.split(',').map(str::to_owned)),
            Some(("options", value)) => {
                let options: Vec<String> = value.split(',').map(str::to_owned).collect();
                request.options = pairs(&options).into_iter().collect();
            }
            Some((key, _)) => bail!("unexpected key '{key}' in '{field}'"),
        }
    }
    if request.count == 0 && request.device_ids.is_empty() {
        request.count = 1;
    }
    request.capabilities = vec![capabilities.into()].into();
    Ok(request)
}

pub(super) fn weights(list: &[String]) -> Result<Vec<WeightDevice>> {
    let weight = |text: &String| {
        let split = text.split_once(':').filter(|(path, _)| path.starts_with("/dev/"));
        let (path, weight) = split.with_context(|| format!("bad format: {text}"))?;
        let weight = weight.parse().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight));
        Ok(WeightDevice {
            path: path.to_owned(),
            weight: weight.with_context(|| format!("invalid weight for device: {text}"))?,
        })
    };
    list.iter().map(weight).collect()
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    Bytes,
    Operations,
}

pub(super) fn rates(list: &[String], rate: Rate) -> Result<Vec<ThrottleDevice>> {
    let device = |text: &String| {
        let split = text.split_once(':').filter(|(path, _)| path.starts_with("/dev/"));
        let (path, value) = split.with_context(|| format!("bad format for device path: {text}"))?;
        let value = match rate {
            Rate::Bytes => u64::try_from(size::parse_binary(value)?).context("negative rate")?,
            Rate::Operations => value.parse().with_context(|| format!("invalid rate for device: {text}"))?,
        };
        Ok(ThrottleDevice { path: path.to_owned(), rate: value })
    };
    list.iter().map(device).collect()
}

/// `name=soft[:hard]`.
pub(crate) fn ulimits(list: &[String]) -> Result<Vec<Ulimit>> {
    let ulimit = |text: &String| {
        let (name, limits) =
            text.split_once('=').with_context(|| format!("invalid ulimit argument: {text}"))?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let number = |text: &str| -> Result<i64> {
            if text == "unlimited" {
                Ok(-1)
            } else {
                text.parse().with_context(|| format!("invalid ulimit: {text}"))
            }
        };
        let (soft, hard) = (number(soft)?, number(hard)?);
        let is_above = hard != -1 && (soft > hard || soft == -1);
        ensure!(!is_above, "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
        Ok(Ulimit { name: name.to_owned(), hard, soft })
    };
    list.iter().map(ulimit).collect()
}

/// A path of ours as an absolute one, without dots.
pub(crate) fn absolute(path: &str) -> Result<String> {
    let base = std::env::current_dir().context("the working directory is gone")?;
    let mut clean = PathBuf::from("/");
    for part in base.join(path).components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
        .into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("{} is no UTF-8", Path::new(&path).display()))
}

/// Makes the source of `./a:/b` absolute.
pub(super) fn absolute_bind(text: &str) -> Result<String> {
    match text.split_once(':') {
        Some((source, rest))
            if source.starts_with("./") || source.starts_with("../") || source == "." || source == ".." =>
        {
            Ok(format!("{}:{rest}", absolute(source)?))
        }
        _ => Ok(text.to_owned()),
    }
}
