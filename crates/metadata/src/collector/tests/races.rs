//! Writers at full speed while one collection follows the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gantry_types::{Digest, Labels};

use super::super::{Collection, collect};
use super::fixture::{Fixture, image, labels, namespace, put_content};
use crate::{Error, Holder, contents, images, leases};

/// As clients pull: content under a lease, then labels that refer to it, then the name, then the lease goes. All but the last
/// name go again, so that there is always something to collect.
fn pull(f: &Fixture, worker: usize, round: usize) -> Result<(), Error> {
    let ns = || namespace("a");
    let text = move |what: &str| Digest::sha256(format!("{worker}-{round}-{what}").as_bytes());
    let lease = format!("l{worker}-{round}");
    let name = format!("i{worker}");
    let database = &f.database;
    let id = lease.clone();
    database.write(move |change| leases::create(change, &ns(), &id, &Labels::new()))?;
    for what in ["layer", "manifest"] {
        let id = lease.clone();
        database.write(move |change| put_content(change, &ns(), &text(what), &Labels::new(), Some(&id)))?;
    }
    let refers = labels(&[("containerd.io/gc.ref.content.l.0", text("layer").as_str())]);
    database.write(move |change| contents::update(change, &ns(), &text("manifest"), &refers, &[]))?;
    let image = image(&name, &text("manifest"), &Labels::new());
    database.write::<_, Error>(move |change| {
        let ns = ns();
        let by = images::By::new(&ns, &Holder::Docker);
        match images::create(change, by, &image) {
            Err(Error::AlreadyExists { .. }) => images::update(change, by, &image, &[]),
            result => result,
        }
    })?;
    database.write(move |change| leases::delete(change, &ns(), &lease))?;
    for what in ["layer", "manifest"] {
        f.database.read(|view| contents::get(view, &ns(), &text(what)))?;
    }
    Ok(())
}

#[test]
fn nothing_reachable_is_lost_while_writers_go_on() {
    const WORKERS: usize = 4;
    const ROUNDS: usize = 60;
    let f = Arc::new(Fixture::new());
    let done = Arc::new(AtomicBool::new(false));
    let collector = {
        let (f, done) = (Arc::clone(&f), Arc::clone(&done));
        thread::spawn(move || {
            let mut removed = 0;
            while !done.load(Ordering::Acquire) {
                removed += collect(&f.database, Collection::now()).unwrap().removed();
            }
            removed
        })
    };
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let f = Arc::clone(&f);
            thread::spawn(move || (0..ROUNDS).for_each(|round| pull(&f, worker, round).unwrap()))
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    done.store(true, Ordering::Release);
    collector.join().unwrap();
    collect(&f.database, Collection::now()).unwrap();
    assert_eq!(f.contents("a").len(), 2 * WORKERS, "the last image of each worker, and nothing else");
}
