//! Reading of configuration: Gantry's and containerd's TOML, hosts.toml, Docker's config.json; values only.
#![forbid(unsafe_code)]
