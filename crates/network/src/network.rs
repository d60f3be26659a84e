//! The one object of this crate.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

use crate::endpoint::{Attach, Endpoint, PublishedPort};
use crate::error::Error;
use crate::options::Options;

/// The bridge as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its device.
    pub name: String,
    /// Its network.
    pub subnet: Ipv4Net,
    /// Its address, and containers' way out.
    pub gateway: Ipv4Addr,
    /// Its MTU.
    pub mtu: u32,
}

/// Containers' network: a bridge, its addresses and ports, and network namespaces.
#[derive(Debug, Clone)]
pub struct Network(Arc<Options>);

impl Network {
    /// Takes the options; nothing of the host is changed yet.
    pub fn open(options: Options) -> Result<Self, Error> {
        options.check()?;
        Ok(Network(Arc::new(options)))
    }

    /// The bridge, made if it does not exist.
    pub fn ensure(&self) -> Result<Bridge, Error> {
        Err(pending())
    }

    /// Makes a network namespace with its loopback device up, held by a file.
    pub fn create_netns(&self, _name: &str) -> Result<PathBuf, Error> {
        Err(pending())
    }

    /// Lets a network namespace go; one that is not there is none.
    pub fn remove_netns(&self, _name: &str) -> Result<(), Error> {
        Err(pending())
    }

    /// The names of all network namespaces that are there.
    pub fn netns_names(&self) -> Result<Vec<String>, Error> {
        Err(pending())
    }

    /// Gives a container its device, address and ports.
    pub fn attach(&self, _request: &Attach) -> Result<Endpoint, Error> {
        Err(pending())
    }

    /// Takes them away: at once for whoever asks next, in the background for the kernel.
    pub fn detach(&self, _endpoint: &Endpoint) {}

    /// At a daemon's start: takes over the endpoints of living containers. Returns the ports that somebody took meanwhile.
    pub fn adopt(&self, _endpoints: Vec<Endpoint>) -> Result<Vec<PublishedPort>, Error> {
        Err(pending())
    }

    /// Waits until nothing is left to do in the background.
    pub fn settle(&self) {}
}

fn pending() -> Error {
    Error::Unsupported { what: "the bridge".to_owned(), reason: "this build has none" }
}
