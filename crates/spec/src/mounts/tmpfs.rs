use crate::Error;

/// What a tmpfs of a container has, unless it is asked for the opposite.
const DEFAULTS: [&str; 4] = ["noexec", "nosuid", "nodev", "rprivate"];
/// Flags, each with what it is about: the last word about something counts.
const FLAGS: [(&str, &str); 26] = [
    ("ro", "ro"),
    ("rw", "ro"),
    ("nosuid", "suid"),
    ("suid", "suid"),
    ("nodev", "dev"),
    ("dev", "dev"),
    ("noexec", "exec"),
    ("exec", "exec"),
    ("sync", "sync"),
    ("async", "sync"),
    ("dirsync", "dirsync"),
    ("noatime", "atime"),
    ("atime", "atime"),
    ("nodiratime", "diratime"),
    ("diratime", "diratime"),
    ("relatime", "relatime"),
    ("norelatime", "relatime"),
    ("strictatime", "strictatime"),
    ("nostrictatime", "strictatime"),
    ("private", "propagation"),
    ("rprivate", "propagation"),
    ("shared", "propagation"),
    ("rshared", "propagation"),
    ("slave", "propagation"),
    ("rslave", "propagation"),
    ("unbindable", "propagation"),
];
/// Options with a value: tmpfs(5).
const VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
/// The most options of one tmpfs.
const MAX_OPTIONS: usize = 128;

/// The options of a tmpfs: docker's own, then those that were asked for; of several words about the same thing the last
/// counts, and stays where it is.
///
/// # Errors
/// Words that are neither flags nor tmpfs's.
pub fn tmpfs_options(asked: &[String]) -> Result<Vec<String>, Error> {
    crate::error::at_most("options of a tmpfs", asked.len(), MAX_OPTIONS)?;
    let all: Vec<&str> = DEFAULTS.into_iter().chain(asked.iter().map(String::as_str)).collect();
    let mut subjects: Vec<&str> = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    for option in all.into_iter().rev().filter(|option| *option != "defaults") {
        let subject = subject(option)?;
        if !subjects.contains(&subject) {
            subjects.push(subject);
            kept.push(option.to_owned());
        }
    }
    kept.reverse();
    Ok(kept)
}

/// What an option is about.
fn subject(option: &str) -> Result<&str, Error> {
    if let Some((_, subject)) = FLAGS.iter().find(|(flag, _)| *flag == option) {
        return Ok(subject);
    }
    let invalid = |reason: &str| Error::invalid("tmpfs option", option, reason);
    match option.split_once('=') {
        // A comma would begin another option of the kernel's.
        Some((key, value)) if VALUES.contains(&key) && !value.contains([',', '\0', '\n']) => Ok(key),
        Some((key, _)) if VALUES.contains(&key) => Err(invalid("its value has a comma or a line break")),
        _ => Err(invalid("tmpfs has no such option")),
    }
}
