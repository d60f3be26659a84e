//! Answers of real engines, dockerd 20.10 (1.41) and 28.5 (1.51, images in containerd): what is read and written again is
//! the same, key by key. `tests/fixtures` is what `curl` got of them.

use gantry_docker_api::List;
use gantry_docker_api::container::{
    ContainerInspect, ContainerStats, ContainerSummary, ContainerTopResponse, PathChange,
};
use gantry_docker_api::event::Event;
use gantry_docker_api::exec::ExecInspect;
use gantry_docker_api::image::{HistoryItem, ImageInspect, ImageSummary};
use gantry_docker_api::network::Network;
use gantry_docker_api::system::{DiskUsage, Info, Version};
use gantry_docker_api::volume::VolumeList;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What we write beyond an old engine's: keys of later versions.
const LATER: &[&str] = &["GwPriority", "DNSNames", "EnableIPv4"];

fn check<T: Serialize + DeserializeOwned>(name: &str) {
    for version in ["20", "28"] {
        let path = format!("{}/tests/fixtures/{name}.{version}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("a fixture");
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map(Result::unwrap);
        for value in values {
            let read: T =
                serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{path}: {error}"));
            let mut differences = Vec::new();
            compare("", &value, &serde_json::to_value(&read).expect("a value"), &mut differences);
            assert!(differences.is_empty(), "{path}: {differences:#?}");
        }
    }
}

fn compare(place: &str, engine: &Value, ours: &Value, differences: &mut Vec<String>) {
    match (engine, ours) {
        (Value::Object(engine), Value::Object(ours)) => {
            for (key, value) in engine {
                match ours.get(key) {
                    Some(other) => compare(&format!("{place}.{key}"), value, other, differences),
                    // Optional for the sake of versions: `null` is read as not there.
                    None if value.is_null() => {}
                    None => differences.push(format!("{place}.{key} is not written: {value}")),
                }
            }
            let more = ours.keys().filter(|key| !engine.contains_key(*key) && !LATER.contains(&key.as_str()));
            differences.extend(more.map(|key| format!("{place}.{key} is written")));
        }
        (Value::Array(engine), Value::Array(ours)) if engine.len() == ours.len() => {
            for (index, (engine, ours)) in engine.iter().zip(ours).enumerate() {
                compare(&format!("{place}[{index}]"), engine, ours, differences);
            }
        }
        (engine, ours) if engine == ours => {}
        (engine, ours) => differences.push(format!("{place}: {engine} is written as {ours}")),
    }
}

#[test]
fn containers() {
    check::<ContainerInspect>("inspect1");
    check::<ContainerInspect>("inspect2");
    check::<List<ContainerSummary>>("list");
    check::<ContainerTopResponse>("top");
    check::<List<PathChange>>("changes");
    check::<ExecInspect>("exec_inspect");
}

#[test]
fn stats() {
    check::<ContainerStats>("stats");
    check::<ContainerStats>("stats_stopped");
}

#[test]
fn images() {
    check::<List<ImageSummary>>("images");
    check::<ImageInspect>("image");
    check::<List<HistoryItem>>("history");
}

#[test]
fn volumes_and_networks() {
    check::<VolumeList>("volumes");
    check::<List<Network>>("networks");
    check::<Network>("network");
}

#[test]
fn system() {
    check::<Info>("info");
    check::<Version>("version");
    check::<DiskUsage>("df");
    check::<Event>("events");
}
