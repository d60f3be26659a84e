//! Containers as people mean them: images, networks, volumes, logs, health, restarts, over the primitives.
#![forbid(unsafe_code)]
