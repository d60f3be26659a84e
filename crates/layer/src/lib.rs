//! Applies and makes tar layers.
#![forbid(unsafe_code)]
