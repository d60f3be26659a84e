//! The drivers against the contract, mounted for real.

mod conformance;
