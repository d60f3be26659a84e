use rustix::io::Errno;

use crate::failure::Failure;

/// Writes to standard output at once, without a buffer to set up and to flush.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Failure::of_path("write", "/dev/stdout".as_ref(), &errno.into()));
            }
        }
    }
    Ok(())
}
