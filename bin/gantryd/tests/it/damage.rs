//! The daemon and a damaged database.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use gantry_testkit::{Invocation, Need, require};

use crate::root;
use crate::serve::{DAEMON, Place};

/// A store with much content in it.
fn place() -> Place {
    let place = Place::new("[gc]\nstartup_delay = \"24h\"\n");
    root::database(&place.path("root"))
        .write(|change| (0..2000).try_for_each(|n| root::put_content(change, &n.to_string())))
        .unwrap();
    place
}

/// Overwrites the database from a part of its length on, for some pages.
fn damage(place: &Place, at: f64, pages: u64) {
    let file = File::options().write(true).open(place.path("root/meta.db")).unwrap();
    let all = file.metadata().unwrap().len() / 4096;
    let first = (all as f64 * at) as u64;
    let bytes = vec![0xa5; usize::try_from(pages * 4096).unwrap()];
    file.write_all_at(&bytes, first * 4096).unwrap();
}

/// The daemon ends with an error that names the file and what to do, and has served nothing.
fn is_refused(place: &Place) {
    let output = Invocation::new(DAEMON).arg("--config").arg(place.path("config.toml")).run().exits(1);
    for part in ["root/meta.db", "damaged", "`gantryd repair --root"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
    assert!(!output.stderr.contains("panicked") && !output.stderr.contains("serving"), "{}", output.stderr);
}

#[test]
fn a_damaged_database_is_not_served_and_the_next_step_is_said() {
    require!(Need::Root);
    let first = place();
    damage(&first, 0.0, 1);
    is_refused(&first);
    let cut = place();
    let file = File::options().write(true).open(cut.path("root/meta.db")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2 / 4096 * 4096).unwrap();
    is_refused(&cut);
}

#[test]
fn an_empty_database_beside_content_is_one_that_was_lost() {
    require!(Need::Root);
    let place = place();
    root::put_bytes(&place.path("root"), "blob");
    let path = place.path("root/meta.db");
    File::create(&path).unwrap();
    is_refused(&place);
    std::fs::remove_file(&path).unwrap();
    is_refused(&place);
    assert!(place.path("root/content/blobs/sha256").join(root::digest("blob").hex()).exists());
}

#[test]
fn damage_that_is_met_later_is_told_to_clients_and_in_the_log() {
    require!(Need::Root);
    let place = place();
    let daemon = place.start();
    damage(&place, 0.3, 30);
    let gc = Invocation::new(DAEMON).arg("gc").arg("--config").arg(place.path("config.toml")).run().exits(1);
    assert!(gc.stderr.contains("damaged"), "{}", gc.stderr);
    let log = place.log();
    assert!(log.contains("run `gantryd repair`") && log.contains("meta.db"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    daemon.kill();
    is_refused(&place);
}
