//! Capability sets of what runs in the container.

use gantry_testkit::{Bundle, Report, Runtime};
use serde_json::json;

#[test]
fn cve_2016_8867_an_ordinary_user_gets_no_ambient_capabilities() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]);
    let bundle = bundle.edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let report = Report::parse(&runtime.run(&bundle).ok().stdout);
    for set in ["CapEff", "CapPrm", "CapAmb", "CapInh"] {
        assert_eq!(report.capabilities(set), 0, "{set}");
    }
}

#[test]
fn cve_2018_10856_exec_of_an_ordinary_user_has_no_capabilities() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    let report = container.probe(&["--user", "1000:1000"], &[]);
    for set in ["CapEff", "CapPrm", "CapAmb", "CapInh"] {
        assert_eq!(report.capabilities(set), 0, "{set}");
    }
}

#[test]
fn cve_2022_24769_inheritable_capabilities_are_empty_by_default() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]);
    let report = Report::parse(&runtime.run(&bundle).ok().stdout);
    assert_eq!(report.capabilities("CapInh"), 0);
}

#[test]
fn cve_2022_29162_exec_leaves_inheritable_capabilities_empty() {
    // runc exec --cap; the same in crun was CVE-2022-27650.
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    for options in
        [&[][..], &["--cap", "CAP_NET_ADMIN"][..], &["--cap", "CAP_NET_ADMIN", "--user", "1000"][..]]
    {
        let report = container.probe(options, &[]);
        assert_eq!(report.capabilities("CapInh"), 0, "{options:?}");
    }
}

#[test]
fn capabilities_beyond_the_bounding_set_cannot_be_had_again() {
    let runtime = Runtime::new();
    let bundle =
        Bundle::docker().sh("grep CapBnd /proc/self/status; mount -t tmpfs tmpfs /mnt 2>&1 | grep -c denied");
    let output = runtime.run(&bundle);
    assert!(output.stdout.contains("00000000a80425fb"), "{output}");
}
