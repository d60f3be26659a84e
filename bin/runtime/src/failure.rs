use std::fmt;

/// A command that did not do what was asked, as the person or the engine that called it reads it.
///
/// The one place where errors become text: below `bin/` they are values.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) exit_code: u8,
}

/// The exit code of any failure but those of `exec`, which cannot be told from the program's own otherwise.
const FAILED: u8 = 1;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: FAILED }
    }

    /// An error and its causes, on one line. A cause that the error above it quotes is not said twice.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self::new(in_words_of_libc(&message))
    }

    /// A failed file operation, in the words of Go's `PathError`, which engines match: `open /x: no such file or
    /// directory`.
    pub(crate) fn of_path(operation: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(format!("{operation} {}: {}", path.display(), Reason(error)))
    }

    /// Puts what was being done in front of the message.
    pub(crate) fn during(mut self, what: &str) -> Self {
        self.message.insert_str(0, ": ");
        self.message.insert_str(0, what);
        self
    }

    pub(crate) fn with_exit_code(mut self, exit_code: u8) -> Self {
        self.exit_code = exit_code;
        self
    }
}

/// The text of an I/O error in the words of libc and Go.
pub(crate) struct Reason<'a>(pub(crate) &'a std::io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_words_of_libc(&self.0.to_string()))
    }
}

/// Turns `…: No such file or directory (os error 2)`, as Rust has it, into `…: no such file or directory`, which
/// dockerd and podman look for.
fn in_words_of_libc(text: &str) -> String {
    let Some((words, number)) = text.rsplit_once(" (os error ") else { return text.to_owned() };
    let Some((_, rest)) = number.split_once(')') else { return text.to_owned() };
    let start = words.rfind(": ").map_or(0, |colon| colon + 2);
    let (before, reason) = words.split_at(start);
    let mut letters = reason.chars();
    match letters.next() {
        // An acronym, such as in "RPC version wrong", stays.
        Some(first) if !letters.as_str().starts_with(char::is_uppercase) => {
            format!("{before}{}{}{rest}", first.to_ascii_lowercase(), letters.as_str())
        }
        _ => format!("{words}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    #[test]
    fn system_errors_read_as_engines_expect() {
        for (errno, expect) in [
            (2, "open /x: no such file or directory"),
            (13, "open /x: permission denied"),
            (20, "open /x: not a directory"),
            (21, "open /x: is a directory"),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Failure::of_path("open", Path::new("/x"), &error).message, expect);
        }
    }

    #[test]
    fn reasons_inside_a_text_are_rewritten_too() {
        for (text, expect) in [
            (
                "adding pid 7: No such file or directory (os error 2)",
                "adding pid 7: no such file or directory",
            ),
            ("No such process (os error 3), output: x", "no such process, output: x"),
            ("RPC version wrong (os error 99)", "RPC version wrong"),
            ("nothing of the kind", "nothing of the kind"),
            ("cut (os error ", "cut (os error "),
        ] {
            assert_eq!(in_words_of_libc(text), expect);
        }
    }

    #[test]
    fn causes_follow_on_one_line() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("reading the state")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::of(&Outer(io::Error::other("broken"))).during("exec failed");
        assert_eq!(failure.message, "exec failed: reading the state: broken");
    }
}
