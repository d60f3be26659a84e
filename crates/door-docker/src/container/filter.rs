//! Which containers a list has.

use gantry_docker_api::{Filters, Timestamp};
use gantry_engine::{MountKind, Record, Status};
use regex::{Regex, RegexBuilder};

use crate::failure::Failure;

/// What may be asked for.
const KNOWN: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "id",
    "isolation",
    "label",
    "name",
    "status",
    "health",
    "since",
    "volume",
    "network",
    "is-task",
    "publish",
    "expose",
];
const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
/// How large a pattern of a client may become.
const PATTERN_BYTES: usize = 256 << 10;

/// A filter of the list of containers.
#[derive(Debug, Default)]
pub(super) struct Filter {
    filters: Filters,
    /// Patterns of names and of ids; those that are none match as they are.
    names: Vec<Pattern>,
    ids: Vec<Pattern>,
    exited: Vec<i32>,
    publish: Vec<Ports>,
    expose: Vec<Ports>,
    /// Whether tasks of a swarm are asked for: there are none.
    only_tasks: bool,
    /// The images that are asked for, by names and digests.
    pub(super) ancestors: Vec<String>,
}

#[derive(Debug)]
struct Pattern(String, Option<Regex>);

impl Pattern {
    fn new(text: &str) -> Self {
        let regex = RegexBuilder::new(text).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build();
        Self(text.to_owned(), regex.ok())
    }

