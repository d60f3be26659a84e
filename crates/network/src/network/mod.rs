//! The one object of this crate: what is attached, and the order of steps.

mod attach;
mod pool;
mod setup;
mod state;
mod worker;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use gantry_sys::netlink::Netlink;

use crate::endpoint::{Attach, Counters, Endpoint, PublishedPort};
use crate::error::Error;
use crate::filter::Filter;
use crate::link;
use crate::netns::{self, Directory};
use crate::options::Options;
use crate::proxy::Proxy;
use pool::{Pool, Sockets};
pub use setup::Bridge;
use setup::Ready;
use state::State;
use worker::Worker;

/// Containers' network: a bridge, its addresses and ports, and network namespaces.
///
/// A clone is the same network. When the last one goes, what was left to do in the background is done first.
#[derive(Debug, Clone)]
pub struct Network(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the caller's threads and those in the background share. Where two locks are held, they were taken in this order.
#[derive(Debug)]
struct Shared {
    options: Options,
    directory: Directory,
    /// Held while the bridge is looked for, made and tuned; the result.
    ready: Mutex<Option<Ready>>,
    /// Held for the length of a transaction. There is none while the bridge is not ready, or without a firewall.
    filter: Mutex<Option<Filter>>,
    /// Never held over a system call but those that open ports' sockets.
    state: Mutex<State>,
    pool: Pool,
    sockets: Sockets,
    proxy: Proxy,
    worker: Worker,
}

/// A lock whose data is whole at every instant, so that a panic of another thread's does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// Makes the directory of network namespaces, and starts to make some ahead of time. Nothing else of the host is
    /// changed before the first [`attach`](Self::attach), [`ensure`](Self::ensure) or [`adopt`](Self::adopt).
    ///
    /// All that it does later, it does in the network namespace of the thread that calls this.
    ///
    /// # Errors
    /// InvalidArgument for options that contradict each other.
    pub fn open(options: Options) -> Result<Self, Error> {
        options.check()?;
        let directory = Directory::open(&options.netns_dir)?;
        let shared = Arc::new(Shared {
            directory,
            ready: Mutex::new(None),
            filter: Mutex::new(None),
            state: Mutex::new(State::new(options.ephemeral_ports.clone())),
            pool: Pool::new(options.pool_size),
            sockets: Sockets::default(),
            proxy: Proxy::default(),
            worker: Worker::default(),
            options,
        });
        let mut handle = Handle { shared: Arc::clone(&shared), threads: Vec::new() };
        let filling = Arc::clone(&shared);
        handle.start("gantry-netpool", move || filling.pool.fill())?;
        handle.start("gantry-network", move || worker::run(&shared))?;
        Ok(Network(Arc::new(handle)))
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The bridge, made if it does not exist, with its rules.
    ///
    /// # Errors
    /// FailedPrecondition where no network is free for it or a device of its name is none; PermissionDenied;
    /// Unimplemented by a kernel without nf_tables.
    pub fn ensure(&self) -> Result<Bridge, Error> {
        Ok(self.shared().ready()?.bridge)
    }

    /// The bridge, if something has needed it.
    pub fn bridge(&self) -> Option<Bridge> {
        lock(&self.shared().ready).as_ref().map(|ready| ready.bridge.clone())
    }

    /// Makes a network namespace with its loopback device up, held by a file of the directory, or takes one made before.
    ///
    /// # Errors
    /// AlreadyExists; InvalidArgument for a name that no file can have, or that begins with a dot.
    pub fn create_netns(&self, name: &str) -> Result<PathBuf, Error> {
        self.hold(name, self.shared().pool.take()?)
    }

    /// The same of an empty network namespace that belongs to another user namespace, whose root is to administer it: only
    /// there can it be made.
    ///
    /// # Errors
    /// As [`create_netns`](Self::create_netns).
    pub fn adopt_netns(&self, name: &str, netns: OwnedFd) -> Result<PathBuf, Error> {
        self.hold(name, netns::adopt(netns)?)
    }

    fn hold(&self, name: &str, fresh: netns::Fresh) -> Result<PathBuf, Error> {
        let path = self.shared().directory.hold(name, fresh.netns.as_fd())?;
        self.shared().sockets.put(fresh.netns.as_fd(), fresh.socket);
        Ok(path)
    }

    /// Lets a network namespace go; one that is not there is none. It ends with the last process in it.
    ///
    /// # Errors
    /// PermissionDenied, InvalidArgument.
    pub fn remove_netns(&self, name: &str) -> Result<(), Error> {
        let path = self.shared().directory.path_of(name)?;
        if let Ok(netns) = netns::open(&path) {
            drop(self.shared().sockets.take(netns.as_fd()));
        }
        self.shared().directory.release(name)
    }

    /// The names of all network namespaces that files hold. Those that no container has are to be removed at a start:
    /// a daemon was killed before it had written down what they were for.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn netns_names(&self) -> Result<Vec<String>, Error> {
        self.shared().directory.names()
    }

    /// Gives a container its device, address and ports. What a failure leaves half done is undone before it is told.
    ///
    /// # Errors
    /// FailedPrecondition for an address or port that somebody else has; ResourceExhausted where none is left;
    /// InvalidArgument; AlreadyExists for an id or a device that is there already; NotFound without the network namespace.
    pub fn attach(&self, request: &Attach) -> Result<Endpoint, Error> {
        self.shared().attach(request)
    }

    /// Takes a container's device, address and ports away. Ports can be taken again at once; the kernel forgets rules,
    /// connections and the device in the background, and only then is the address given to another container.
    ///
    /// One that is detached already, or was never adopted, does no harm.
    pub fn detach(&self, endpoint: &Endpoint) {
        self.shared().detach(endpoint);
    }

    /// At a daemon's start: takes over the endpoints of living containers, writes the rules for them in one transaction,
    /// and removes what a killed daemon left on the bridge. Returns the ports that are published but could not be kept from
    /// other programs, because one has them by now, with the reason.
    ///
    /// Without endpoints and bridge nothing is made.
    ///
    /// # Errors
    /// Those of [`ensure`](Self::ensure).
    pub fn adopt(&self, endpoints: Vec<Endpoint>) -> Result<Vec<(PublishedPort, Error)>, Error> {
        self.shared().adopt(endpoints)
    }

    /// Writes the rules again as a whole: after somebody flushed them.
    ///
    /// # Errors
    /// Those of the packet filter.
    pub fn rewrite_rules(&self) -> Result<(), Error> {
        lock(&self.shared().filter).as_ref().map_or(Ok(()), Filter::rewrite)
    }

    /// What a container's device has moved so far.
    ///
    /// # Errors
    /// NotFound when it is gone.
    pub fn counters(&self, endpoint: &Endpoint) -> Result<Counters, Error> {
        let device = endpoint.host_interface.as_str();
        let counters = Netlink::open().and_then(|socket| link::counters_across(&socket, device));
        counters.map_err(Error::link("reading the counters of", device))
    }

    /// What is attached.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        lock(&self.shared().state).endpoints.values().cloned().collect()
    }

    /// Waits until nothing is left to do in the background.
    pub fn settle(&self) {
        self.shared().worker.settle();
    }
}

impl Handle {
    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work).map_err(Error::Thread)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.pool.stop();
        self.shared.worker.stop();
        self.shared.proxy.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the network has panicked");
            }
        }
    }
}
