//! Standard output, whose reader may leave.

use std::io::{self, Write as _};
use std::process::exit;

/// What a shell says of a program that SIGPIPE ended.
const PIPE_STATUS: i32 = 141;

/// Prints a text as it is.
pub(crate) fn print(text: &str) {
    write(text.as_bytes());
}

/// Prints a line.
pub(crate) fn line(text: impl AsRef<str>) {
    print(&format!("{}\n", text.as_ref()));
}

/// Prints bytes.
pub(crate) fn write(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        // Nobody reads: a program of the shell ends here, too.
        exit(PIPE_STATUS);
    }
}

/// Prints a line for a person, beside the output.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}
