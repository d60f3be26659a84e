//! The parsers of strangers' bytes, for fuzz targets.

use crate::arguments::Arguments;
use crate::dockerfile::{Dockerfile, Instruction, shell};
use crate::glob::{Dialect, Glob};
use crate::ignore::Ignore;
use crate::remote::Remote;
use crate::settings::Settings;

/// Reads a Dockerfile, plans its last stage, and carries out what changes only the configuration.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(dockerfile) = Dockerfile::parse(bytes) else { return };
    let _ = crate::plan::plan(&dockerfile, "", &Arguments::default());
    for stage in &dockerfile.stages {
        let mut settings = Settings::default();
        for step in &stage.steps {
            let env = settings.image.env.clone();
            let _ = settings.apply(&step.instruction, dockerfile.escape, &env);
            if let Instruction::Copy(copy) | Instruction::Add(copy) = &step.instruction {
                copy.sources.iter().for_each(|source| remote(source));
                let _ = Ignore::of(&copy.exclude);
            }
        }
    }
}

/// Reads an address: nothing of it that git gets as an operand looks like an option, and no password is shown.
fn remote(text: &str) {
    let Ok(Some(Remote::Git(source))) = Remote::parse(text) else { return };
    assert!(!source.reference.starts_with('-') && !source.remote.starts_with('-'));
    let _ = source.redact(&source.shown());
}

/// Reads a `.dockerignore` and asks it of a path; the two are apart by a zero byte.
pub fn ignore(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (file, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let path = String::from_utf8_lossy(path);
    if let Ok(ignore) = Ignore::parse(file) {
        let _ = ignore.excludes(&path);
    }
    if let Some(glob) = Glob::parse(&String::from_utf8_lossy(file), Dialect::Go) {
        let _ = glob.is_match(&path);
    }
}

/// Puts variables into a text.
pub fn expansion(text: &str) {
    let env = ["A=a b".to_owned(), "B=x/y.z".to_owned(), "E=".to_owned()];
    for escape in ['\\', '`'] {
        let _ = shell::words(text, escape, env.as_slice());
        let _ = shell::text(text, escape, env.as_slice());
    }
}
