use std::path::Path;

use gantry_snapshot::testsuite::{Features, in_private_mounts, run};
use gantry_snapshot::{Error, Info, Local, Matcher, MemoryRecords, Native, Options, Overlayfs, Snapshotter};
use gantry_testkit::{Need, require};

/// As much of containerd's filters as the suite uses: `field`, `field==value` and `field!=value`, joined by commas.
fn filters(filters: &[String]) -> Result<Matcher, Error> {
    let filters = filters.to_vec();
    Ok(Box::new(move |info| filters.iter().any(|filter| filter.split(',').all(|part| passes(info, part)))))
}

fn passes(info: &Info, part: &str) -> bool {
    let (field, expected) = match part.split_once("!=").or_else(|| part.split_once("==")) {
        Some((field, value)) => (field, Some(value.trim_matches('"'))),
        None => (part, None),
    };
    let value = match field {
        "name" => Some(info.name.clone()),
        "kind" => Some(info.kind.as_str().to_owned()),
        "parent" => Some(info.parent.clone().unwrap_or_default()),
        _ => info.labels.get(field.trim_start_matches("labels.").trim_matches('"')).cloned(),
    };
    let equal = value.as_deref() == expected;
    if part.contains("!=") { !equal } else { expected.map_or(value.is_some(), |_| equal) }
}

#[test]
fn overlayfs_meets_the_contract() {
    require!(Need::Root);
    let features = Features {
        renames_lower_directories: false,
        rebase: true,
        filters: true,
        inherits_root_mode: true,
        counts_changes_only: true,
    };
    in_private_mounts(|| {
        run(features, &mut |root: &Path| -> Box<dyn Snapshotter> {
            let driver = Overlayfs::open(root, Options::default()).unwrap();
            Box::new(Local::new(driver, MemoryRecords::new()).unwrap().with_filters(filters))
        });
    });
}

#[test]
fn native_meets_the_contract() {
    require!(Need::Root);
    let features = Features {
        renames_lower_directories: true,
        rebase: false,
        filters: true,
        inherits_root_mode: true,
        counts_changes_only: false,
    };
    in_private_mounts(|| {
        run(features, &mut |root: &Path| -> Box<dyn Snapshotter> {
            let driver = Native::open(root).unwrap();
            Box::new(Local::new(driver, MemoryRecords::new()).unwrap().with_filters(filters))
        });
    });
}
