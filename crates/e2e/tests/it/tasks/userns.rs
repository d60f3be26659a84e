//! Tasks in user namespaces, with roots whose ids are mapped.

use gantry_e2e::{client_is_2, require_engine};
use gantry_testkit::skip_test;

use super::{Case, ours, shared};

#[test]
fn roots_of_snapshots_with_a_mapping_are_in_the_containers_ids() {
    require_engine!("ctr");
    ours!();
    if !client_is_2() {
        skip_test!("older clients mount such roots themselves, and cannot");
    }
    let script = "set -e; cat /proc/self/uid_map; stat -c %u:%g / /bin/busybox; touch /made; stat -c %u:%g /made; \
                  echo x >> /etc/passwd; stat -c %u /etc/passwd";
    for snapshotter in ["overlayfs", "native"] {
        let case = Case::new(shared(), format!("k-mapped-{snapshotter}"));
        let options = [
            "--rm",
            "--remap-labels",
            "--snapshotter",
            snapshotter,
            "--uidmap",
            "0:300000:65536",
            "--gidmap",
            "0:400000:65536",
        ];
        let output = case.run(&options, &["sh", "-c", script]).run().ok();
        let lines = output.lines();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["0", "300000", "65536"]);
        assert_eq!(lines[1..], ["0:0", "0:0", "0:0", "0"], "{snapshotter}: {output}");
    }
}
