//! The types of Docker's Engine API, for the door and the command line.
#![forbid(unsafe_code)]
