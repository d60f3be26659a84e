//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use gantry_docker_api::container::ContainerCreateRequest;
use gantry_docker_api::{ApiVersion, Filters};
use gantry_engine::{Command, ImageOf, Options, Record, State};
use jiff::Timestamp;

use crate::http::Query;
use crate::route::Target;
use crate::{container, from_api, into_api};

fn record(options: Options) -> Record {
    let exposed = options.network.exposed.iter().cloned().collect();
    Record {
        id: "0".repeat(64),
        name: "fuzz".to_owned(),
        created: Timestamp::UNIX_EPOCH,
        image: ImageOf::default(),
        process: Command { exposed, ..Command::default() },
        mounts: Vec::new(),
        state: State::default(),
        endpoint: None,
        userns: None,
        restart_count: 0,
        log_path: None,
        labels: options.labels.clone(),
        options,
    }
}

/// A body of `POST /containers/create` behind a byte that chooses the version. What was understood is kept, and means the same
/// when it is read again; and whatever was understood can be told.
pub fn create(bytes: &[u8]) {
    let Some((version, body)) = bytes.split_first() else { return };
    let version = ApiVersion::new(1, 40 + u16::from(*version) % 13);
    let Ok(request) = crate::http::read_json::<ContainerCreateRequest>(body) else { return };
    let Ok(asked) = from_api::container(request, version) else { return };
    let kept: ContainerCreateRequest =
        serde_json::from_str(&asked.options.origin).expect("what is kept can be read");
    let again = from_api::container(kept, version).expect("what was taken is taken again");
    assert_eq!(again.options, asked.options);
    let told = into_api::summary(
        &record(asked.options),
        into_api::BesideSummary::default(),
        "fuzz",
        version,
        Timestamp::UNIX_EPOCH,
    );
    serde_json::to_vec(&told).expect("whatever is told is JSON");
}

/// A path, and a query behind a question mark. Names have no slashes, and are never empty.
pub fn route(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    if let Ok(target) = Target::parse(path) {
        let is_name = |segment: &String| !segment.is_empty() && !segment.contains(['/', '\0']);
        assert!(target.segments.iter().all(is_name));
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        assert!(target.version.is_none_or(|version| version.bytes().all(is_digit)));
    }
    if let Ok(query) = Query::parse(query) {
        let _ = query.number::<i64>("t");
        if let Ok(filters) = Filters::parse(query.text("filters")) {
            let _ = container::until(&filters);
            container::matches(filters, &record(Options::default()));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_promises_hold_on_what_is_usual() {
        for body in [
            &b""[..],
            b"\x05{}",
            b"\x0c{\"Image\":\"i\",\"Cmd\":\"x\",\"ExposedPorts\":{\"80\":{}},\"HostConfig\":{\"Binds\":[\"v1:/a:ro\",\"/b\"],\
              \"PortBindings\":{\"80\":[{\"HostPort\":\"1-2\"}]},\"Mounts\":[{\"Type\":\"tmpfs\",\"Target\":\"/t\"}],\
              \"RestartPolicy\":{\"Name\":\"on-failure\",\"MaximumRetryCount\":3},\"StorageOpt\":null}}",
            b"\0{\"Image\":\"i\",\"HostConfig\":{\"ConsoleSize\":[1,2],\"Annotations\":{\"a\":\"b\"}}}",
        ] {
            super::create(body);
        }
        for path in [
            &b"/v1.45/containers/%2e%2e/json?t=5&filters={\"name\":[\"[\"],\"until\":[\"1h\"]}"[..],
            b"//a%2fb//?%",
            b"/%00",
            b"\xff?\xff",
        ] {
            super::route(path);
        }
    }
}
