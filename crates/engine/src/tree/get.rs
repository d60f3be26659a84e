//! Archives of a container's files: docker's `GET /containers/<id>/archive` and `/export`.

use std::os::fd::AsFd;
use std::sync::Arc;

use gantry_layer::{PackOptions, TopEntry, pack};
use rustix::fs::{OFlags, openat};
use tokio::sync::oneshot;

use super::asked::Asked;
use super::root::{Root, Wanted};
use super::stat::{FileStat, find};
use super::{archive, failed};
use crate::image::ByteStream;
use crate::image::{Outlet, byte_stream};
use crate::userns::Shift;
use crate::{Container, Engine, Error, Result};

impl Engine {
    /// Looks at a file of a container, and reads it as an archive, with what is below it. Its name in the archive is that of the
    /// answer. A link is not followed, unless the path ends with `/` or `/.`.
    ///
    /// # Errors
    /// NotFound; Invalid for a path that is none. What goes wrong later, the stream says.
    pub async fn archive_get(
        &self,
        container: &Arc<Container>,
        path: &str,
    ) -> Result<(FileStat, ByteStream)> {
        let asked = Asked::parse(path)?;
        let name = container.record().name.clone();
        let (tell, told) = oneshot::channel();
        let mut stream = self.stream(container, Wanted::All, move |root, outlet| {
            let (pinned, stat) = find(root.as_fd(), &asked, &name)?;
            if tell.send(stat).is_err() {
                return Ok(());
            }
            // What is mounted there is the runtime's, and nodes that not everybody who unpacks the archive could make.
            let hollow: &[&[u8]] = if asked.is_root() { &[b"dev"] } else { &[] };
            let options =
                PackOptions { hollow, owners: root.shift().map(Shift::map), ..PackOptions::default() };
            pack(pinned.as_fd(), asked.name.as_bytes(), outlet, &options).map(drop).map_err(archive)
        });
        let Ok(stat) = told.await else {
            stream.next().await?;
            return Err(Error::Panicked("reading a container's files"));
        };
        self.announce(&container.event("archive-path")).await;
        Ok((stat, stream))
    }

    /// Reads all files of a container as an archive, without what is mounted in it.
    ///
    /// # Errors
    /// Conflict for a container that is going; what the store says. What goes wrong later, the stream says.
    pub async fn container_export(&self, container: &Arc<Container>) -> Result<ByteStream> {
        let (tell, told) = oneshot::channel();
        let mut stream = self.stream(container, Wanted::Snapshot, move |root, outlet| {
            let top = openat(
                root,
                c".",
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .map_err(failed("opening", "the container's root"))?;
            if tell.send(()).is_err() {
                return Ok(());
            }
            let owners = root.shift().map(Shift::map);
            let options = PackOptions { top: TopEntry::Left, owners, ..PackOptions::default() };
            pack(top.as_fd(), b"", outlet, &options).map(drop).map_err(archive)
        });
        if told.await.is_err() {
            stream.next().await?;
            return Err(Error::Panicked("reading a container's files"));
        }
        self.announce(&container.event("export")).await;
        Ok(stream)
    }

    /// Lets `write` write to a stream that a client reads as fast as it likes.
    fn stream<F>(&self, container: &Arc<Container>, wanted: Wanted, write: F) -> ByteStream
    where
        F: FnOnce(&Root, &mut Outlet) -> Result<()> + Send + 'static,
    {
        let (mut outlet, ended, stream) = byte_stream();
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let result = engine.with_root(&container, wanted, move |root| write(root, &mut outlet)).await;
            // A client that has gone wants to know nothing.
            let _ = ended.send(result);
        });
        stream
    }
}
