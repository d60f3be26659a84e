//! The progress of a transfer, in the words that containerd's clients draw.
//!
//! Whoever transfers tells of each step from any thread; a task puts them on the client's stream. A client that does not read
//! misses steps, and holds nobody up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gantry_primitives::progress::{Progress, Reporter, Stage};
use gantry_proto_containerd::transfer;
use gantry_types::Descriptor;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::into_proto;
use crate::streaming::OpenStream;

/// How many steps wait for a client that does not read.
const WAITING: usize = 1024;
/// How long the answer waits for a client to take the last ones.
const LAST_STEPS: Duration = Duration::from_secs(1);

/// Where steps are told, if anybody wants to know.
#[derive(Clone)]
pub(super) struct Display(Option<mpsc::Sender<Step>>);

/// What is told.
enum Step {
    /// The line of the whole transfer, or an event of a name.
    Plain(Box<transfer::Progress>),
    /// A step of some content below the image of that name.
    Content(Box<Progress>, Arc<str>),
}

/// The task that tells the client.
pub(super) struct Shown(Option<JoinHandle<()>>);

/// Begins to tell a client.
pub(super) fn start(stream: Option<OpenStream>) -> (Display, Shown) {
    let Some(stream) = stream else { return (Display(None), Shown(None)) };
    let (sender, steps) = mpsc::channel(WAITING);
    (Display(Some(sender)), Shown(Some(tokio::spawn(show(stream, steps)))))
}

impl Shown {
    /// Waits for the last step, but not for long.
    pub(super) async fn wait(self) {
        if let Some(mut task) = self.0
            && tokio::time::timeout(LAST_STEPS, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Display {
    /// For whom nobody asked.
    pub(super) fn nobody() -> Self {
        Self(None)
    }

    /// The line of the whole transfer.
    pub(super) fn line(&self, words: String) {
        self.plain(transfer::Progress { event: words, ..Default::default() });
    }

    /// What happens to an image.
    pub(super) fn image(&self, event: &str, name: &str, target: Option<&Descriptor>) {
        let (event, name) = (event.to_owned(), name.to_owned());
        let desc = target.map(into_proto::descriptor);
        self.plain(transfer::Progress { event, name, desc, ..Default::default() });
    }

    fn plain(&self, step: transfer::Progress) {
        if let Some(sender) = &self.0 {
            let _ = sender.try_send(Step::Plain(Box::new(step)));
        }
    }

    /// Takes the steps of content below the image of that name. What happens to names is told by the transfer itself.
    pub(super) fn reporter(&self, root: &str) -> Reporter {
        let Some(sender) = self.0.clone() else { return Reporter::default() };
        let root: Arc<str> = root.into();
        Reporter::new(Arc::new(move |step: Progress| {
            if event(step.stage).is_some() && step.descriptor.is_some() {
                let _ = sender.try_send(Step::Content(Box::new(step), root.clone()));
            }
        }))
    }
}

async fn show(stream: OpenStream, mut steps: mpsc::Receiver<Step>) {
    let mut tree = Tree::default();
    while let Some(step) = steps.recv().await {
        let message = match step {
            Step::Plain(message) => *message,
            Step::Content(step, root) => tree.message(*step, &root),
        };
        if !stream.send(&message).await {
            return;
        }
    }
}

/// What is below what: clients draw a tree, and take a thing whose parents change out of it.
#[derive(Default)]
struct Tree {
    /// By digest.
    names: HashMap<String, String>,
    /// By name.
    parents: HashMap<String, Vec<String>>,
}

impl Tree {
    fn message(&mut self, step: Progress, root: &str) -> transfer::Progress {
        if let Some(descriptor) = &step.descriptor {
            self.names.entry(descriptor.digest.to_string()).or_insert_with(|| step.name.clone());
        }
        let parent = step.parent.as_ref().and_then(|digest| self.names.get(digest)).cloned();
        let first = parent.unwrap_or_else(|| root.to_owned());
        let parents = self.parents.entry(step.name.clone()).or_insert_with(|| vec![first]).clone();
        transfer::Progress {
            event: event(step.stage).unwrap_or_default().to_owned(),
            name: step.name,
            parents,
            progress: into_proto::length(step.done),
            total: into_proto::length(step.total),
            desc: step.descriptor.as_ref().map(into_proto::descriptor),
        }
    }
}

/// The word for what happens to some content.
fn event(stage: Stage) -> Option<&'static str> {
    Some(match stage {
        Stage::Waiting => "waiting",
        Stage::Exists => "already exists",
        Stage::Downloading => "downloading",
        Stage::Uploading => "uploading",
        Stage::Complete => "complete",
        Stage::Extracting => "extracting",
        Stage::Extracted => "extracted",
        Stage::Resolving | Stage::Resolved | Stage::Saved | Stage::Begun | Stage::Done => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(content: &Descriptor, parent: Option<&Descriptor>, stage: Stage, done: u64) -> Progress {
        Progress {
            stage,
            name: gantry_primitives::progress::content_name(content),
            descriptor: Some(content.clone()),
            parent: parent.map(|parent| parent.digest.to_string()),
            done,
            total: content.size,
        }
    }

    #[test]
    fn a_thing_keeps_its_place_in_the_tree() {
        let manifest = Descriptor::of("application/vnd.oci.image.manifest.v1+json", b"m");
        let layer = Descriptor::of("application/vnd.oci.image.layer.v1.tar+gzip", b"layer");
        let mut tree = Tree::default();
        let first = tree.message(step(&manifest, None, Stage::Complete, 1), "a:b");
        assert_eq!((first.event.as_str(), &first.parents[..]), ("complete", &["a:b".to_owned()][..]));
        let waits = tree.message(step(&layer, Some(&manifest), Stage::Waiting, 0), "a:b");
        assert_eq!(waits.parents, std::slice::from_ref(&first.name));
        let comes = tree.message(step(&layer, None, Stage::Downloading, 3), "a:b");
        assert_eq!(comes.parents, [first.name]);
        assert_eq!((comes.progress, comes.total), (3, 5));
    }

    #[test]
    fn nobody_is_told_where_nobody_asked() {
        let (display, _) = start(None);
        display.line("x".into());
        assert_eq!(format!("{:?}", display.reporter("a")), "Reporter(false)");
    }
}
