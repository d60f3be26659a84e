//! The writer of an ingest: containerd's model of a client that writes content.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gantry_content::Ingest;
use gantry_metadata::{IngestHold, Pin, contents, ingests};
use gantry_types::{Digest, ErrorKind, Labels};

use super::{ingest_key, read_blob};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// How many bytes are copied at once when a writer changes shared content.
const COPY_BYTES: usize = 1 << 20;

/// How far a writer has come.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Bytes that are there: where the next write goes.
    pub offset: u64,
    /// Bytes that there will be; 0 if that is not known.
    pub total: u64,
    /// When the ingest was begun.
    pub started: std::time::SystemTime,
    /// When it was written to last.
    pub updated: std::time::SystemTime,
}

/// The only writer of an ingest. Dropping it keeps the bytes for who resumes.
pub struct Writer {
    store: Store,
    state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    context: Context,
    record: gantry_metadata::Ingest,
    bytes: Source,
    /// Keeps what is shared without a record of anybody.
    _pin: Option<Pin>,
    _hold: IngestHold,
}

/// Where the bytes of the ingest are.
enum Source {
    /// In another namespace's blob, to the last one.
    Shared(Digest),
    /// In an ingest.
    Own(Box<Ingest>),
    /// Committed or aborted.
    Over,
}

impl Store {
    /// Begins to write under `reference`, or goes on there. If another namespace has the expected content, there is nothing
    /// left to write.
    ///
    /// # Errors
    /// AlreadyExists if the namespace has the expected content; Unavailable if somebody else writes; InvalidArgument for the
    /// ref; NotFound for the lease.
    pub async fn content_writer(
        &self,
        context: Context,
        reference: String,
        total: u64,
        expected: Option<Digest>,
    ) -> Result<Writer> {
        let store = self.clone();
        self.blocking(move |inner| {
            let state = State::open(inner, context, reference, total, expected.as_ref())?;
            Ok(Writer { store, state: Arc::new(Mutex::new(state)) })
        })
        .await
    }
}

impl Writer {
    async fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Inner, &mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = Arc::clone(&self.state);
        self.store
            .blocking(move |inner| f(inner, &mut state.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
    }

    /// How far it has come.
    ///
    /// # Errors
    /// NotFound if it was committed or aborted.
    pub async fn status(&self) -> Result<Progress> {
        self.with(|inner, state| state.status(inner)).await
    }

    /// The digest of what is there.
    ///
    /// # Errors
    /// As of [`status`](Self::status).
    pub async fn digest(&self) -> Result<Digest> {
        self.with(|_, state| match &state.bytes {
            Source::Shared(digest) => Ok(digest.clone()),
            Source::Own(ingest) => Ok(ingest.digest()),
            Source::Over => Err(state.over()),
        })
        .await
    }

    /// Writes `bytes` at `offset`, which is the end of what is there, or lies before it: then that is cut off first, as
    /// containerd does. Gives the new end.
    ///
    /// # Errors
    /// OutOfRange behind the end; ResourceExhausted for a full disk; Aborted if somebody aborted it.
    pub async fn write(&self, bytes: Bytes, offset: u64) -> Result<u64> {
        self.with(move |inner, state| {
            let ingest = state.own(inner)?;
            if offset > ingest.offset() {
                let (position, length) = (offset, ingest.offset());
                return Err(gantry_content::Error::Position { position, length }.into());
            }
            if offset < ingest.offset() {
                ingest.truncate(offset)?;
            }
            ingest.write(&bytes)?;
            Ok(ingest.offset())
        })
        .await
    }

    /// Keeps the first `size` bytes.
    ///
    /// # Errors
    /// OutOfRange behind the end.
    pub async fn truncate(&self, size: u64) -> Result<()> {
        self.with(move |inner, state| Ok(state.own(inner)?.truncate(size)?)).await
    }

    /// Makes the bytes content of the namespace, with labels, if they are `size` many (0: whatever there is) and their
    /// digest is `expected`.
    ///
    /// # Errors
    /// FailedPrecondition for another size or digest, after which the writer goes on; AlreadyExists if the namespace has it.
    pub async fn commit(
        &self,
        size: u64,
        expected: Option<Digest>,
        labels: Labels,
        media_type: String,
    ) -> Result<Digest> {
        self.with(move |inner, state| state.commit(inner, size, expected.as_ref(), labels, media_type)).await
    }
}

impl State {
    pub(crate) fn open(
        inner: &Inner,
        context: Context,
        reference: String,
        total: u64,
        expected: Option<&Digest>,
    ) -> Result<Self> {
        let (namespace, lease) = (context.namespace.clone(), context.lease.clone());
        let wanted = expected.cloned();
        let isolated = inner.options.isolated_content;
        let record = inner.write(move |change| {
            if let Some(digest) = wanted.as_ref().filter(|_| isolated)
                && contents::lease_existing(change, &namespace, digest, lease.as_deref())?
            {
                return Err(Error::AlreadyExists { what: "content", name: digest.to_string() });
            }
            let wanted = wanted.filter(|_| !isolated);
            let opening = ingests::Opening { expected: wanted.as_ref(), total, lease: lease.as_deref() };
            Ok(ingests::open(change, &namespace, &reference, opening)?)
        })?;
        let hold = inner.database.hold_ingest(record.id);
        let (bytes, pin) = match &record.expected {
            Some(digest) => (Source::Shared(digest.clone()), None),
            None => begin(inner, &record, total, expected)?,
        };
        Ok(Self { context, record, bytes, _pin: pin, _hold: hold })
    }

