//! `cargo xtask protos`: writes `crates/proto-containerd/src/generated` from its `.proto` files.
//!
//! The output is checked in, so that a build needs neither the generator nor what it is made of. Messages of
//! `google.protobuf` are those of prost-types, but for `Any`, which is the crate's own: its bytes are shared, not copied.

use std::error::Error;
use std::path::Path;

const INPUT: &str = "crates/proto-containerd/proto";
const OUTPUT: &str = "crates/proto-containerd/src/generated";
/// Fields whose bytes are worth not to be copied.
const SHARED: [&str; 3] = [
    ".containerd.services.content.v1.ReadContentResponse.data",
    ".containerd.services.content.v1.WriteContentRequest.data",
    ".containerd.types.transfer.Data.data",
];

pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    generate(Path::new(INPUT), Path::new(OUTPUT))
}

fn generate(input: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(input)? {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "proto") {
            files.push(name);
        }
    }
    files.sort();
    std::fs::create_dir_all(output)?;
    let descriptors = protox::compile(&files, [input])?;
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .out_dir(output)
        .build_transport(false)
        .bytes(SHARED[0])
        .bytes(SHARED[1])
        .bytes(SHARED[2])
        .btree_map(".")
        .extern_path(".google.protobuf.Any", "crate::Any")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_checked_in_is_what_the_definitions_make() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let fresh = std::env::temp_dir().join(format!("gantry-protos-{}", std::process::id()));
        generate(&root.join(INPUT), &fresh).unwrap();
        for entry in std::fs::read_dir(&fresh).unwrap() {
            let name = entry.unwrap().file_name();
            let (new, old) = (fresh.join(&name), root.join(OUTPUT).join(&name));
            assert!(std::fs::read(new).unwrap() == std::fs::read(old).unwrap_or_default(), "{name:?}");
        }
        std::fs::remove_dir_all(&fresh).unwrap();
    }
}
