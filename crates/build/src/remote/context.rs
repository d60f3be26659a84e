//! `remote=`: the context of a build, and the Dockerfile in it.

use bytes::Bytes;
use gantry_engine::Engine;
use gantry_engine::image::{WebFile, redacted};

use super::sniff::{HEAD_BYTES, Kind, kind};
use super::{Remote, git};
use crate::builder::blocking;
use crate::context::{Context, Scratch};
use crate::dockerfile::MAX_BYTES;
use crate::{Error, Result};

/// Gets a context and its Dockerfile, which `name` names in it.
///
/// # Errors
/// Invalid for what is no address, and for what it has; Remote for what cannot be had; those of archives.
pub(crate) async fn context(
    engine: &Engine,
    scratch: Scratch,
    remote: &str,
    name: &str,
) -> Result<(Scratch, Context, Vec<u8>)> {
    let name = name.to_owned();
    match Remote::parse(remote)? {
        None => Err(Error::Invalid(format!("remoteURL ({remote}) could not be recognized as URL"))),
        Some(Remote::Git(source)) => {
            let place = scratch.path("git");
            git::checkout(&source, &place, engine.proxies(), git::Metadata::Kept).await?;
            blocking("looking for the Dockerfile", move || {
                let context = Context::of_directory(scratch.open("git")?, &source.directory)?;
                with_dockerfile(scratch, context, &name)
            })
            .await
        }
        Some(Remote::Web(url)) => {
            let shown = redacted(&url);
            let failed = |reason: String, kind| Error::Remote {
                what: format!("error downloading remote context {shown}"),
                reason,
                kind,
            };
            let engine_failed = |error: gantry_engine::Error| {
                let kind = error.kind();
                failed(error.to_string(), kind)
            };
            let mut web = engine.web_file(&url).await.map_err(engine_failed)?;
            let head = head(&mut web).await.map_err(engine_failed)?;
            let invalid = |reason: String| {
                Error::Invalid(format!("error detecting content type for remote {shown}: {reason}"))
            };
            if head.is_empty() {
                return Err(invalid("empty response".to_owned()));
            }
            let begin: Vec<u8> = head.iter().flatten().copied().take(HEAD_BYTES).collect();
            match kind(web.media_type(), &begin).map_err(invalid)? {
                Kind::Dockerfile => {
                    let text = text(&mut web, head, &shown, engine_failed).await?;
                    let context = Context::none(&scratch)?;
                    Ok((scratch, context, text))
                }
                Kind::Archive => {
                    let source = web.into_source(head, Box::new(|_, _| ()));
                    blocking("unpacking the build context", move || {
                        let context = Context::unpack(&scratch, source)?;
                        with_dockerfile(scratch, context, &name)
                    })
                    .await
                }
            }
        }
    }
}

/// The Dockerfile of a context, from which it takes what is excluded away. Blocks.
pub(crate) fn with_dockerfile(
    scratch: Scratch,
    context: Context,
    name: &str,
) -> Result<(Scratch, Context, Vec<u8>)> {
    let dockerfile = context.dockerfile(name)?;
    context.exclude()?;
    Ok((scratch, context, dockerfile))
}

/// The first pieces, with enough bytes to tell what it is.
async fn head(web: &mut WebFile) -> Result<Vec<Bytes>, gantry_engine::Error> {
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    while bytes < HEAD_BYTES {
        let Some(piece) = web.next().await? else { break };
        bytes += piece.len();
        pieces.push(piece);
    }
    Ok(pieces)
}

async fn text(
    web: &mut WebFile,
    head: Vec<Bytes>,
    url: &str,
    failed: impl Fn(gantry_engine::Error) -> Error,
) -> Result<Vec<u8>> {
    let mut text: Vec<u8> = head.concat();
    while let Some(piece) = web.next().await.map_err(&failed)? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_BYTES {
            return Err(Error::Limit { what: url.to_owned(), limit: MAX_BYTES as u64, unit: "bytes" });
        }
    }
    Ok(text)
}
