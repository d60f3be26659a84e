//! How much one layer may ask for.

/// What a layer may not exceed; each limit is an error of its own when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the archive, and directories that they imply.
    pub entries: u64,
    /// Bytes of the archive, uncompressed.
    pub archive_bytes: u64,
    /// The size of one file with its holes, in bytes.
    pub file_bytes: u64,
    /// The length of a name or of a link's target, in bytes. More than the kernel's 4,095 is never possible.
    pub path_bytes: usize,
    /// Components of a name.
    pub depth: usize,
    /// The records of one pax header, or one GNU long name, in bytes.
    pub pax_bytes: u64,
    /// Extended attributes of one entry.
    pub xattrs: usize,
    /// One extended attribute's value, in bytes.
    pub xattr_bytes: usize,
    /// Names of one file.
    pub links: u64,
    /// Parts of one sparse file.
    pub sparse_parts: usize,
    /// Memory for the names of directories and of links that are kept until the end, in bytes.
    pub names_bytes: usize,
}

/// Layers of a million files are seen in the wild.
const ENTRIES: u64 = 8_000_000;
/// 1 TiB.
const ARCHIVE_BYTES: u64 = 1 << 40;
/// 4 TiB: a hole costs nothing here, but whoever copies it naively pays.
const FILE_BYTES: u64 = 1 << 42;
/// PATH_MAX without the NUL.
const PATH_BYTES: usize = 4095;
/// What fits into a path of one-letter names.
const DEPTH: usize = 2048;
/// As Go's archive/tar, which reads most layers of this world.
const PAX_BYTES: u64 = 1 << 20;
const XATTRS: usize = 1024;
/// XATTR_SIZE_MAX.
const XATTR_BYTES: usize = 1 << 16;
/// ext4 allows 65,000, XFS 2^31.
const LINKS: u64 = 1_000_000;
const SPARSE_PARTS: usize = 1 << 20;
const NAMES_BYTES: usize = 256 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: ENTRIES,
            archive_bytes: ARCHIVE_BYTES,
            file_bytes: FILE_BYTES,
            path_bytes: PATH_BYTES,
            depth: DEPTH,
            pax_bytes: PAX_BYTES,
            xattrs: XATTRS,
            xattr_bytes: XATTR_BYTES,
            links: LINKS,
            sparse_parts: SPARSE_PARTS,
            names_bytes: NAMES_BYTES,
        }
    }
}
