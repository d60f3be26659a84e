//! Entry points of the fuzz targets.

/// The body of a shim's event, by the name of its type.
pub fn shim_event(type_url: &str, value: &[u8]) {
    crate::tasks::fuzz(type_url, value);
}
