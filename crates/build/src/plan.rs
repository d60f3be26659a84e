//! Which stages are built: those that the wanted one needs, and no others.

use crate::arguments::{Arguments, Global};
use crate::dockerfile::{Dockerfile, Instruction, shell};
use crate::{Error, Result};

/// What is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The stages' numbers, in order; the last one is wanted.
    pub(crate) stages: Vec<usize>,
    /// What each stage of the Dockerfile begins with, its variables put in.
    pub(crate) bases: Vec<String>,
}

/// The stage before `end` that a name means.
pub(crate) fn named(dockerfile: &Dockerfile, name: &str, end: usize) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    dockerfile.stages[..end].iter().position(|stage| !stage.name.is_empty() && stage.name == lower)
}

/// The stage before `end` that a name or number means.
pub(crate) fn called(dockerfile: &Dockerfile, name: &str, end: usize) -> Option<usize> {
    let number = || name.parse::<usize>().ok().filter(|number| *number < end);
    named(dockerfile, name, end).or_else(number)
}

/// Plans a build.
///
/// # Errors
/// Invalid for a target that there is not, Dockerfile for variables.
pub(crate) fn plan(dockerfile: &Dockerfile, target: &str, arguments: &Arguments) -> Result<Plan> {
    let count = dockerfile.stages.len();
    let wanted = match target {
        "" => count - 1,
        target => called(dockerfile, target, count)
            .ok_or_else(|| Error::Invalid(format!("failed to reach build target {target} in Dockerfile")))?,
    };
    let mut bases = Vec::with_capacity(count);
    for stage in &dockerfile.stages {
        let base = shell::word(&stage.base, dockerfile.escape, &Global(arguments));
        bases.push(base.map_err(|message| Error::line(stage.line, message))?);
    }
    let mut needed = vec![false; count];
    needed[wanted] = true;
    // A stage needs earlier ones only.
    for number in (0..=wanted).rev().collect::<Vec<_>>() {
        if !needed[number] {
            continue;
        }
        let base = named(dockerfile, &bases[number], number);
        let copied = dockerfile.stages[number].steps.iter().filter_map(|step| match &step.instruction {
            Instruction::Copy(copy) if !copy.from.is_empty() => called(dockerfile, &copy.from, number),
            _ => None,
        });
        for other in base.into_iter().chain(copied).collect::<Vec<_>>() {
            needed[other] = true;
        }
    }
    let stages = (0..count).filter(|number| needed[*number]).collect();
    Ok(Plan { stages, bases })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str, target: &str) -> Vec<usize> {
        let dockerfile = Dockerfile::parse(text.as_bytes()).unwrap();
        let mut arguments = Arguments::default();
        arguments.declare_global("V", Some("c".into()));
        plan(&dockerfile, target, &arguments).unwrap().stages
    }

    #[test]
    fn only_what_is_needed_is_built() {
        let text = "FROM x AS a\nFROM x AS b\nFROM a AS c\nRUN y\nFROM $V\nCOPY --from=1 / /\nFROM x";
        assert_eq!(planned(text, ""), [4]);
        assert_eq!(planned(text, "3"), [0, 1, 2, 3]);
        assert_eq!(planned(text, "C"), [0, 2]);
        let dockerfile = Dockerfile::parse(text.as_bytes()).unwrap();
        assert!(plan(&dockerfile, "nope", &Arguments::default()).is_err());
        assert!(plan(&dockerfile, "9", &Arguments::default()).is_err());
        // Its own name is an image's.
        assert_eq!(planned("FROM a AS a", ""), [0]);
    }
}
