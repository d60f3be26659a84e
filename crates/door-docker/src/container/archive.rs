//! Files in and out of a container.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use gantry_docker_api::container::PathStat;
use gantry_docker_api::{header, media_type};
use gantry_engine::image::{ByteStream, byte_source};
use gantry_engine::{Error, FileStat, Overwrite, Ownership, PutOptions};
use http::{HeaderName, Method, StatusCode};
use http_body_util::BodyExt as _;

use super::find;
use crate::failure::{Failure, chain};
use crate::http::{Answer, Body, Broken, Call, Outcome};

fn path(call: &Call) -> Result<&str, Failure> {
    match call.query.text("path") {
        "" => Err(Failure::invalid("bad parameter: path cannot be empty")),
        path => Ok(path),
    }
}

/// What a container has no file of is named as it was asked for.
fn words(name: &str) -> impl Fn(Error) -> Failure {
    move |error| match error {
        Error::NoFile { path, .. } => {
            Failure::not_found(format!("Could not find the file {path} in container {name}"))
        }
        error => error.into(),
    }
}

fn stat_header(stat: &FileStat) -> String {
    let told = PathStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: stat.mode,
        mtime: stat.mtime.to_string(),
        link_target: stat.link_target.clone(),
    };
    STANDARD.encode(serde_json::to_vec(&told).expect("the API's types are JSON"))
}

/// `GET` and `HEAD /containers/{name}/archive`
pub(super) async fn get(call: Call, name: &str) -> Outcome {
    let path = path(&call)?;
    let container = find(&call, name).await?;
    let engine = &call.door.engine;
    let header_name = HeaderName::try_from(header::PATH_STAT).expect("a constant is a name");
    if call.method == Method::HEAD {
        let stat = engine.archive_stat(&container, path).await.map_err(words(name))?;
        return Ok(Answer::status(StatusCode::OK).header(header_name, &stat_header(&stat)));
    }
    let (stat, files) = engine.archive_get(&container, path).await.map_err(words(name))?;
    Ok(Answer::body(media_type::TAR, body(files)).header(header_name, &stat_header(&stat)))
}

/// `GET /containers/{name}/export`
pub(super) async fn export(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    let files = call.door.engine.container_export(&container).await?;
    Ok(Answer::body("application/octet-stream", body(files)))
}

/// What a thread writes, as a body.
fn body(files: ByteStream) -> Body {
    Body::stream(stream::unfold(Some(files), |files| async move {
        let mut files = files?;
        match files.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(files))),
            Ok(None) => None,
            Err(error) => Some((Err(Broken(chain(&error))), None)),
        }
    }))
}

/// `PUT /containers/{name}/archive`
pub(super) async fn put(mut call: Call, name: &str) -> Outcome {
    let path = path(&call)?.to_owned();
    let container = find(&call, name).await?;
    let options = PutOptions {
        overwrite: if call.query.is_set("noOverwriteDirNonDir") {
            Overwrite::SameKind
        } else {
            Overwrite::Anything
        },
        ownership: if call.query.is_set("copyUIDGID") { Ownership::User } else { Ownership::Archive },
    };
    let (send, source) = byte_source();
    let incoming = call.body.take();
    let feed = async move {
        let Some(mut incoming) = incoming else { return };
        while let Some(frame) = incoming.frame().await {
            let piece = match frame {
                Ok(frame) => frame.into_data().map_err(|_| None),
                Err(error) => Err(Some(std::io::Error::other(error))),
            };
            let sent = match piece {
                Ok(bytes) => send.send(Ok(bytes)).await,
                Err(Some(error)) => send.send(Err(error)).await,
                // Trailers.
                Err(None) => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    };
    let put = call.door.engine.archive_put(&container, &path, options, source);
    let (put, ()) = tokio::join!(put, feed);
    put.map_err(words(name))?;
    Ok(Answer::status(StatusCode::OK))
}
