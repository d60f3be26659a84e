//! The journal of events, and subscriptions to it.

use std::time::Duration;

use gantry_metadata::{Database, Event, Options, images};
use gantry_types::{ErrorKind, Labels};

use crate::fixture::{Store, door, namespace, put_content, put_image};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn events_come_in_the_order_of_their_rows_after_the_commit() {
    let store = Store::new();
    let subscription = store.database.subscribe();
    store.write(|change| put_image(change, &namespace("a"), "i", "one", &[("k", "v")])).unwrap();
    let refused = store.write(|change| {
        put_image(change, &namespace("a"), "lost", "one", &[])?;
        put_image(change, &namespace("a"), "i", "one", &[])
    });
    assert!(refused.is_err());
    store
        .write(|change| {
            let (ns, holder) = (namespace("a"), door(&namespace("a")));
            images::delete(change, images::By::new(&ns, &holder), "i", None)
        })
        .unwrap();
    let first = subscription.next_timeout(PATIENCE).unwrap().unwrap();
    let labels = crate::fixture::labels(&[("k", "v")]);
    assert_eq!(first.event, Event::ImageCreate { name: "i".into(), labels });
    assert_eq!((first.topic.as_str(), first.namespace.as_str()), ("/images/create", "a"));
    let second = subscription.next_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(second.topic, "/images/delete");
    assert!(second.cursor > first.cursor);
    assert_eq!(subscription.try_next().unwrap(), None);
    let journal = store.database.events_since(0, 100).unwrap();
    assert_eq!(journal, [(*first).clone(), (*second).clone()]);
    assert_eq!(store.database.events_since(first.cursor, 1).unwrap(), [(*second).clone()]);
}

#[test]
fn foreign_events_keep_their_bytes() {
    let store = Store::new();
    let event =
        Event::Foreign { topic: "/tasks/start".into(), type_url: "t".into(), value: vec![0, 255, 10] };
    let written = event.clone();
    store.write(move |change| change.emit(&namespace("a"), written)).unwrap();
    assert_eq!(store.database.events_since(0, 9).unwrap()[0].event, event);
}

#[test]
fn who_is_slow_has_a_bounded_share_of_large_events() {
    const LARGE: usize = 1 << 20;
    let store = Store::new();
    let subscription = store.database.subscribe();
    for number in 0..12 {
        let event =
            Event::Foreign { topic: "/large".into(), type_url: number.to_string(), value: vec![0; LARGE] };
        store.write(move |change| change.emit(&namespace("a"), event)).unwrap();
    }
    let mut waiting = Vec::new();
    let lagged = loop {
        match subscription.try_next() {
            Ok(event) => waiting.push(event.expect("a gap comes before the end")),
            Err(lagged) => break lagged,
        }
    };
    assert!((1..=4).contains(&waiting.len()), "{} MiB waited", waiting.len());
    assert_eq!(lagged.cursor, waiting[waiting.len() - 1].cursor);
    // So is a batch of the journal; all of them together are whole.
    let (mut cursor, mut rest) = (lagged.cursor, 0);
    loop {
        let batch = store.database.events_since(cursor, 1024).unwrap();
        let Some(last) = batch.last() else { break };
        assert!(batch.len() <= 5, "{} MiB at once", batch.len());
        cursor = last.cursor;
        rest += batch.len();
    }
    assert_eq!(waiting.len() + rest, 12);
}

#[test]
fn cursor_outside_of_the_journal_is_out_of_range() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { journal_max_rows: 100, ..Options::new("boot") };
    let database = Database::open(directory.path(), options).unwrap();
    for number in 0..400 {
        database
            .write(move |change| put_content(change, &namespace("a"), &format!("{number}"), &[], None))
            .unwrap();
    }
    let last = database.last_event().unwrap();
    assert_eq!(last, 400);
    assert!(database.events_since(last, 10).unwrap().is_empty());
    assert_eq!(database.events_since(0, 10).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(database.events_since(last + 1, 10).unwrap_err().kind(), ErrorKind::OutOfRange);
    let kept = database.events_since(last - 100, 1000).unwrap();
    assert_eq!(kept.len(), 100);
}

#[test]
fn old_events_go_at_the_next_open() {
    let directory = tempfile::tempdir().unwrap();
    let options = |age| Options { journal_max_age: age, ..Options::new("boot") };
    let database = Database::open(directory.path(), options(Duration::from_secs(3600))).unwrap();
    database.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    drop(database);
    let database = Database::open(directory.path(), options(Duration::ZERO)).unwrap();
    database.write(|change| put_content(change, &namespace("a"), "y", &[], None)).unwrap();
    assert_eq!(database.events_since(0, 10).unwrap_err().kind(), ErrorKind::OutOfRange);
}

#[test]
fn slow_subscriber_is_told_where_it_fell_behind() {
    let store = Store::new();
    let subscription = store.database.subscribe();
    for _ in 0..50 {
        store
            .write(|change| {
                for _ in 0..100 {
                    let event = Event::NamespaceUpdate { name: "a".into(), labels: Labels::new() };
                    change.emit(&namespace("a"), event)?;
                }
                Ok(())
            })
            .unwrap();
    }
    let mut last = 0;
    let lagged = loop {
        match subscription.try_next() {
            Ok(Some(envelope)) => {
                assert_eq!(envelope.cursor, last + 1);
                last = envelope.cursor;
            }
            Ok(None) => panic!("5000 events are more than a queue"),
            Err(lagged) => break lagged,
        }
    };
    assert_eq!(lagged.cursor, last);
    assert_eq!(store.database.events_since(last, 10_000).unwrap().len() as u64, 5000 - last);
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    assert_eq!(subscription.next_timeout(PATIENCE).unwrap().unwrap().cursor, 5001);
}
