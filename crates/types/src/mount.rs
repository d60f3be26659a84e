/// A mount that somebody is to make, in the words of mount(8) (containerd's `types.Mount`).
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// The file system's type: `overlay`, `bind`, ….
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// A path beneath the root that it is mounted for; empty for the root itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Options, flags and the file system's own alike.
    #[serde(default)]
    pub options: Vec<String>,
}