    fn matches(&self, text: &str) -> bool {
        self.0 == text || self.1.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// Ports of a filter: `80`, `80-90/udp`.
#[derive(Debug)]
struct Ports {
    first: u16,
    last: u16,
    protocol: String,
}

impl Ports {
    fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| {
            text.parse().map_err(|_| {
                Failure::invalid(format!(
                    "error while looking up for {name} {text}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            })
        };
        Ok(Self { first: number(first)?, last: number(last)?, protocol: protocol.to_owned() })
    }

    fn has(&self, number: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&number) && self.protocol == protocol
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// 400, in docker's words.
    pub(super) fn new(filters: Filters) -> Result<Self, Failure> {
        filters.check(&KNOWN)?;
        let wrong = |name: &str, value: &str, why: String| {
            Err(Failure::invalid(format!("invalid filter '{name}={value}': {why}")))
        };
        if let Some(value) = filters.values("status").find(|value| !STATES.contains(value)) {
            let why = format!("invalid value for state ({value}): must be one of {}", STATES.join(", "));
            return wrong("status", value, why);
        }
        if let Some(value) = filters.values("health").find(|value| !HEALTH.contains(value)) {
            let why = format!("invalid value for health ({value}): must be one of {}", HEALTH.join(", "));
            return wrong("health", value, why);
        }
        let mut exited = Vec::new();
        for value in filters.values("exited") {
            match value.parse() {
                Ok(code) => exited.push(code),
                Err(_) => {
                    let why = format!("strconv.Atoi: parsing {value:?}: invalid syntax");
                    return wrong("exited", value, why);
                }
            }
        }
        let only_tasks = filters
            .boolean("is-task")
            .map_err(|_| {
                let values: Vec<&str> = filters.values("is-task").collect();
                Failure::invalid(format!("invalid filter 'is-task=[{}]'", values.join(" ")))
            })?
            .unwrap_or(false);
        let patterns = |name: &str| filters.values(name).map(Pattern::new).collect();
        let ports = |name: &'static str| {
            filters.values(name).map(|text| Ports::parse(name, text)).collect::<Result<_, _>>()
        };
        Ok(Self {
            names: patterns("name"),
            ids: patterns("id"),
            exited,
            publish: ports("publish")?,
            expose: ports("expose")?,
            only_tasks,
            ancestors: filters.values("ancestor").map(str::to_owned).collect(),
            filters,
        })
    }

    /// Whether it asks for states: then what does not run is listed, too.
    pub(super) fn asks_for_states(&self) -> bool {
        self.filters.values("status").next().is_some()
    }

    /// The container before which, or since which, others were made.
    pub(super) fn other(&self, name: &str) -> Option<&str> {
        self.filters.values(name).next()
    }

    /// Whether a container is asked for, but for its image.
    pub(super) fn matches(&self, record: &Record, network_id: &dyn Fn(&str) -> String) -> bool {
        let any = |patterns: &[Pattern], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
        };
        let slashed = format!("/{}", record.name);
        let has_name = any(&self.names, &record.name) || any(&self.names, &slashed);
        let status = record.state.status;
        let has_exited = self.exited.is_empty()
            || !status.is_alive()
                && record.state.started.is_some()
                && self.exited.contains(&record.state.exit_code);
        let health = record.state.health.as_ref().map_or("none", |health| health.status.as_str());
        has_name
            && !self.only_tasks
            && has_exited
            && any(&self.ids, &record.id)
            && self.filters.matches_exactly("status", status.as_str())
            && self.filters.matches_exactly("health", health)
            && self.filters.matches_exactly("isolation", "default")
            && self.filters.matches_labels("label", |key| record.labels.get(key).map(String::as_str))
            && self.has_volume(record)
            && self.has_network(record, network_id)
            && self.has_ports(record)
    }

    fn has_volume(&self, record: &Record) -> bool {
        let mut wanted = self.filters.values("volume").peekable();
        wanted.peek().is_none()
            || wanted.any(|volume| {
                record.mounts.iter().any(|mount| {
                    mount.target == volume
                        || mount.kind == MountKind::Volume && mount.name == volume
                        || mount.kind == MountKind::Bind && mount.source == volume
                })
            })
    }

    fn has_network(&self, record: &Record, network_id: &dyn Fn(&str) -> String) -> bool {
        let mode = match record.options.network.mode.as_str() {
            "" | "default" => "bridge",
            mode => mode,
        };
        let mut wanted = self.filters.values("network").peekable();
        wanted.peek().is_none()
            || wanted.any(|network| {
                network == mode || !network.is_empty() && network_id(mode).starts_with(network)
            })
    }

    fn has_ports(&self, record: &Record) -> bool {
        let published = record.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let mut published = published.map(|port| (port.host_port, port.protocol.as_str()));
        let has_published = self.publish.is_empty()
            || published
                .any(|(number, protocol)| self.publish.iter().any(|ports| ports.has(number, protocol)));
        let exposed = record.process.exposed.iter().filter_map(|text| text.split_once('/'));
        let mut exposed = exposed.filter_map(|(number, protocol)| Some((number.parse().ok()?, protocol)));
        let has_exposed = self.expose.is_empty()
            || exposed.any(|(number, protocol)| self.expose.iter().any(|ports| ports.has(number, protocol)));
        has_published && has_exposed
    }
}

/// Whether a container that does not run is listed only if that was asked for.
pub(super) fn is_active(record: &Record) -> bool {
    record.state.status.is_alive() || record.state.status == Status::Restarting
}

/// Whether a record is asked for, if the filters are any.
#[cfg(feature = "fuzzing")]
pub(crate) fn matches(filters: Filters, record: &Record) -> bool {
    Filter::new(filters).is_ok_and(|filter| filter.matches(record, &str::to_owned))
}

/// The time of the filter `until`: seconds since 1970, a date, or how long ago.
///
/// # Errors
/// 400.
pub(crate) fn until(filters: &Filters) -> Result<Option<jiff::Timestamp>, Failure> {
    let mut values = filters.values("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid("more than one until filter specified"));
    }
    let now = jiff::Timestamp::now();
    let now = Timestamp::new(now.as_second(), u32::try_from(now.subsec_nanosecond()).unwrap_or(0));
    let read = Timestamp::parse(text, now, &jiff::tz::TimeZone::UTC);
    let time = read.ok().and_then(|time| jiff::Timestamp::from_nanosecond(time.as_nanoseconds()).ok());
    let wrong = || Failure::invalid(format!("failed to parse value as time or duration: {text:?}"));
    time.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Filter, String> {
        Filter::new(Filters::parse(text).unwrap()).map_err(|failure| failure.message)
    }

    #[test]
    fn what_is_no_filter_is_refused_in_dockers_words() {
        for (text, words) in [
            (r#"{"nosuch":["x"]}"#, "invalid filter 'nosuch'"),
            (
                r#"{"status":["weird"]}"#,
                "invalid filter 'status=weird': invalid value for state (weird): must be one of created, running, paused, restarting, removing, exited, dead",
            ),
            (r#"{"exited":["x"]}"#, "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
            (
                r#"{"health":["weird"]}"#,
                "invalid filter 'health=weird': invalid value for health (weird): must be one of none, starting, healthy, unhealthy",
            ),
            (r#"{"is-task":["x"]}"#, "invalid filter 'is-task=[x]'"),
            (
                r#"{"publish":["bad"]}"#,
                "error while looking up for publish bad: strconv.ParseUint: parsing \"bad\": invalid syntax",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), words, "{text}");
        }
    }

    #[test]
    fn patterns_match_in_part_and_hostile_ones_only_themselves() {
        assert!(Pattern::new("^/one$").matches("/one"));
        assert!(Pattern::new("on").matches("stone"));
        assert!(Pattern::new("[").matches("["));
        let huge = "(a{1000}){1000}{1000}";
        assert!(Pattern::new(huge).1.is_none() && Pattern::new(huge).matches(huge));
    }

    #[test]
    fn times_are_dates_or_durations() {
        let of = |text: &str| until(&Filters::parse(text).unwrap());
        assert!(of(r#"{"until":["10m"]}"#).unwrap().is_some());
        assert!(of("{}").unwrap().is_none());
        assert_eq!(
            of(r#"{"until":["bad"]}"#).unwrap_err().message,
            "failed to parse value as time or duration: \"bad\""
        );
        assert!(of(r#"{"until":["1m","2m"]}"#).is_err());
    }
}
