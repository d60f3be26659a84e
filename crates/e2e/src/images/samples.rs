use std::process::Command;
use std::sync::OnceLock;

use super::layer::{Compression, Layer};
use super::layout::{Image, Layout};

/// The layout of all sample images, by tag:
///
/// | tag | what it is |
/// |---|---|
/// | `busybox` | a root with applets that runs; two layers, gzip |
/// | `everything` | what a layer can hold, over five layers of each compression; `everything-gzip` in one |
/// | `links` | hard links to files of layers below, which containerd refuses to unpack |
/// | `plain`, `zstd` | `busybox` in another compression |
/// | `multi` | an index of amd64, arm/v7 and arm64 |
/// | `large` | eight layers of 6 MB that do not compress |
#[derive(Debug)]
pub struct Samples {
    /// Where they are.
    pub layout: Layout,
    /// The image `everything`.
    pub everything: Image,
}

/// The sizes of the image `large`.
const LARGE: (u64, usize) = (8, 6 << 20);

/// The samples of this test process, made when they are first asked for.
pub fn samples() -> &'static Samples {
    static SAMPLES: OnceLock<Samples> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let mut layout = Layout::new(&dir);
        for (tag, compression) in
            [("busybox", Compression::Gzip), ("plain", Compression::None), ("zstd", Compression::Zstd)]
        {
            layout.add(tag, &busybox(compression));
        }
        let everything = everything();
        layout.add("everything", &everything);
        layout.add("links", &links());
        layout.add("everything-gzip", &everything.in_one(Compression::Gzip));
        let platform = |architecture: &'static str, variant| {
            let layer = Layer::new().file("platform", 0o644, format!("{architecture}{variant:?}"));
            Image::new([(layer.bytes(), Compression::Gzip)]).of_platform(architecture, variant)
        };
        let (arm7, arm64) = (platform("arm", Some("v7")), platform("arm64", Some("v8")));
        layout.add_index("multi", &[arm7, busybox(Compression::Gzip), arm64]);
        let layers = (0..LARGE.0).map(|seed| {
            let layer = Layer::new().file(&format!("noise{seed}"), 0o644, noise(seed, LARGE.1));
            (layer.bytes(), Compression::Gzip)
        });
        layout.add("large", &Image::new(layers));
        Samples { layout, everything }
    })
}

/// Debian's static busybox with links for its applets.
fn busybox(compression: Compression) -> Image {
    let program = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let list = Command::new("/bin/busybox").arg("--list").output().expect("busybox runs").stdout;
    let list = String::from_utf8_lossy(&list).into_owned();
    let mut base = Layer::new();
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "var"] {
        base = base.directory(directory, 0o755);
    }
    base = base.directory("tmp", 0o1777).file("bin/busybox", 0o755, program);
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        base = base.symlink(&format!("bin/{applet}"), "busybox");
    }
    let second = Layer::new().file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n").file(
        "etc/layer",
        0o644,
        "of the second layer\n",
    );
    Image::new([(base.bytes(), compression), (second.bytes(), compression)])
}

/// Every kind of entry and of change that a layer can hold.
fn everything() -> Image {
    let long = format!("long/{}/{}", "d".repeat(120), "n".repeat(200));
    let base = Layer::new()
        .directory("etc", 0o755)
        .file("etc/kept", 0o644, "kept\n")
        .file("etc/gone", 0o644, "gone\n")
        .file("etc/changed", 0o600, "before\n")
        .directory("opaque", 0o755)
        .file("opaque/below", 0o644, "below\n")
        .directory("opaque/deep", 0o700)
        .file("opaque/deep/below", 0o644, "below\n")
        .directory("directory", 0o2775)
        .file("directory/of-it", 0o644, "of it\n")
        .file("file", 0o644, "a file\n")
        .directory("removed", 0o755)
        .file("removed/inside", 0o644, "inside\n");
    let kinds = Layer::new()
        .directory("kinds", 0o1777)
        .file("kinds/setuid", 0o4755, "setuid\n")
        .file("kinds/empty", 0o000, "")
        .link("kinds/hard", "kinds/setuid", 0o4755)
        .symlink("kinds/absolute", "/etc/kept")
        .symlink("kinds/dangling", "../../no/such")
        .symlink("kinds/loop", "loop")
        .fifo("kinds/fifo", 0o640)
        .character_device("kinds/null", 0o666, 1, 3)
        .owner(1000, 2000)
        .file("kinds/owned", 0o640, "owned\n")
        .directory("kinds/owned-directory", 0o750)
        .owner(3_000_000, 3_000_001)
        .file("kinds/owned-by-far", 0o604, "far\n");
    // cap_net_raw=ep, revision 2.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let attributes = Layer::new()
        .attribute("user.colour", b"blue")
        .attribute("user.binary", &[0, 1, 255, b'=', b'\n'])
        .file("attributes", 0o644, "attributes\n")
        .attribute("security.capability", &capability)
        .file("capable", 0o755, "capable\n")
        .attribute("user.of", b"a directory")
        .directory("attributed", 0o711)
        .file(&long, 0o644, "long\n")
        .pax("path", &format!("{long}-by-pax"))
        .file("short", 0o644, "long by pax\n")
        .pax("mtime", "1600000000.123456789")
        .file("moment", 0o644, "moment\n")
        .file("ünïcode ☃", 0o644, "unicode\n")
        .file("zeroes", 0o644, vec![0; 1 << 20]);
    let changes = Layer::new()
        .whiteout("etc", "gone")
        .file("etc/changed", 0o640, "after\n")
        // The mark after what it does not mean.
        .directory("opaque", 0o711)
        .file("opaque/above", 0o644, "above\n")
        .opaque("opaque")
        .file("directory", 0o644, "a file now\n")
        .directory("file", 0o755)
        .file("file/inside", 0o644, "a directory now\n")
        .whiteout(".", "removed")
        .file("implied/by/this", 0o644, "no entry for what leads here\n");
    let again = Layer::new()
        .file("etc/gone", 0o644, "back\n")
        .directory("removed", 0o700)
        .file("removed/other", 0o644, "other\n")
        .file("opaque/deep", 0o644, "what was a directory\n");
    Image::new([
        (base.bytes(), Compression::Gzip),
        (kinds.bytes(), Compression::None),
        (attributes.bytes(), Compression::Zstd),
        (changes.bytes(), Compression::Gzip),
        (again.bytes(), Compression::Zstd),
    ])
}

/// Hard links to files of layers below.
fn links() -> Image {
    let base = Layer::new()
        .directory("etc", 0o755)
        .file("etc/kept", 0o640, "kept\n")
        .attribute("user.colour", b"blue")
        .owner(7, 8)
        .file("etc/attributed", 0o604, "attributed\n");
    let above = Layer::new()
        .link("hard", "etc/kept", 0o640)
        .link("etc/hard", "etc/attributed", 0o604)
        .directory("deep", 0o711)
        .link("deep/hard", "/etc/kept", 0o640);
    Image::new([(base.bytes(), Compression::Gzip), (above.bytes(), Compression::Gzip)])
}

/// Bytes that do not compress, the same each time: splitmix64.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
