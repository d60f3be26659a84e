//! A shim as its daemon sees it: the binary's contract, and the Task service.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gantry_proto_shim::Message;
use gantry_proto_shim::bootstrap::{BootstrapParams, BootstrapResult};
use gantry_proto_shim::task::{
    ConnectRequest, ConnectResponse, DeleteResponse, Empty, SERVICE_V2, SERVICE_V3, ShutdownRequest, method,
};
use gantry_ttrpc::client::{Client, Options};
use gantry_types::ErrorKind;
use serde::Deserialize;

/// The tenancy of the skeleton's containers.
pub(crate) const NAMESPACE: &str = "gantryd";
/// How long a call may take that waits for no container.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shim may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// How a shim is called.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
    /// Where its events go.
    pub(crate) events: &'a Path,
}

/// A running shim.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    pub(crate) client: Client,
    service: &'static str,
    pub(crate) id: String,
}

/// What `start` prints from containerd 1.7 to 2.2.
#[derive(Debug, Deserialize)]
struct Address {
    version: i32,
    address: String,
    protocol: String,
}

impl Program<'_> {
    /// Starts the shim, or finds the one of the pod.
    pub(crate) fn start(&self) -> Result<Shim> {
        let params = BootstrapParams {
            instance_id: self.id.to_owned(),
            namespace: NAMESPACE.to_owned(),
            containerd_ttrpc_address: self.events.display().to_string(),
            containerd_grpc_address: self.events.display().to_string(),
            ..Default::default()
        };
        // Shims before containerd 2.3 take what they are given for options, or for nonsense.
        let said = self.call("start", &params.encode_to_vec()).or_else(|_| self.call("start", b""))?;
        let address = parse(&said)?;
        let path = address.address.strip_prefix("unix://").unwrap_or(&address.address);
        let service = match (address.version, address.protocol.as_str()) {
            (2, "ttrpc") => SERVICE_V2,
            (3, "ttrpc") => SERVICE_V3,
            other => bail!("the shim speaks {other:?}"),
        };
        let client = Client::connect(Path::new(path)).with_context(|| format!("cannot connect to {path}"))?;
        Ok(Shim { client, service, id: self.id.to_owned() })
    }

    /// Removes what a shim left that does not answer.
    pub(crate) fn delete(&self) -> Result<DeleteResponse> {
        Ok(DeleteResponse::decode(&*self.call("delete", b"")?)?)
    }

    fn call(&self, action: &str, input: &[u8]) -> Result<Vec<u8>> {
        let mut child = Command::new(self.path)
            .args(["-namespace", NAMESPACE, "-id", self.id, "-publish-binary", "/bin/true", "-address"])
            .arg(self.events)
            .arg("-bundle")
            .arg(self.bundle)
            .arg(action)
            .current_dir(self.bundle)
            .env("TTRPC_ADDRESS", self.events)
            .env("GRPC_ADDRESS", self.events)
            .env("NAMESPACE", NAMESPACE)
            .env("MAX_SHIM_VERSION", "2")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot execute {}", self.path.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A shim that reads nothing may have ended already.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{action} of the shim: {}{}", text(&output.stdout), text(&output.stderr));
        }
        Ok(output.stdout)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().chars().take(2000).collect()
}

/// The three forms of an address, the newest first.
fn parse(said: &[u8]) -> Result<Address> {
    match BootstrapResult::decode(said) {
        Ok(BootstrapResult { version, address, protocol, .. }) if version >= 2 => {
            return Ok(Address { version, address, protocol });
        }
        _ => {}
    }
    let text = std::str::from_utf8(said).context("the shim's address is no text")?.trim();
    if text.starts_with('{') {
        return serde_json::from_str(text).with_context(|| format!("cannot parse {text:?}"));
    }
    Ok(Address { version: 2, address: text.to_owned(), protocol: "ttrpc".into() })
}

impl Shim {
    /// Calls a method that answers soon.
    pub(crate) fn call<B: Message + Default>(&self, name: &str, request: &impl Message) -> Result<B> {
        self.call_within(name, request, &Options::default().timeout(CALL_TIMEOUT))
    }

    /// Calls a method that answers when it may.
    pub(crate) fn wait<B: Message + Default>(&self, name: &str, request: &impl Message) -> Result<B> {
        self.call_within(name, request, &Options::default())
    }

    fn call_within<B: Message + Default>(
        &self,
        name: &str,
        request: &impl Message,
        options: &Options,
    ) -> Result<B> {
        let options = options.clone().metadata("containerd-namespace-ttrpc", NAMESPACE);
        let call = |service| self.client.call_with(service, name, request, &options);
        let answer = match call(self.service) {
            // A shim may say 3 and serve 2.
            Err(error) if error.kind() == ErrorKind::Unimplemented && self.service == SERVICE_V3 => {
                call(SERVICE_V2)
            }
            answer => answer,
        };
        answer.map_err(anyhow::Error::new)
    }

    /// Ends the shim and waits for its end, so that its last events arrive.
    pub(crate) fn shut_down(&self) -> Result<()> {
        let connected: ConnectResponse =
            self.call(method::CONNECT, &ConnectRequest { id: self.id.clone() })?;
        let process = PathBuf::from(format!("/proc/{}", connected.shim_pid));
        let request = ShutdownRequest { id: self.id.clone(), now: true };
        // It may end before it answers.
        let _ = self.call::<Empty>(method::SHUTDOWN, &request);
        let deadline = Instant::now() + END_TIMEOUT;
        while is_alive(&process) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Whether there is a process that is no zombie.
fn is_alive(process: &Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_an_address_are_read() {
        let check = |said: &[u8], version| {
            let parsed = parse(said).unwrap();
            assert_eq!((parsed.version, parsed.protocol.as_str()), (version, "ttrpc"));
            assert_eq!(parsed.address, "unix:///x");
        };
        let result = BootstrapResult {
            version: 3,
            address: "unix:///x".into(),
            protocol: "ttrpc".into(),
            ..Default::default()
        };
        check(&result.encode_to_vec(), 3);
        check(br#"{"version":3,"address":"unix:///x","protocol":"ttrpc"}"#, 3);
        check(b"unix:///x\n", 2);
    }
}
