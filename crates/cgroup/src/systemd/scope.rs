use std::borrow::Cow;

use gantry_types::oci::Resources;
use rustix::io::Errno;
use rustix::process::Pid;

use super::bus::Bus;
use super::error::SystemdError;
use super::properties::{Properties, version_number};
use super::value::Value;
use crate::attach::move_pid;
use crate::cgroup::{Cgroup, Node};
use crate::controller::Controller;
use crate::create;
use crate::devices;
use crate::error::{Error, LimitError};
use crate::hierarchy::Mode;
use crate::limits::Phase;
use crate::resolve::{CgroupSpec, Driver};

/// What is needed to start a scope, until there is a process for it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) spec: CgroupSpec,
    pub(crate) resources: Resources,
}

impl Cgroup {
    /// Finds out where the scope will be: a user's manager has a cgroup of its own.
    pub(crate) fn locate_scope(&mut self) -> Result<(), Error> {
        if !matches!(self.driver, Driver::Systemd { user: true }) {
            return Ok(());
        }
        let own = self.with_bus(|bus| bus.manager_property("ControlGroup"))?;
        let Some(own) = crate::resolve::clean_below(&own) else {
            return Err(crate::error::PathError::Escapes(own).into());
        };
        let Some(Pending { spec, .. }) = self.pending.as_deref_mut() else { return Ok(()) };
        for (target, node) in spec.targets.iter_mut().zip(&mut self.nodes) {
            target.path = format!("{own}/{}", target.path);
            *node = Node::new(target.controllers, target.mount.join(&target.path));
        }
        Ok(())
    }

    /// Starts the scope with a process in it.
    pub(crate) fn start_scope(&mut self, pid: Pid) -> Result<(), Error> {
        let (Some(pending), Some(unit)) = (self.pending.take(), self.unit.clone()) else {
            return Err(Error::NoCgroup { action: "starting a scope" });
        };
        let mode = self.mode;
        let in_user_namespace = self.features.in_user_namespace;
        let Pending { spec, resources } = *pending;
        let mut refused = Ok(());
        let started = self.with_bus(|bus| {
            let mut version = || version_of(bus);
            let mut properties = Properties::new(mode, &mut version);
            for (name, text) in [
                ("Description", format!("container {}", unit.container)),
                ("Slice", unit.slice.clone()),
                // A failed scope would keep its name.
                ("CollectMode", "inactive-or-failed".to_owned()),
            ] {
                properties.push(name, Value::Str(text));
            }
            let io = if mode == Mode::V2 { "IOAccounting" } else { "BlockIOAccounting" };
            for name in ["Delegate", "CPUAccounting", "MemoryAccounting", "TasksAccounting", io] {
                properties.push(name, Value::Bool(true));
            }
            properties.push("DefaultDependencies", Value::Bool(false));
            let pids = vec![Value::U32(pid.as_raw_nonzero().get().unsigned_abs())];
            properties.push("PIDs", Value::Array("u".into(), pids));
            refused =
                properties.early(&resources).and_then(|()| properties.at_start(&resources)).and_then(|()| {
                    if mode != Mode::V2 && !in_user_namespace {
                        properties.devices(&devices::policy(&resources.devices)?);
                    }
                    Ok(())
                });
            let mut list = properties.list;
            // What the annotations say holds over what we say.
            list.retain(|ours| !spec.properties.iter().any(|theirs| theirs.name == ours.name));
            list.extend(spec.properties.iter().cloned());
            if refused.is_err() {
                return Ok(());
            }
            match bus.start_transient(&unit.name, &list) {
                // What is left of a container of this name, if it has failed, is forgotten.
                Err(error) if error.is("UnitExists") => {
                    let _ = bus.reset_failed(&unit.name);
                    bus.start_transient(&unit.name, &list)
                }
                result => result,
            }
        });
        refused?;
        started?;
        self.started = true;
        self.complete_scope(pid, &spec, &resources)
    }

