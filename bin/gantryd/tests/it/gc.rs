//! `gantryd gc`, beside a daemon and without one.

use std::collections::BTreeMap;

use gantry_testkit::{Invocation, Need, require};

use crate::root;
use crate::serve::{DAEMON, Place};

/// A collector that only works when it is asked.
const QUIET: &str = "[gc]\nstartup_delay = \"24h\"\ndeletion_threshold = 1000000\nmutation_threshold = 0\n";

fn gc(place: &Place, flags: &[&str]) -> Invocation {
    Invocation::new(DAEMON).arg("gc").args(flags).arg("--config").arg(place.path("config.toml"))
}

/// A store with an image, and content that nothing refers to.
fn place() -> Place {
    let place = Place::new(QUIET);
    let root = place.path("root");
    let database = root::database(&root);
    for text in ["kept", "loose"] {
        root::put_bytes(&root, text);
    }
    database
        .write(|change| {
            root::put_content(change, "kept")?;
            root::put_content(change, "loose")?;
            root::put_image(change, "image", "kept")
        })
        .unwrap();
    place
}

fn has(place: &Place, text: &str) -> bool {
    place.path("root/content/blobs/sha256").join(root::digest(text).hex()).exists()
}

/// The database's files, but for the log's index, which is memory.
fn files(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(place.path("root")).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let files = named.filter(|(name, path)| path.is_file() && !name.ends_with("-shm"));
    files.map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

fn says_what_it_would_do(place: &Place) {
    let before = files(place);
    let text = gc(place, &["--dry-run"]).run().ok().text().to_owned();
    let line = |name: &str| {
        let found = text.lines().find(|line| line.contains(root::digest(name).as_str()));
        found.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert!(line("loose").starts_with("remove  content") && line("loose").contains("nothing refers to it"));
    assert!(line("kept").starts_with("keep    content") && line("kept").contains("image default/image"));
    let json = gc(place, &["--dry-run", "--json"]).run().ok().text().to_owned();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["remove"][0]["name"], root::digest("loose").as_str());
    assert_eq!(json["keep"].as_array().unwrap().len(), 2);
    assert!(before == files(place), "the dry run has changed something");
    assert!(has(place, "loose"));
}

#[test]
fn a_dry_run_changes_nothing_beside_a_daemon_and_without_one() {
    require!(Need::Root);
    let place = place();
    assert!(!place.path("root/meta.db-wal").exists(), "the database was not closed");
    says_what_it_would_do(&place);
    let daemon = place.start();
    says_what_it_would_do(&place);
    daemon.kill();
    assert!(place.path("root/meta.db-wal").exists());
    says_what_it_would_do(&place);
}

#[test]
fn a_daemon_collects_when_it_is_asked() {
    require!(Need::Root);
    let place = place();
    let daemon = place.start();
    gc(&place, &[]).run().ok();
    assert!(has(&place, "kept") && !has(&place, "loose"));
    let text = gc(&place, &["--dry-run"]).run().ok().text().to_owned();
    assert!(text.ends_with("0 to remove, 2 to keep"), "{text}");
    daemon.stop();
}

#[test]
fn a_store_without_a_daemon_is_collected_as_well() {
    require!(Need::Root);
    let place = place();
    gc(&place, &[]).run().ok();
    assert!(has(&place, "kept") && !has(&place, "loose"));
    place.start().stop();
}

#[test]
fn only_a_store_of_this_version_is_looked_at() {
    let place = Place::new("");
    gc(&place, &["--dry-run"]).run().exits(1).says("meta.db");
    gc(&place, &[]).run().exits(1).says("there is no store");
    assert!(!place.path("root").exists(), "a root was made");
    drop(root::database(&place.path("root")));
    let path = place.path("root/meta.db");
    for (version, hint) in [(99_u32, "use a newer one"), (1, "start its daemon first")] {
        // The version's place in the header (sqlite.org/fileformat2.html, 1.3.13).
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[60..64].copy_from_slice(&version.to_be_bytes());
        std::fs::write(&path, &bytes).unwrap();
        gc(&place, &["--dry-run"]).run().exits(1).says(hint);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