    fn over(&self) -> Error {
        Error::NotFound { what: "ingest", name: self.record.reference.clone() }
    }

    fn status(&self, inner: &Inner) -> Result<Progress> {
        match &self.bytes {
            Source::Own(ingest) => {
                let status = ingest.status();
                Ok(Progress {
                    offset: status.offset,
                    total: status.total.unwrap_or(self.record.total),
                    started: status.started_at,
                    updated: status.updated_at,
                })
            }
            Source::Shared(digest) => {
                let size = inner.content.info(digest)?.size;
                let (started, updated) = (self.record.created.into(), self.record.updated.into());
                Ok(Progress { offset: size, total: size, started, updated })
            }
            Source::Over => Err(self.over()),
        }
    }

    /// The ingest to write to. What was shared is copied first, as its end is where the writer believes to be.
    pub(crate) fn own(&mut self, inner: &Inner) -> Result<&mut Ingest> {
        if let Source::Shared(digest) = &self.bytes {
            let blob = inner.content.open_blob(digest)?;
            let key = ingest_key(self.record.id, &self.record.reference);
            let mut ingest = inner.content.ingest(&key, None, None)?;
            ingest.truncate(0)?;
            while ingest.offset() < blob.size() {
                let chunk = read_blob(&blob, ingest.offset(), COPY_BYTES)?;
                ingest.write(&chunk)?;
            }
            let (namespace, reference) = (self.context.namespace.clone(), self.record.reference.clone());
            inner.write(move |change| Ok(ingests::unshare(change, &namespace, &reference)?))?;
            self.bytes = Source::Own(Box::new(ingest));
        }
        match &mut self.bytes {
            Source::Own(ingest) => Ok(ingest),
            _ => Err(Error::NotFound { what: "ingest", name: self.record.reference.clone() }),
        }
    }

    pub(crate) fn commit(
        &mut self,
        inner: &Inner,
        size: u64,
        expected: Option<&Digest>,
        labels: Labels,
        media_type: String,
    ) -> Result<Digest> {
        let digest = match (&self.bytes, expected) {
            (Source::Over, _) => return Err(self.over()),
            (Source::Shared(digest), _) => digest.clone(),
            (Source::Own(_), Some(expected)) => expected.clone(),
            (Source::Own(ingest), None) => ingest.digest(),
        };
        // From before the rename until the record is there.
        let _pin = inner.database.pin(&digest);
        let (digest, size) = match std::mem::replace(&mut self.bytes, Source::Over) {
            Source::Over => return Err(self.over()),
            Source::Shared(digest) => self.check_shared(inner, digest, size, expected)?,
            Source::Own(ingest) => self.commit_own(*ingest, digest, size, expected)?,
        };
        let (context, reference) = (self.context.clone(), self.record.reference.clone());
        let recorded = digest.clone();
        inner.write(move |change| {
            let new = contents::Creation {
                digest: &recorded,
                size,
                labels: &labels,
                media_type: &media_type,
                ingest: Some(&reference),
                lease: context.lease.as_deref(),
            };
            contents::create(change, &context.namespace, &new)?;
            Ok(())
        })?;
        Ok(digest)
    }

    fn check_shared(
        &mut self,
        inner: &Inner,
        digest: Digest,
        size: u64,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64)> {
        let found = inner.content.info(&digest)?.size;
        let wrong_size = size != 0 && size != found;
        let wrong = expected.filter(|expected| **expected != digest).cloned();
        if wrong_size || wrong.is_some() {
            self.bytes = Source::Shared(digest.clone());
        }
        if wrong_size {
            return Err(gantry_content::Error::Size { found, expected: size }.into());
        }
        match wrong {
            Some(expected) => Err(gantry_content::Error::Mismatch { found: digest, expected }.into()),
            None => Ok((digest, found)),
        }
    }

    fn commit_own(
        &mut self,
        ingest: Ingest,
        digest: Digest,
        size: u64,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64)> {
        let written = ingest.offset();
        match ingest.commit(Some(size).filter(|size| *size != 0), expected) {
            Ok(committed) => Ok((committed.digest, committed.size)),
            // Another namespace's, then: this one gets its record.
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok((digest, written)),
            Err(refused) => {
                if let Some(ingest) = refused.ingest {
                    self.bytes = Source::Own(ingest);
                }
                Err(refused.error.into())
            }
        }
    }
}

fn begin(
    inner: &Inner,
    record: &gantry_metadata::Ingest,
    total: u64,
    expected: Option<&Digest>,
) -> Result<(Source, Option<Pin>)> {
    let key = ingest_key(record.id, &record.reference);
    let total = Some(total).filter(|total| *total != 0);
    // A file without a record: its writer was killed in between, or is about to make one, or it is to be unlinked, which the
    // pin puts off. It is verified, so nothing has to be sent.
    if let Some(digest) = expected.filter(|_| !inner.options.isolated_content) {
        let pin = inner.database.pin(digest);
        let fits = |info: &gantry_content::BlobInfo| total.is_none_or(|total| total == info.size);
        if inner.content.info(digest).is_ok_and(|info| fits(&info)) {
            return Ok((Source::Shared(digest.clone()), Some(pin)));
        }
    }
    let ingest = match inner.content.ingest(&key, total, expected) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => inner.content.ingest(&key, total, None)?,
        result => result?,
    };
    Ok((Source::Own(Box::new(ingest)), None))
}