    /// Adds what systemd does not do: controllers that it does not know, and hierarchies that are not its own.
    fn complete_scope(&mut self, pid: Pid, spec: &CgroupSpec, resources: &Resources) -> Result<(), Error> {
        if self.mode == Mode::V2 {
            for (target, node) in spec.targets.iter().zip(&self.nodes) {
                create::delegate_in(target).map_err(node.error("enabling controllers for the"))?;
            }
            return Ok(());
        }
        for (target, node) in spec.targets.iter().zip(&self.nodes) {
            if target.controllers.contains(Controller::Systemd) || target.controllers.is_unified() {
                continue;
            }
            create::make_v1(target, resources).map_err(node.error("creating"))?;
            node.dir().and_then(|dir| move_pid(dir, pid)).map_err(|errno| Error::Attach {
                pid: pid.as_raw_nonzero().get(),
                path: node.path.clone(),
                errno,
            })?;
        }
        Ok(())
    }

    /// Tells systemd the limits that it knows; the quota may come back rounded.
    pub(crate) fn apply_by_systemd(
        &self,
        resources: &mut Cow<'_, Resources>,
        phase: Phase,
    ) -> Result<(), LimitError> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let mut changed = resources.clone().into_owned();
        let mut refused = Ok(());
        let told = self.with_bus(|bus| {
            let mut version = || version_of(bus);
            let mut properties = Properties::new(self.mode, &mut version);
            refused = properties.late(&mut changed).and_then(|()| match phase {
                Phase::Update => properties.early(&changed),
                _ => Ok(()),
            });
            if refused.is_ok()
                && phase == Phase::Update
                && self.mode != Mode::V2
                && !changed.devices.is_empty()
            {
                refused = devices::policy(&changed.devices).map(|policy| properties.devices(&policy));
            }
            let list = properties.list;
            if refused.is_err() || list.is_empty() { Ok(()) } else { bus.set_properties(&unit.name, &list) }
        });
        refused?;
        told.map_err(LimitError::Systemd)?;
        *resources = Cow::Owned(changed);
        Ok(())
    }

    /// Lets systemd put a process into the scope: without root nobody else may.
    pub(crate) fn attach_by_systemd(&self, pid: Pid, below: &str) -> Result<(), Error> {
        let unit = self.unit.as_ref().ok_or(Error::NoCgroup { action: "adding a process to a scope" })?;
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        Ok(self.with_bus(|bus| bus.attach(&unit.name, below, pid))?)
    }

    /// Stops the scope, if there is anything left of it.
    pub(crate) fn stop_scope(&self) -> Result<(), Error> {
        let Some(unit) = &self.unit else { return Ok(()) };
        // With its last process a scope ends by itself.
        let exists =
            |node: &Node| rustix::fs::access(&node.path, rustix::fs::Access::EXISTS) != Err(Errno::NOENT);
        if !self.started || !self.nodes.iter().any(exists) {
            return Ok(());
        }
        match self.with_bus(|bus| bus.stop(&unit.name)) {
            Err(error) if error.is("NoSuchUnit") => Ok(()),
            result => Ok(result?),
        }
    }

    /// Runs a conversation on the connection that is kept.
    fn with_bus<T>(&self, talk: impl FnOnce(&mut Bus) -> Result<T, SystemdError>) -> Result<T, SystemdError> {
        let user = matches!(self.driver, Driver::Systemd { user: true });
        let mut bus = match self.bus.take() {
            Some(bus) => bus,
            None => Box::new(Bus::connect(user)?),
        };
        let result = talk(&mut bus);
        // After an error the answers no longer fit the questions, but for those that systemd itself gives.
        if matches!(result, Ok(_) | Err(SystemdError::Call { .. } | SystemdError::Job { .. })) {
            self.bus.replace(Some(bus));
        }
        result
    }
}

fn version_of(bus: &mut Bus) -> Result<u32, SystemdError> {
    // A version that cannot be read is an old one.
    bus.manager_property("Version").map(|text| version_number(&text).unwrap_or(0))
}
