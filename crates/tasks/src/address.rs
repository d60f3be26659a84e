//! What `start` of a shim prints.

use std::path::PathBuf;

use gantry_proto_shim::Message;
use gantry_proto_shim::bootstrap::BootstrapResult;
use serde::{Deserialize, Serialize};

/// Where a shim serves, and what. The layout of containerd 2's `bootstrap.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    /// Of the Task service.
    pub(crate) version: i32,
    /// A URI.
    pub(crate) address: String,
    /// `ttrpc` or `grpc`.
    #[serde(default)]
    pub(crate) protocol: String,
}

/// How a shim is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ttrpc,
    Grpc,
}

/// What is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{reason}: {said:?}")]
pub(crate) struct InvalidAddress {
    reason: &'static str,
    said: String,
}

impl Address {
    /// That of a shim that speaks ttrpc on a socket.
    pub(crate) fn ttrpc(version: i32, socket: &std::path::Path) -> Self {
        Self { version, address: format!("unix://{}", socket.display()), protocol: "ttrpc".into() }
    }

    /// Reads an address as sandboxes tell it: the protocol, a plus sign, a URI.
    ///
    /// # Errors
    /// For what has another form, and for a version or protocol that is not known.
    pub(crate) fn of_endpoint(endpoint: &str, version: u32) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress { reason, said: endpoint.chars().take(512).collect() };
        let (protocol, address) = endpoint
            .split_once('+')
            .ok_or_else(|| invalid("an address has to begin with its protocol and +"))?;
        let version = i32::try_from(version).unwrap_or_default();
        let address = Self { version, address: address.to_owned(), protocol: protocol.to_owned() };
        address.checked().map_err(invalid)
    }

    /// The same form.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}+{}", self.protocol, self.address)
    }

    /// As it is written down.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// Reads any of the three forms, the newest first.
    ///
    /// # Errors
    /// For what is none of them, and for a version or protocol that is not known.
    pub(crate) fn parse(said: &[u8]) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress {
            reason,
            said: String::from_utf8_lossy(said).trim().chars().take(512).collect(),
        };
        let address = match BootstrapResult::decode(said) {
            Ok(BootstrapResult { version, address, protocol, .. }) if version >= 2 => {
                Self { version, address, protocol }
            }
            _ => {
                let text = std::str::from_utf8(said).map_err(|_| invalid("the shim's answer is no text"))?;
                match text.trim() {
                    json if json.starts_with('{') => serde_json::from_str(json)
                        .map_err(|_| invalid("the shim's answer is no address in JSON"))?,
                    bare => Self { version: 2, address: bare.to_owned(), protocol: "ttrpc".into() },
                }
            }
        };
        address.checked().map_err(invalid)
    }

    fn checked(mut self) -> Result<Self, &'static str> {
        if self.protocol.is_empty() {
            self.protocol = "ttrpc".into();
        }
        if !(2..=3).contains(&self.version) {
            return Err("the shim speaks a version of the Task service that is not known");
        }
        match self.protocol.as_str() {
            "ttrpc" => {}
            // containerd has no older one over gRPC either.
            "grpc" if self.version == 3 => {}
            "grpc" => return Err("the shim speaks gRPC, and not version 3 of the Task service"),
            _ => return Err("the shim speaks a protocol that is not known"),
        }
        if self.socket().is_none() {
            return Err("the shim serves no socket in the file system");
        }
        Ok(self)
    }

    /// What it speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        if self.protocol == "grpc" { Protocol::Grpc } else { Protocol::Ttrpc }
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        let path = self.address.strip_prefix("unix://").unwrap_or(&self.address);
        path.starts_with('/').then(|| PathBuf::from(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let result = BootstrapResult {
            version: 3,
            address: "unix:///x".into(),
            protocol: "ttrpc".into(),
            ..Default::default()
        };
        let table: [(&[u8], i32); 4] = [
            (&result.encode_to_vec(), 3),
            (br#"{"version":3,"address":"unix:///x","protocol":"ttrpc"}"#, 3),
            (br#"{"version":2,"address":"unix:///x"}"#, 2),
            (b"unix:///x\n", 2),
        ];
        for (said, version) in table {
            let address = Address::parse(said).unwrap();
            assert_eq!((address.version, address.socket()), (version, Some("/x".into())));
        }
    }

    #[test]
    fn endpoints_name_their_protocol() {
        let endpoint = "ttrpc+unix:///x";
        let address = Address::of_endpoint(endpoint, 3).unwrap();
        assert_eq!((address.socket(), address.endpoint().as_str()), (Some("/x".into()), endpoint));
        assert_eq!(address.protocol(), Protocol::Ttrpc);
        assert_eq!(Address::of_endpoint("grpc+unix:///x", 3).unwrap().protocol(), Protocol::Grpc);
        for wrong in ["unix:///x", "tcp+unix:///x", "ttrpc+vsock://1:2", "grpc+vsock://1:2", ""] {
            assert!(Address::of_endpoint(wrong, 3).is_err(), "{wrong}");
        }
        assert!(Address::of_endpoint(endpoint, 7).is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for said in [
            &b""[..],
            b"x",
            b"\xff",
            b"{}",
            br#"{"version":4,"address":"unix:///x","protocol":"ttrpc"}"#,
            br#"{"version":2,"address":"unix:///x","protocol":"grpc"}"#,
            br#"{"version":3,"address":"vsock://1:2","protocol":"ttrpc"}"#,
        ] {
            assert!(Address::parse(said).is_err(), "{}", said.escape_ascii());
        }
    }
}
