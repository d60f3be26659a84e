//! How far a pull or a push has come: what docker's clients show, without its words.

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

/// What is known of a layer.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    worked: bool,
    over: bool,
}

/// What is known of a pull.
#[derive(Default)]
struct Known {
    resolved: bool,
    /// Whether anything had to be fetched or unpacked. Until then nothing is told: of an image that is here whole, nothing is.
    worked: bool,
    /// In the order in which they were heard of.
    layers: Vec<(Digest, Told)>,
}

/// Translates what the store tells of a pull.
pub(crate) struct PullProgress {
    listener: ProgressListener,
    known: Mutex<Known>,
}

impl PullProgress {
    pub(crate) fn new(listener: ProgressListener) -> Arc<Self> {
        Arc::new(Self { listener, known: Mutex::default() })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything had to be fetched or unpacked.
    pub(crate) fn has_worked(&self) -> bool {
        self.known().worked
    }

    /// Whether the registry has the name.
    pub(crate) fn has_resolved(&self) -> bool {
        self.known().resolved
    }

    /// What hears the store.
    pub(crate) fn reporter(self: &Arc<Self>, reference: &Reference) -> Reporter {
        let (this, reference) = (Arc::clone(self), reference.clone());
        Reporter::new(Arc::new(move |progress| this.hear(&reference, &progress)))
    }

    fn hear(&self, reference: &Reference, progress: &Progress) {
        // Told below the lock: in the order in which it was heard.
        let mut known = self.known();
        if progress.stage == Stage::Resolved {
            known.resolved = true;
            (self.listener)(ImageProgress::Pulling(reference.clone()));
        }
        let layer = progress.descriptor.as_ref().filter(|descriptor| is_layer(descriptor.kind()));
        if let Some(layer) = layer {
            for (digest, step) in known.hear(&layer.digest, progress) {
                (self.listener)(ImageProgress::Layer(digest, step));
            }
        }
    }
}

fn is_layer(kind: Kind) -> bool {
    kind.is_layer() || matches!(kind, Kind::ForeignLayer(_))
}

impl Known {
    /// What a step of the store's is to a person. That a layer was there already is known only when its files are.
    fn hear(&mut self, digest: &Digest, progress: &Progress) -> Vec<(Digest, LayerStep)> {
        let place = self.layers.iter().position(|(known, _)| known == digest).unwrap_or_else(|| {
            self.layers.push((digest.clone(), Told::default()));
            self.layers.len() - 1
        });
        if self.layers[place].1.over {
            return Vec::new();
        }
        let step = match progress.stage {
            Stage::Waiting => LayerStep::Waiting,
            Stage::Downloading => LayerStep::Downloading(progress.done, progress.total),
            Stage::Complete => LayerStep::Downloaded,
            Stage::Extracting => LayerStep::Extracting(progress.done, progress.total),
            Stage::Extracted if self.layers[place].1.worked => LayerStep::Complete,
            Stage::Extracted => LayerStep::Exists,
            _ => return Vec::new(),
        };
        let mut told = Vec::new();
        let is_work = !matches!(step, LayerStep::Waiting | LayerStep::Exists);
        if is_work && !self.worked {
            self.worked = true;
            let state = |told: &Told| if told.over { LayerStep::Exists } else { LayerStep::Waiting };
            told.extend(self.layers.iter().map(|(digest, told)| (digest.clone(), state(told))));
        }
        let layer = &mut self.layers[place].1;
        layer.worked |= is_work;
        layer.over = matches!(step, LayerStep::Exists | LayerStep::Complete);
        if self.worked {
            told.push((digest.clone(), step));
        }
        told
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

    fn told(stages: &[(u8, Stage)]) -> Vec<(u8, LayerStep)> {
        let mut known = Known::default();
        let mut told = Vec::new();
        let digest = |layer: u8| Digest::sha256(&[layer]);
        for (layer, stage) in stages {
            let mut descriptor = Descriptor::of(media_type::OCI_LAYER_GZIP, &[*layer]);
            descriptor.size = 1;
            let progress = Progress {
                stage: *stage,
                name: String::new(),
                descriptor: Some(descriptor),
                parent: None,
                done: 1,
                total: 1,
            };
            let steps = known.hear(&digest(*layer), &progress).into_iter();
            told.extend(steps.map(|(of, step)| (if of == digest(1) { 1 } else { 2 }, step)));
        }
        told
    }

    #[test]
    fn of_an_image_that_is_here_nothing_is_told() {
        let stages = [(1, Stage::Waiting), (2, Stage::Waiting), (1, Stage::Exists), (1, Stage::Extracted)];
        assert_eq!(told(&stages), []);
    }

    #[test]
    fn a_layer_that_is_unpacked_exists_and_one_that_is_only_stored_is_extracted() {
        use LayerStep as L;
        let stages = [
            (1, Stage::Waiting),
            (2, Stage::Waiting),
            (1, Stage::Exists),
            (1, Stage::Extracted),
            (2, Stage::Exists),
            (2, Stage::Extracting),
            (2, Stage::Extracted),
            (2, Stage::Extracting),
        ];
        assert_eq!(
            told(&stages),
            [(1, L::Exists), (2, L::Waiting), (2, L::Extracting(1, 1)), (2, L::Complete)]
        );
        let stages =
            [(1, Stage::Waiting), (1, Stage::Downloading), (2, Stage::Waiting), (1, Stage::Complete)];
        assert_eq!(
            told(&stages),
            [(1, L::Waiting), (1, L::Downloading(1, 1)), (2, L::Waiting), (1, L::Downloaded)]
        );
    }
}
