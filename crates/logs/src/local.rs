//! Records of Docker's `local` driver.

/// A record's length, before and after it.
pub(crate) const LENGTH_BYTES: usize = 4;
