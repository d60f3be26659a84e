//! How far a pull or a push has come: what docker's clients show, without its words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_primitives::progress::{Progress, Reporter, Stage};
use gantry_types::media_type::Kind;
use gantry_types::{Digest, Reference};

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageProgress {
    /// A name is resolved, and its layers come.
    Pulling(Reference),
    /// A name has been pulled.
    Pulled(super::ImagePulled),
    /// A name has been pushed.
    Pushed(super::ImagePushed),
    /// Something happens to a layer.
    Layer(Digest, LayerStep),
    /// Something that a person should know.
    Note(String),
}

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerStep {
    /// It is known, and nothing happens to it yet.
    Waiting,
    /// Its bytes come: so many of so many.
    Downloading(u64, u64),
    /// All bytes are there, and right.
    Downloaded,
    /// Its files are made.
    Extracting(u64, u64),
    /// Its files are there.
    Complete,
    /// It was there already.
    Exists,
    /// Its bytes go: so many of so many.
    Uploading(u64, u64),
    /// The registry has it now.
    Uploaded,
    /// The registry had it already.
    UploadedBefore,
}

/// Who is told. Called from any thread; must not block.
pub type ProgressListener = Arc<dyn Fn(ImageProgress) + Send + Sync>;

/// What has been told of a layer.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    stored: bool,
    worked: bool,
    over: bool,
}

/// Translates what the store tells of a pull.
pub(crate) struct PullProgress {
    listener: ProgressListener,
    layers: Mutex<HashMap<Digest, Told>>,
}

impl PullProgress {
    pub(crate) fn new(listener: ProgressListener) -> Arc<Self> {
        Arc::new(Self { listener, layers: Mutex::default() })
    }

    /// Whether anything had to be fetched or unpacked.
    pub(crate) fn has_worked(&self) -> bool {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).values().any(|told| told.worked)
    }

    /// What hears the store.
    pub(crate) fn reporter(self: &Arc<Self>, reference: &Reference) -> Reporter {
        let (this, reference) = (Arc::clone(self), reference.clone());
        Reporter::new(Arc::new(move |progress| this.hear(&reference, &progress)))
    }

    fn hear(&self, reference: &Reference, progress: &Progress) {
        if progress.stage == Stage::Resolved {
            (self.listener)(ImageProgress::Pulling(reference.clone()));
        }
        let Some(descriptor) = progress.descriptor.as_ref().filter(|descriptor| is_layer(descriptor.kind()))
        else {
            return;
        };
        let step = {
            let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
            let told = layers.entry(descriptor.digest.clone()).or_default();
            step(told, progress)
        };
        if let Some(step) = step {
            (self.listener)(ImageProgress::Layer(descriptor.digest.clone(), step));
        }
    }
}

fn is_layer(kind: Kind) -> bool {
    kind.is_layer() || matches!(kind, Kind::ForeignLayer(_))
}

/// What a step of the store's is to a person. That a layer was there already is known only when its files are.
fn step(told: &mut Told, progress: &Progress) -> Option<LayerStep> {
    if told.over {
        return None;
    }
    match progress.stage {
        Stage::Waiting => Some(LayerStep::Waiting),
        Stage::Exists => {
            told.stored = true;
            None
        }
        Stage::Downloading => {
            told.worked = true;
            Some(LayerStep::Downloading(progress.done, progress.total))
        }
        Stage::Complete => {
            told.worked = true;
            Some(LayerStep::Downloaded)
        }
        Stage::Extracting => {
            told.worked = true;
            Some(LayerStep::Extracting(progress.done, progress.total))
        }
        Stage::Extracted => {
            told.over = true;
            Some(if told.worked { LayerStep::Complete } else { LayerStep::Exists })
        }
        _ => None,
    }
}

/// Translates what the store tells of a push.
pub(crate) fn push_reporter(listener: ProgressListener) -> Reporter {
    Reporter::new(Arc::new(move |progress: Progress| {
        let Some(descriptor) = progress.descriptor.as_ref().filter(|descriptor| is_layer(descriptor.kind()))
        else {
            return;
        };
        let step = match progress.stage {
            Stage::Waiting => LayerStep::Waiting,
            Stage::Uploading => LayerStep::Uploading(progress.done, progress.total),
            Stage::Exists => LayerStep::UploadedBefore,
            Stage::Complete => LayerStep::Uploaded,
            _ => return,
        };
        listener(ImageProgress::Layer(descriptor.digest.clone(), step));
    }))
}

#[cfg(test)]
mod tests {
    use gantry_types::{Descriptor, media_type};

    use super::*;

    fn told(stages: &[Stage]) -> Vec<LayerStep> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let progress = PullProgress::new(Arc::new(move |progress| ear.lock().unwrap().push(progress)));
        let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, b"x");
        let reference: Reference = "docker.io/library/x:1".parse().unwrap();
        for stage in stages {
            progress.hear(
                &reference,
                &Progress {
                    stage: *stage,
                    name: String::new(),
                    descriptor: Some(layer.clone()),
                    parent: None,
                    done: 1,
                    total: 1,
                },
            );
        }
        let heard = heard.lock().unwrap();
        let steps = heard.iter().filter_map(|progress| match progress {
            ImageProgress::Layer(_, step) => Some(*step),
            _ => None,
        });
        steps.collect()
    }

    #[test]
    fn a_layer_that_is_unpacked_exists_and_one_that_is_only_stored_is_extracted() {
        use LayerStep as L;
        assert_eq!(told(&[Stage::Waiting, Stage::Exists, Stage::Extracted]), [L::Waiting, L::Exists]);
        assert_eq!(
            told(&[Stage::Waiting, Stage::Exists, Stage::Extracting, Stage::Extracted]),
            [L::Waiting, L::Extracting(1, 1), L::Complete]
        );
        assert_eq!(
            told(&[Stage::Downloading, Stage::Complete, Stage::Extracted, Stage::Extracting]),
            [L::Downloading(1, 1), L::Downloaded, L::Complete]
        );
    }
}
