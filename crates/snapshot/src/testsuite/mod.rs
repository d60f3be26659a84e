//! Holds any snapshotter against the contract.
