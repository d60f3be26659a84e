//! The packet filter: who may send to whom, and which ports of the host lead to containers.
//!
//! [`Filter`] knows what the kernel has been told, and changes it by transactions of nf_tables: one at a time, each whole or
//! not at all. It never reads another's table. If somebody flushed ours, the next change writes it again as a whole.

mod expression;
mod message;
mod rules;

use std::collections::HashMap;

use gantry_sys::Errno;
use gantry_sys::netlink::Netlink;
use gantry_sys::netlink::Request;

use crate::endpoint::Endpoint;
use crate::error::Error;
use rules::{Published, Target, mappings};
pub(crate) use rules::{Rules, TABLE};

/// What the kernel was told.
#[derive(Debug)]
pub(crate) struct Filter {
    rules: Rules,
    installed: HashMap<Published, Target>,
}

impl Filter {
    /// Writes the table as a whole, with the ports of `endpoints`.
    pub(crate) fn install<'a>(
        rules: Rules,
        endpoints: impl IntoIterator<Item = &'a Endpoint>,
    ) -> Result<Self, Error> {
        let installed = endpoints.into_iter().flat_map(mappings).collect();
        let filter = Filter { rules, installed };
        filter.rewrite()?;
        Ok(filter)
    }

    /// Writes the table as a whole, with all that it had.
    pub(crate) fn rewrite(&self) -> Result<(), Error> {
        let ports: Vec<_> = self.installed.iter().map(|(port, target)| (*port, *target)).collect();
        transact(self.rules.replace(&ports)).map_err(Error::filter("writing the table"))
    }

    /// Publishes an endpoint's ports. One that a departed endpoint had leads to the new one from the same instant.
    pub(crate) fn publish(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let ports: Vec<_> = mappings(endpoint).collect();
        if ports.is_empty() {
            return Ok(());
        }
        let old: Vec<_> =
            ports.iter().filter_map(|(port, _)| Some((*port, *self.installed.get(port)?))).collect();
        let stale: Vec<_> = old.iter().map(|(port, _)| *port).collect();
        self.installed.extend(ports.iter().copied());
        let outcome = match transact([rules::withdraw(&stale), rules::publish(&ports)].concat()) {
            Ok(()) => Ok(()),
            // Somebody changed our table.
            Err(Errno::NOENT | Errno::EXIST | Errno::BUSY) => self.rewrite(),
            Err(source) => Err(Error::Filter { step: "publishing ports", source }),
        };
        if outcome.is_err() {
            for (port, _) in &ports {
                self.installed.remove(port);
            }
            self.installed.extend(old);
        }
        outcome
    }

    /// Withdraws the ports of departed endpoints, but for those that others have by now.
    pub(crate) fn withdraw(&mut self, endpoints: &[Endpoint]) -> Result<(), Error> {
        let all = endpoints.iter().flat_map(mappings);
        let gone: Vec<_> = all
            .filter(|(port, target)| self.installed.get(port) == Some(target))
            .map(|(port, _)| port)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        for port in &gone {
            self.installed.remove(port);
        }
        match transact(rules::withdraw(&gone)) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => self.rewrite(),
            Err(source) => Err(Error::Filter { step: "withdrawing ports", source }),
        }
    }
}

/// Removes our table.
pub(crate) fn remove() -> Result<(), Error> {
    transact(rules::remove()).map_err(Error::filter("removing the table"))
}

fn transact(requests: Vec<Request>) -> Result<(), Errno> {
    Netlink::open_netfilter()?.transact(message::SUBSYSTEM, requests).map_err(|rejected| rejected.errno)
}
