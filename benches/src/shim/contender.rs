use std::path::PathBuf;

use crate::arguments::Options;

/// A shim with the runtime that it runs.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) shim: PathBuf,
    /// The option `binary_name`; none for the shim's own choice.
    pub(crate) runtime: Option<String>,
}

/// Ours, and containerd's with each runtime of the command line but the first, which is ours.
pub(super) fn all(options: &Options) -> Vec<Contender> {
    let mut all = vec![Contender { name: "gantry".into(), shim: options.shim.clone(), runtime: None }];
    if options.peer_shim.exists() {
        all.extend(options.contenders.iter().skip(1).map(|runtime| Contender {
            name: format!("containerd + {}", runtime.name),
            shim: options.peer_shim.clone(),
            runtime: Some(runtime.path.display().to_string()),
        }));
    }
    all
}
