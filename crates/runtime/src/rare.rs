//! What few containers ask for and the parent makes outside of them: a root bound on the host, groups of resctrl,
//! network devices. Others pay for none of it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gantry_types::oci::Linux;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::Error;
use crate::hostroot::HostRoot;
use crate::netdev::NetDevicePlan;
use crate::plan::Plan;
use crate::plan::namespaces::NEWNET;
use crate::plan::rootfs::Entry;
use crate::resctrl::{Group, Resctrl};
use crate::state::Record;

/// Undone by dropping, unless it is kept.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    root: Option<HostRoot>,
    resctrl: Option<(Resctrl, Group)>,
}

impl Rare {
    /// Makes what must be there before the clone, and enters it into the record, by which delete finds it.
    pub(crate) fn prepare(
        plan: &Plan,
        rootfs: &Path,
        linux: Option<&Linux>,
        record: &mut Record,
    ) -> Result<Self, Error> {
        let mut rare = Rare::default();
        if plan.rootfs.as_ref().is_some_and(|rootfs| rootfs.entry == Entry::Chroot) {
            let root = HostRoot::bind(rootfs)?;
            record.root_mount = Some(root.mount());
            rare.root = Some(root);
        }
        if let Some(config) = linux.and_then(|linux| linux.intel_rdt.as_ref()) {
            let resctrl = Resctrl::find()?;
            let group = resctrl.create(config, &record.id)?;
            record.resctrl = group.made();
            rare.resctrl = Some((resctrl, group));
        }
        Ok(rare)
    }

    /// Gives the cloned process its part.
    pub(crate) fn give(&self, plan: &Plan, devices: &[NetDevicePlan], pid: i32) -> Result<(), Error> {
        if let Some((resctrl, group)) = &self.resctrl {
            resctrl.attach(group, pid)?;
        }
        if !devices.is_empty() {
            crate::netdev::move_all(devices, network_namespace(plan, pid)?.as_fd())?;
        }
        Ok(())
    }

    /// Leaves everything to the container.
    pub(crate) fn keep(self) {
        if let Some(root) = self.root {
            root.keep();
        }
        if let Some((_, group)) = self.resctrl {
            group.keep();
        }
    }
}

/// The container's network namespace, which the process may be yet to join.
fn network_namespace(plan: &Plan, pid: i32) -> Result<OwnedFd, Error> {
    match plan.namespaces.join.iter().find(|join| join.flag == NEWNET) {
        Some(join) => join.fd.try_clone().map_err(|error| {
            Error::io("duplicate the network namespace's descriptor")(crate::config::errno(&error))
        }),
        None => {
            let path = format!("/proc/{pid}/ns/net");
            openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(Error::io(format!("open {path}")))
        }
    }
}
