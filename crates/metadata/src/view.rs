use std::ops::Deref;

use gantry_types::{Labels, Namespace};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use crate::events::{Envelope, Event};
use crate::node::{Kind, Node};
use crate::time::Timestamp;
use crate::{Error, Resource, events, leases, namespaces, time};

/// What all transactions have to know.
#[derive(Debug)]
pub(crate) struct Config {
    /// The row of the boot id under which this process runs.
    pub(crate) boot: i64,
    /// Namespaces that join the shared image space by configuration.
    pub(crate) shared: Vec<Namespace>,
}

/// A consistent snapshot of the database, for reading.
pub struct View<'a> {
    connection: &'a Connection,
    pub(crate) config: &'a Config,
}

impl<'a> View<'a> {
    pub(crate) fn new(connection: &'a Connection, config: &'a Config) -> Self {
        Self { connection, config }
    }

    pub(crate) fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, Error> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// The one row that `sql` gives, if it gives one.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        Ok(self.prepare(sql)?.query_row(params, read).optional()?)
    }

    /// Whether `sql` gives a row.
    pub(crate) fn any(&self, sql: &str, params: impl Params) -> Result<bool, Error> {
        Ok(self.prepare(sql)?.exists(params)?)
    }

    /// All rows that `sql` gives.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(params, read)?.collect::<Result<_, _>>()?;
        Ok(rows)
    }

    /// Hands each row that `sql` gives to `take`, until that returns an error.
    pub(crate) fn each<T, E: From<Error>>(
        &self,
        sql: &str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
        mut take: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params).map_err(Error::from)?;
        while let Some(row) = rows.next().map_err(Error::from)? {
            take(read(row).map_err(Error::from)?)?;
        }
        Ok(())
    }

    pub(crate) fn last_id(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection
    }
}

/// What the writer keeps from one change to the next.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What was created or newly referred to since a collection began; none while none runs.
    pub(crate) grey: Option<Vec<Grey>>,
    /// A namespace joined the shared space: what a running collection has marked is not enough.
    pub(crate) outdated: bool,
    /// The last row of `released` that was committed, and the last of the change that runs.
    pub(crate) released: i64,
    pub(crate) releasing: i64,
    /// Records that went away, and records that changed, since the open.
    pub(crate) deletions: u64,
    pub(crate) mutations: u64,
    /// Events of the change that runs.
    pub(crate) events: Vec<Envelope>,
    /// What is done even if the change that runs is refused.
    pub(crate) anyway: Vec<Anyway>,
}

/// An entry of the grey list.
#[derive(Debug)]
pub(crate) enum Grey {
    /// A record that is new, or has new references.
    Node(Node),
    /// A name that a lease got: kind, namespace, driver, key. It need not have a record to keep who refers back to it.
    Name(Kind, String, String, String),
}

/// What a refused change still does.
#[derive(Debug)]
pub(crate) enum Anyway {
    /// The lease of the request gets what exists already.
    Lease(Namespace, String, Resource),
    /// The ingest of content that exists already has ended.
    Finish(Namespace, String, Option<String>),
}

/// A transaction that reads and writes. A change that ends in an error leaves nothing behind, but for leases on what
/// exists already.
pub struct Change<'a> {
    view: View<'a>,
    pub(crate) ledger: &'a mut Ledger,
    now: i64,
}

impl<'a> Deref for Change<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl<'a> Change<'a> {
    pub(crate) fn new(view: View<'a>, ledger: &'a mut Ledger) -> Self {
        Self { view, ledger, now: time::to_row(Timestamp::now()) }
    }

    /// The time that this change writes everywhere.
    pub fn now(&self) -> Timestamp {
        time::from_row(self.now)
    }

    pub(crate) fn now_row(&self) -> i64 {
        self.now
    }

    /// Tells a running collection that `node` is new or newly referred to, and counts the mutation.
    pub(crate) fn grey(&mut self, node: Node) {
        self.ledger.mutations += 1;
        self.grey_quietly(node);
    }

    /// As [`Self::grey`], for what is no mutation.
    pub(crate) fn grey_quietly(&mut self, node: Node) {
        if let Some(grey) = &mut self.ledger.grey {
            grey.push(Grey::Node(node));
        }
    }

    /// Tells a running collection that a lease names something.
    pub(crate) fn grey_name(&mut self, kind: Kind, namespace: &Namespace, driver: &str, key: &str) {
        if let Some(grey) = &mut self.ledger.grey {
            grey.push(Grey::Name(kind, namespace.to_string(), driver.to_owned(), key.to_owned()));
        }
    }

    pub(crate) fn deleted(&mut self) {
        self.ledger.deletions += 1;
    }

    /// Writes an event to the journal; subscribers get it after the commit.
    ///
    /// # Errors
    /// Those of the database.
    pub fn emit(&mut self, namespace: &Namespace, event: Event) -> Result<(), Error> {
        let envelope = events::insert(self, namespace, event)?;
        self.ledger.events.push(envelope);
        Ok(())
    }

    /// Adds what was created to the lease of its request, if that named one.
    pub(crate) fn lease(
        &mut self,
        namespace: &Namespace,
        lease: Option<&str>,
        resource: Resource,
    ) -> Result<(), Error> {
        match lease {
            Some(lease) => leases::add(self, namespace, lease, &resource),
            None => Ok(()),
        }
    }

    /// As [`Self::lease`], and kept when the change is refused.
    pub(crate) fn lease_anyway(
        &mut self,
        namespace: &Namespace,
        lease: Option<&str>,
        resource: Resource,
    ) -> Result<(), Error> {
        if let Some(lease) = lease {
            leases::require(self, namespace, lease)?;
            self.ledger.anyway.push(Anyway::Lease(namespace.clone(), lease.to_owned(), resource));
        }
        Ok(())
    }

    pub(crate) fn finish_anyway(&mut self, namespace: &Namespace, ingest: &str, lease: Option<&str>) {
        let lease = lease.map(str::to_owned);
        self.ledger.anyway.push(Anyway::Finish(namespace.clone(), ingest.to_owned(), lease));
    }

    /// Does what a refused change still does.
    pub(crate) fn do_anyway(&mut self, anyway: Anyway) -> Result<(), Error> {
        let result = match anyway {
            Anyway::Lease(namespace, lease, resource) => leases::add(self, &namespace, &lease, &resource),
            Anyway::Finish(namespace, ingest, lease) => {
                crate::ingests::finish(self, &namespace, &ingest, lease.as_deref())
            }
        };
        match result {
            // The lease was made by the change that is taken back.
            Err(Error::NotFound { .. }) => Ok(()),
            result => result,
        }
    }

    /// Makes the namespace if it is not there yet: it comes with the first thing that is written to it.
    pub(crate) fn enter(&mut self, namespace: &Namespace) -> Result<(), Error> {
        namespaces::ensure(self, namespace)
    }

    /// Checks and cleans labels that are about to be written.
    pub(crate) fn checked(what: &'static str, labels: &Labels) -> Result<Labels, Error> {
        let mut labels = labels.clone();
        crate::row::check_labels(what, &mut labels)?;
        Ok(labels)
    }
}
