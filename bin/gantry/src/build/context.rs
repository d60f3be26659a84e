//! The context of a build: a directory without what `.dockerignore` names, standard input, or a URL that the engine reads.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use super::ignore::Ignore;
use crate::client::Body;
use crate::container::copy::pack::{Chunks, entry};
use crate::image::archive::{channel, upload};

/// The largest Dockerfile, in bytes.
const MAX_DOCKERFILE: u64 = 4 << 20;
/// The name of a Dockerfile that is from elsewhere, in the archive: always the same, so that what is copied is.
const FOREIGN: &str = ".dockerfile.gantry";
/// The list of what is not copied.
const IGNORED: &str = ".dockerignore";

/// What the engine gets.
pub(super) struct Context {
    /// The Dockerfile's path in the context.
    pub(super) dockerfile: Option<String>,
    /// What the engine reads itself.
    pub(super) remote: Option<String>,
    pub(super) body: Option<Body>,
}

impl Context {
    pub(super) fn open(context: &str, file: Option<&str>, compress: bool) -> Result<Self> {
        if is_url(context) {
            ensure!(file != Some("-"), "a Dockerfile from stdin needs a local context");
            return Ok(Self {
                dockerfile: file.map(str::to_owned),
                remote: Some(context.to_owned()),
                body: None,
            });
        }
        match (context, file) {
            ("-", Some("-")) => {
                bail!("invalid argument: can't use stdin for both build context and dockerfile")
            }
            ("-", file) => Self::of_input(file),
            (dir, file) => Self::of_directory(dir, file, compress),
        }
    }

    /// An archive, or a Dockerfile alone.
    fn of_input(file: Option<&str>) -> Result<Self> {
        let mut input = BufReader::with_capacity(64 << 10, io::stdin());
        let head = peek(&mut input)?;
        ensure!(!head.is_empty(), "the build context on stdin is empty");
        let body = if is_archive(&head) {
            upload(io::Cursor::new(head).chain(input))
        } else {
            ensure!(file.is_none(), "stdin is no archive: --file has no meaning then");
            let mut text = head;
            input.take(MAX_DOCKERFILE).read_to_end(&mut text).context("stdin")?;
            ensure!(
                text.len() as u64 <= MAX_DOCKERFILE,
                "the Dockerfile is larger than {MAX_DOCKERFILE} bytes"
            );
            let mut builder = Builder::new(Vec::new());
            add_text(&mut builder, "Dockerfile", &text)?;
            upload(io::Cursor::new(builder.into_inner()?))
        };
        Ok(Self { dockerfile: file.map(str::to_owned), remote: None, body: Some(body) })
    }

    fn of_directory(dir: &str, file: Option<&str>, compress: bool) -> Result<Self> {
        let root = fs::canonicalize(dir)
            .with_context(|| format!("unable to prepare context: path {dir:?} not found"))?;
        ensure!(root.is_dir(), "unable to prepare context: {dir:?} is no directory");
        let dockerfile = Dockerfile::find(&root, file)?;
        let ignore = dockerfile.ignore(&root)?;
        let name = dockerfile.name.clone();
        let (sender, body) = channel();
        std::thread::spawn(move || pack(&root, &dockerfile, &ignore, compress, &sender));
        Ok(Self { dockerfile: Some(name), remote: None, body: Some(body) })
    }
}

fn is_url(context: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "github.com/", "git@"];
    schemes.iter().any(|scheme| context.starts_with(scheme))
}

/// As much as tells what it is.
fn peek(input: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(512).read_to_end(&mut head).context("stdin")?;
    Ok(head)
}

/// A tar, or one that is compressed.
fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];
    MAGIC.iter().any(|magic| head.starts_with(magic))
        || head.get(257..262) == Some(b"ustar")
        || head.len() == 512 && head.iter().all(|byte| *byte == 0)
}

/// Where the instructions are.
struct Dockerfile {
    /// In the archive.
    name: String,
    /// What it says, if it is not in the context.
    foreign: Option<Vec<u8>>,
}

impl Dockerfile {
    fn find(root: &Path, file: Option<&str>) -> Result<Self> {
        let Some(file) = file else {
            let default = root.join("Dockerfile");
            // Docker takes the other spelling, too.
            let name = if !default.exists() && root.join("dockerfile").exists() {
                "dockerfile"
            } else {
                "Dockerfile"
            };
            ensure!(
                root.join(name).exists(),
                "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory",
                default.display()
            );
            return Ok(Self { name: name.to_owned(), foreign: None });
        };
        if file == "-" {
            return Self::read(io::stdin(), "stdin");
        }
        // From where we are, as every path of a command line; then from the context.
        let given = Path::new(file);
        let path = [given.to_owned(), root.join(given)].into_iter().find(|path| path.exists());
        let path =
            path.with_context(|| format!("unable to prepare context: the Dockerfile {file:?} is not there"))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = fs::canonicalize(dir).with_context(|| file.to_owned())?;
        let path = dir.join(path.file_name().context("the Dockerfile has no name")?);
        match path.strip_prefix(root).ok().and_then(Path::to_str) {
            Some(name) => Ok(Self { name: name.to_owned(), foreign: None }),
            None => Self::read(fs::File::open(&path).with_context(|| file.to_owned())?, file),
        }
    }

