use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use gantry_testkit::{Need, require};
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};

use super::*;

/// A layer in the making.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// An entry with a name that the tar crate would not write itself.
    fn entry(mut self, path: &str, kind: EntryType, mode: u32, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1000);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(u32::from(link != "zero")).unwrap();
            header.set_device_minor(0).unwrap();
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, path: &str, data: &str) -> Self {
        self.entry(path, EntryType::Regular, 0o644, "", data.as_bytes())
    }

    fn directory(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, 0o755, "", b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, 0o777, target, b"")
    }

    /// Unpacks it below a directory that has a neighbour.
    fn unpack(self) -> (tempfile::TempDir, Result<()>) {
        let bytes = self.0.into_inner().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::write(dir.path().join("outside"), "untouched").unwrap();
        let result = unpack(Hashed::new(&*bytes), &dir.path().join("root"), &digest(&bytes));
        assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        (dir, result)
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::try_from(format!("sha256:{hex}")).unwrap()
}

#[test]
fn entries_get_their_owners_modes_and_times() {
    require!(Need::Root);
    let layer = Layer::new()
        .directory("./")
        .entry("bin/", EntryType::Directory, 0o1755, "", b"")
        .entry("bin/su", EntryType::Regular, 0o4755, "", b"#!")
        .entry("bin/hard", EntryType::Link, 0, "bin/su", b"")
        .link("bin/soft", "/bin/su")
        .entry("fifo", EntryType::Fifo, 0o600, "", b"")
        .file("made/on/the/way", "x");
    let (dir, result) = layer.unpack();
    result.unwrap();
    let root = dir.path().join("root");
    let su = fs::metadata(root.join("bin/su")).unwrap();
    assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777, su.mtime()), (7, 8, 0o4755, 1000));
    assert_eq!(su.ino(), fs::metadata(root.join("bin/hard")).unwrap().ino());
    let bin = fs::metadata(root.join("bin")).unwrap();
    assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o1755, 1000));
    let soft = fs::symlink_metadata(root.join("bin/soft")).unwrap();
    assert_eq!((soft.uid(), soft.mtime()), (7, 1000));
    assert!(fs::metadata(root.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(root.join("made/on")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn later_entries_take_the_place_of_earlier_ones() {
    require!(Need::Root);
    let layer = Layer::new()
        .file("a", "1")
        .file("a", "2")
        .link("b", "a")
        .file("b", "3")
        .link("c", "a")
        .directory("c/");
    let (dir, result) = layer.unpack();
    result.unwrap();
    let text = |name: &str| fs::read_to_string(dir.path().join("root").join(name)).unwrap();
    assert_eq!((text("a").as_str(), text("b").as_str()), ("2", "3"));
    assert!(fs::symlink_metadata(dir.path().join("root/c")).unwrap().is_dir());
}

#[test]
fn white_outs_become_overlayfs_ones() {
    require!(Need::Root);
    let layer = Layer::new()
        .directory("d/")
        .file("d/.wh..wh..opq", "")
        .file("d/.wh.gone", "")
        .file("d/.wh...", "")
        .file("d/.wh..wh.plnk", "")
        .file("d/.wh.", "")
        .file("here", "x")
        .file(".wh.here", "");
    let (dir, result) = layer.unpack();
    result.unwrap();
    let root = dir.path().join("root");
    let gone = fs::symlink_metadata(root.join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(root.join("d"), c"trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(root.join("here")).unwrap(), "x");
}

#[test]
fn links_lead_nowhere_but_into_the_layer() {
    require!(Need::Root);
    let layers = [
        Layer::new().link("up", "..").file("up/outside", "x"),
        Layer::new().link("up", "../../..").link("more", "up/..").file("more/outside", "x"),
        Layer::new().link("outside", "../outside").file("outside", "x"),
        Layer::new().link("here", "../outside").entry("here", EntryType::Regular, 0o4777, "", b"x"),
        Layer::new().link("up", "..").file("up/.wh.outside", ""),
        Layer::new().link("up", "..").entry("up/outside", EntryType::Directory, 0o777, "", b""),
    ];
    for layer in layers {
        let (dir, result) = layer.unpack();
        result.unwrap();
        assert!(
            fs::symlink_metadata(dir.path().join("root/outside")).is_ok()
                || dir.path().join("root/here").exists()
        );
    }
}

#[test]
fn paths_and_links_out_of_the_layer_are_refused() {
    require!(Need::Root);
    let layers = [
        Layer::new().file("../outside", "x"),
        Layer::new().file("a/../../outside", "x"),
        Layer::new().entry("hard", EntryType::Link, 0, "../outside", b""),
        Layer::new().link("up", "..").entry("hard", EntryType::Link, 0, "up/outside", b""),
        Layer::new().entry("hidden", EntryType::Char, 0o600, "zero", b""),
    ];
    for layer in layers {
        assert!(layer.unpack().1.is_err());
    }
}

#[test]
fn absolute_paths_are_the_layers_own() {
    require!(Need::Root);
    let (dir, result) = Layer::new().file("/etc/passwd", "x").unpack();
    result.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("root/etc/passwd")).unwrap(), "x");
}

#[test]
fn images_may_not_give_overlayfs_orders() {
    require!(Need::Root);
    let mut builder = Builder::new(Vec::new());
    let records = [
        ("SCHILY.xattr.trusted.overlay.redirect", &b"/etc"[..]),
        ("SCHILY.xattr.security.capability", &b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
    ];
    builder.append_pax_extensions(records).unwrap();
    let mut header = Header::new_ustar();
    header.set_path("file").unwrap();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    let (dir, result) = Layer(builder).unpack();
    result.unwrap();
    let file = dir.path().join("root/file");
    let mut value = [0; 64];
    assert_eq!(rustix::fs::getxattr(&file, c"trusted.overlay.redirect", &mut value), Err(Errno::NODATA));
    assert_eq!(rustix::fs::getxattr(&file, c"security.capability", &mut value), Ok(20));
}

#[test]
fn layer_of_another_digest_is_refused() {
    let bytes = Layer::new().0.into_inner().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = unpack(Hashed::new(&*bytes), dir.path(), &digest(b"other")).unwrap_err();
    assert!(error.to_string().contains("is promised"), "{error}");
}
