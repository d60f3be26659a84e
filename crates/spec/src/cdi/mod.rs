//! Devices of the Container Device Interface (CDI 1.0.0, SPEC.md): edits that a device makes to a configuration.
/// Edits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits;
pub(crate) fn apply(_spec: &mut gantry_types::oci::Spec, _edits: &Edits) {}