    fn read(source: impl Read, shown: &str) -> Result<Self> {
        let mut text = Vec::new();
        source.take(MAX_DOCKERFILE + 1).read_to_end(&mut text).with_context(|| shown.to_owned())?;
        ensure!(text.len() as u64 <= MAX_DOCKERFILE, "the Dockerfile is larger than {MAX_DOCKERFILE} bytes");
        Ok(Self { name: FOREIGN.to_owned(), foreign: Some(text) })
    }

    /// The list of this Dockerfile, or the context's.
    fn ignore(&self, root: &Path) -> Result<Ignore> {
        let own = root.join(format!("{}.dockerignore", self.name));
        let path = if self.foreign.is_none() && own.exists() { own } else { root.join(IGNORED) };
        match fs::read(&path) {
            Ok(text) => {
                Ignore::parse(&String::from_utf8_lossy(&text)).with_context(|| path.display().to_string())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ignore::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }
}

fn pack(
    root: &Path,
    dockerfile: &Dockerfile,
    ignore: &Ignore,
    compress: bool,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) {
    let chunks = Chunks::new(sender.clone());
    let packed = if compress {
        add_all(GzEncoder::new(chunks, Compression::fast()), root, dockerfile, ignore)
            .and_then(|encoder| Ok(encoder.finish()?.flush()?))
    } else {
        add_all(chunks, root, dockerfile, ignore).and_then(|mut chunks| Ok(chunks.flush()?))
    };
    if let Err(error) = packed {
        let _ = sender.blocking_send(Err(io::Error::other(format!("{error:#}"))));
    }
}

fn add_all<W: Write>(writer: W, root: &Path, dockerfile: &Dockerfile, ignore: &Ignore) -> Result<W> {
    let mut builder = Builder::new(writer);
    let mut waiting: Vec<PathBuf> = names(root, Path::new(""))?;
    while let Some(name) = waiting.pop() {
        let path = root.join(&name);
        let status = fs::symlink_metadata(&path).with_context(|| format!("lstat {}", path.display()))?;
        let text = name.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
        // The engine needs these two, whatever the list says.
        if dockerfile.foreign.is_some() && matches!(text, FOREIGN | IGNORED) {
            // Ours comes in their place.
            continue;
        }
        let is_needed = text == dockerfile.name || text == IGNORED;
        let is_ignored = !is_needed && ignore.is_ignored(text);
        if !is_ignored {
            entry(&mut builder, &path, &name, &status).with_context(|| path.display().to_string())?;
        }
        let holds_needed = dockerfile.name.strip_prefix(text).is_some_and(|rest| rest.starts_with('/'));
        if status.is_dir() && (!is_ignored || holds_needed || ignore.may_include_below(text)) {
            waiting.extend(names(root, &name)?);
        }
    }
    if let Some(text) = &dockerfile.foreign {
        add_text(&mut builder, &dockerfile.name, text)?;
        add_text(&mut builder, IGNORED, &without_foreign(root)?)?;
    }
    Ok(builder.into_inner()?)
}

/// The list, with the Dockerfile from elsewhere on it; with itself as well, if there was none.
fn without_foreign(root: &Path) -> Result<Vec<u8>> {
    let path = root.join(IGNORED);
    let mut text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => IGNORED.as_bytes().to_vec(),
        text => text.with_context(|| format!("{} cannot be read", path.display()))?,
    };
    text.extend(format!("\n{FOREIGN}\n").bytes());
    Ok(text)
}

/// What is in a directory, the last name first.
fn names(root: &Path, dir: &Path) -> Result<Vec<PathBuf>> {
    let path = root.join(dir);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
        names.push(dir.join(entry.with_context(|| path.display().to_string())?.file_name()));
    }
    names.sort_by(|a, b| b.cmp(a));
    Ok(names)
}

fn add_text<W: Write>(builder: &mut Builder<W>, name: &str, text: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(text.len() as u64);
    Ok(builder.append_data(&mut header, name, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(files: &[&str], file: Option<&str>, ignored: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::write(dir.path().join(".dockerignore"), ignored).unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let dockerfile = Dockerfile::find(&root, file).unwrap();
        let ignore = dockerfile.ignore(&root).unwrap();
        let bytes = add_all(Vec::new(), &root, &dockerfile, &ignore).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let name = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap()
        };
        archive.entries().unwrap().map(name).collect()
    }

    #[test]
    fn what_is_ignored_is_not_sent_but_for_what_the_engine_needs() {
        let files = ["Dockerfile", "a/b", "a/keep", "c.log", "d/Dockerfile", "d/x"];
        assert_eq!(packed(&files, None, "*\n!a/keep\n"), [".dockerignore", "Dockerfile", "a/keep"]);
        assert_eq!(
            packed(&files, Some("d/Dockerfile"), "d\n*.log\na/b"),
            [".dockerignore", "Dockerfile", "a/", "a/keep", "d/Dockerfile"]
        );
    }

    #[test]
    fn a_dockerfile_from_elsewhere_comes_along() {
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        let names = packed(&["a"], elsewhere.path().to_str(), "");
        assert_eq!(names, ["a", FOREIGN, IGNORED]);
    }

    #[test]
    fn archives_are_told_from_dockerfiles() {
        assert!(is_archive(b"\x1f\x8b\x08") && is_archive(&[0; 512]));
        assert!(!is_archive(b"FROM scratch\n"));
        assert!(is_url("https://x/y.git") && is_url("git@h:a/b") && !is_url("./git"));
        assert!(Context::open("-", Some("-"), false).is_err());
    }
}
