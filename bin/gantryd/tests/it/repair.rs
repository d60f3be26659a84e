//! `gantryd repair`, from a database that is not served to one that is.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use gantry_testkit::{Invocation, Need, require};

use crate::root;
use crate::serve::{DAEMON, Place};

const QUIET: &str = "[gc]\nstartup_delay = \"24h\"\ndeletion_threshold = 1000000\nmutation_threshold = 0\n";
const MANY: u32 = 300;

fn run(place: &Place, words: &[&str]) -> Invocation {
    Invocation::new(DAEMON).args(words).arg("--config").arg(place.path("config.toml"))
}

/// A store of images, whose bytes are there.
fn place() -> Place {
    let place = Place::new(QUIET);
    let root = place.path("root");
    let database = root::database(&root);
    for number in 0..MANY {
        root::put_bytes(&root, &number.to_string());
    }
    database
        .write(|change| {
            (0..MANY).try_for_each(|number| {
                root::put_content(change, &number.to_string())?;
                root::put_image(change, &format!("image-{number}"), &number.to_string())
            })
        })
        .unwrap();
    place
}

fn overwrite(place: &Place, page: u64, pages: usize) {
    let file = File::options().write(true).open(place.path("root/meta.db")).unwrap();
    file.write_all_at(&vec![0xa5; pages * 4096], page * 4096).unwrap();
}

fn pages(place: &Place) -> u64 {
    place.path("root/meta.db").metadata().unwrap().len() / 4096
}

fn files(place: &Place) -> BTreeMap<String, Option<Vec<u8>>> {
    let entries = std::fs::read_dir(place.path("root")).unwrap().map(|entry| entry.unwrap());
    // The lock names its last holder.
    let entries = entries.filter(|entry| entry.file_name() != "lock");
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).ok())).collect()
}

/// How many images the store has.
fn images(place: &Place) -> usize {
    let text = run(place, &["gc", "--dry-run"]).run().ok().text().to_owned();
    text.lines().filter(|line| line.starts_with("keep    image")).count()
}

#[test]
fn a_lost_header_costs_nothing_but_a_command() {
    require!(Need::Root);
    let place = place();
    overwrite(&place, 0, 1);
    run(&place, &[]).run().exits(1).says("gantryd repair");
    let before = files(&place);
    let told = run(&place, &["repair"]).run().ok();
    assert!(
        told.text().contains("300 images") && told.text().contains("Nothing was changed"),
        "{}",
        told.text()
    );
    assert!(before == files(&place), "a repair without --yes has changed something");
    let told = run(&place, &["repair", "--yes"]).run().ok();
    assert!(told.text().contains("Done.") && !told.text().contains("Lost"), "{}", told.text());
    let after = files(&place);
    let aside = after.iter().find(|(name, _)| name.starts_with("meta.db.damaged-")).unwrap();
    assert!(Some(aside.1) == before.get("meta.db"), "the damaged database was not kept");
    let daemon = place.start();
    assert_eq!(images(&place), 300);
    daemon.stop();
    assert!(place.path("root/content/blobs/sha256").join(root::digest("7").hex()).exists());
}

#[test]
fn the_daemon_opens_what_is_left_of_any_damage() {
    require!(Need::Root);
    for seed in 1..6 {
        let place = place();
        let all = pages(&place);
        (0..3).for_each(|round| overwrite(&place, (seed * 7919 + round * 104_729) % all, 1));
        let told = run(&place, &["repair", "--yes"]).run().ok();
        assert!(!told.stderr.contains("panicked"), "{}", told.stderr);
        let daemon = place.start();
        assert!(images(&place) > 0, "{}", told.text());
        run(&place, &["gc"]).run().ok();
        daemon.stop();
    }
}

#[test]
fn nothing_that_can_be_read_is_still_a_start() {
    require!(Need::Root);
    let place = place();
    overwrite(&place, 0, usize::try_from(pages(&place)).unwrap());
    let told = run(&place, &["repair", "--yes"]).run().ok();
    assert!(told.text().contains("go at the next start: 300"), "{}", told.text());
    place.start().stop();
}

#[test]
fn a_root_that_a_daemon_has_is_not_repaired() {
    require!(Need::Root);
    let place = place();
    let daemon = place.start();
    run(&place, &["repair", "--yes"]).run().exits(1).says("is in use by gantryd");
    daemon.stop();
    let elsewhere = Place::new("");
    run(&elsewhere, &["repair"]).run().exits(1).says("there is no root");
}
