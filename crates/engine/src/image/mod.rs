//! Images: names, documents, and what is done with them.
//!
//! ```text
//! registry ──pull──►┐                                   ┌──push──► registry
//! archive  ──load──►│ content, snapshots ─► point() ─►  │──save──► archive
//! files ───import──►│ (below a lease)       a name      │──images, inspect, history
//! container─commit─►┘                                   └──remove, prune
//! ```
//! Whatever brings an image keeps it by a [lease](lease) until it has its name, and gives names through one function,
//! [`Engine::point`], which keeps what the name named before: such an image has a [name for the nameless](names), as dockerd's.
//! Names are shared with other doors (`docs/design/0005-store.md`): only what docker holds is given up here.
//!
//! It never parses what is in a layer: that is `gantry-layer`'s, through the store.

mod archive;
mod changes;
mod commit;
mod config;
mod documents;
mod import;
mod inspect;
mod lease;
mod list;
mod load;
mod manifests;
mod names;
mod pipe;
mod places;
mod platforms;
mod progress;
mod prune;
mod pull;
mod push;
mod registry;
mod remove;
mod resolve;
mod save;
mod search;
mod steps;
mod web;
mod write;

pub use gantry_primitives::registry::{Credential, Found as FoundInRegistry, Proxies, Secret, redacted};

pub use self::changes::Change;
pub use self::commit::{Afterwards, CommitRequest, ConfigRequest, SnapshotImage};
pub use self::config::{Empty, Healthcheck, HistoryEntry, ImageDocument, ImageSettings, RootFs};
pub(crate) use self::documents::Images;
pub use self::import::ImageImport;
pub use self::inspect::{HistoryLayer, ImageDetails};
pub use self::list::ImageSummary;
pub use self::load::Loaded;
pub use self::manifests::{ManifestKind, ManifestSummary};
pub use self::names::{familiar_name, invalid as invalid_name, is_dangling};
pub use self::pipe::{ByteSource, ByteStream, byte_source};
pub(crate) use self::pipe::{Outlet, byte_stream};
pub use self::progress::{ImageProgress, LayerStep, ProgressListener};
pub use self::prune::{ImagePrune, ImagesPruned};
pub use self::pull::{ImagePull, ImagePulled};
pub use self::push::{ImagePush, ImagePushed};
pub use self::registry::DistributionInfo;
pub use self::remove::{ImageRemoval, RemovedImage};
pub use self::resolve::FoundImage;
pub use self::save::ImageSave;
pub use self::steps::{Workspace, random_id};
pub use self::web::{WebFile, WebListener};

use std::collections::BTreeMap;

use gantry_types::Digest;

use crate::Engine;
use crate::event::{Event, EventKind};

impl Engine {
    /// Tells what happened to an image: `id` is its digest, or for pulls and pushes its name.
    async fn image_event(&self, action: &str, id: &str, name: &str, labels: BTreeMap<String, String>) {
        let mut attributes = labels;
        attributes.insert("name".to_owned(), name.to_owned());
        let event =
            Event { kind: EventKind::Image, action: action.to_owned(), id: id.to_owned(), attributes };
        self.announce(&event).await;
    }

    /// The same with the labels of the image, as far as they can be read.
    async fn image_event_of(&self, action: &str, target: &Digest, name: &str) {
        let labels = match self.image_by_digest(target).await {
            Ok(found) => found.document.config.labels,
            Err(_) => BTreeMap::new(),
        };
        self.image_event(action, target.as_str(), name, labels).await;
    }
}
