//! What a daemon writes to the standard input of `start`: nothing, its options, or the parameters of its newest protocol; and
//! what it sends to that of `serve`.
//!
//! containerd up to 2.2 writes an `Any` with runtime options, or nothing; from 2.3 on `BootstrapParams`. The two cannot be
//! told apart by their encoding alone, so parameters count only if they name the container of the command line.

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::bootstrap::BootstrapParams;

use crate::failure::Failure;
use crate::invocation::Invocation;

/// The largest input that is read, in bytes.
pub(crate) const MAX_INPUT_BYTES: u64 = 4 << 20;

/// What the input was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bootstrap {
    /// Nothing that is understood.
    None,
    /// Runtime options.
    Options(Any),
    /// Parameters.
    Params(Box<BootstrapParams>),
}

impl Bootstrap {
    /// Reads the input of an invocation.
    ///
    /// # Errors
    /// InvalidArgument for what is no message, and for parameters of another container.
    pub(crate) fn decode(input: &[u8], invocation: &Invocation) -> Result<Self, Failure> {
        if input.is_empty() {
            return Ok(Bootstrap::None);
        }
        if let Ok(params) = BootstrapParams::decode(input) {
            if params.instance_id == invocation.id && params.namespace == invocation.namespace {
                return Ok(Bootstrap::Params(Box::new(params)));
            }
            // An `Any` has two fields, and no more.
            let more = [
                &params.containerd_version,
                &params.containerd_ttrpc_address,
                &params.containerd_grpc_address,
            ];
            if more.iter().any(|field| !field.is_empty()) {
                return Err(of_another(&params, invocation));
            }
        }
        match Any::decode(input) {
            Ok(any) if any.type_url.is_empty() => Ok(Bootstrap::None),
            Ok(any) => Ok(Bootstrap::Options(any)),
            Err(error) => Err(Failure::invalid(format!("the standard input is no message: {error}"))),
        }
    }

    /// Reads the message of a daemon that hands us our socket: parameters, of this container.
    ///
    /// # Errors
    /// InvalidArgument for anything else.
    pub(crate) fn parameters(message: &[u8], invocation: &Invocation) -> Result<Self, Failure> {
        let params = BootstrapParams::decode(message)
            .map_err(|error| Failure::invalid(format!("the bootstrap message is none: {error}")))?;
        if params.instance_id != invocation.id || params.namespace != invocation.namespace {
            return Err(of_another(&params, invocation));
        }
        Ok(Bootstrap::Params(Box::new(params)))
    }

    /// The version of the Task service that the daemon is told: 3 only for one that knows it.
    pub(crate) fn version(&self) -> u32 {
        if matches!(self, Bootstrap::Params(_)) { 3 } else { 2 }
    }
}

fn of_another(params: &BootstrapParams, invocation: &Invocation) -> Failure {
    Failure::invalid(format!(
        "bootstrap parameters of {}/{} for -namespace {} -id {}",
        params.namespace, params.instance_id, invocation.namespace, invocation.id
    ))
}

#[cfg(test)]
mod tests {
    use gantry_proto_shim::options::Options;

    use super::*;

    #[test]
    fn the_kinds_of_input_are_told_apart() {
        let invocation = Invocation { namespace: "k8s.io".into(), id: "x".into(), ..Invocation::default() };
        let decode = |input: &[u8]| Bootstrap::decode(input, &invocation);
        assert_eq!(decode(&[]).unwrap(), Bootstrap::None);
        let any = Any::pack(&Options { systemd_cgroup: true, ..Options::default() });
        assert_eq!(decode(&any.encode_to_vec()).unwrap(), Bootstrap::Options(any));
        let params = BootstrapParams {
            instance_id: "x".into(),
            namespace: "k8s.io".into(),
            ..BootstrapParams::default()
        };
        let decoded = decode(&params.encode_to_vec()).unwrap();
        assert_eq!((decoded.version(), matches!(decoded, Bootstrap::Params(_))), (3, true));
        let version = "2.3".to_owned();
        let other = BootstrapParams { instance_id: "y".into(), containerd_version: version, ..params };
        assert!(decode(&other.encode_to_vec()).is_err());
        assert!(decode(&[0xff; 7]).is_err());
    }
}
