//! Archives made by hand, well formed or not.

use std::fmt::Write;

/// One header and its data.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) block: [u8; 512],
    pub(crate) data: Vec<u8>,
    before: Vec<u8>,
}

fn octal(field: &mut [u8], number: u64) {
    let width = field.len() - 1;
    field[..width].copy_from_slice(format!("{number:0width$o}").as_bytes());
    field[width] = 0;
}

impl Item {
    pub(crate) fn new(flag: u8, path: &str) -> Self {
        let mut block = [0; 512];
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[156] = flag;
        let mut item =
            Item { block, data: Vec::new(), before: Vec::new() }.mode(0o644).owner(0, 0).mtime(1000);
        octal(&mut item.block[124..136], 0);
        item.path(path.as_bytes())
    }

    pub(crate) fn file(path: &str, data: &[u8]) -> Self {
        Self::new(b'0', path).data(data)
    }

    pub(crate) fn dir(path: &str) -> Self {
        Self::new(b'5', path).mode(0o755)
    }

    pub(crate) fn symlink(path: &str, target: &str) -> Self {
        Self::new(b'2', path).link(target)
    }

    pub(crate) fn hard_link(path: &str, target: &str) -> Self {
        Self::new(b'1', path).link(target)
    }

    pub(crate) fn device(path: &str, flag: u8, major: u64, minor: u64) -> Self {
        let mut item = Self::new(flag, path);
        octal(&mut item.block[329..337], major);
        octal(&mut item.block[337..345], minor);
        item
    }

    /// A name of any length: a long one gets a pax header.
    pub(crate) fn path(mut self, path: &[u8]) -> Self {
        self.block[..100].fill(0);
        let short = path.len().min(100);
        self.block[..short].copy_from_slice(&path[..short]);
        if path.len() > 100 { self.pax(&[("path", path)]) } else { self }
    }

    pub(crate) fn link(mut self, target: &str) -> Self {
        self.block[157..257].fill(0);
        let short = target.len().min(100);
        self.block[157..157 + short].copy_from_slice(&target.as_bytes()[..short]);
        if target.len() > 100 { self.pax(&[("linkpath", target.as_bytes())]) } else { self }
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self.size(data.len() as u64)
    }

    /// The size that the header claims.
    pub(crate) fn size(mut self, size: u64) -> Self {
        octal(&mut self.block[124..136], size);
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        octal(&mut self.block[100..108], u64::from(mode));
        self
    }

    pub(crate) fn owner(mut self, uid: u32, gid: u32) -> Self {
        octal(&mut self.block[108..116], u64::from(uid) & 0o7_777_777);
        octal(&mut self.block[116..124], u64::from(gid) & 0o7_777_777);
        self
    }

    pub(crate) fn mtime(mut self, seconds: u64) -> Self {
        octal(&mut self.block[136..148], seconds);
        self
    }

    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            bytes.extend(pax_record(key, value));
        }
        self.before.extend(Item::file("PaxHeaders/x", &bytes).flag(b'x').bytes());
        self
    }

    pub(crate) fn xattr(self, name: &str, value: &[u8]) -> Self {
        self.pax(&[(&format!("SCHILY.xattr.{name}"), value)])
    }

    /// A GNU long name or link.
    pub(crate) fn gnu(mut self, flag: u8, text: &[u8]) -> Self {
        let text = [text, b"\0"].concat();
        self.before.extend(Item::file("././@LongLink", &text).flag(flag).bytes());
        self
    }

    pub(crate) fn before(mut self, item: &Item) -> Self {
        self.before.extend(item.bytes());
        self
    }

    pub(crate) fn flag(mut self, flag: u8) -> Self {
        self.block[156] = flag;
        self
    }

    pub(crate) fn field(mut self, at: usize, bytes: &[u8]) -> Self {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut block = self.block;
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut block[148..155], sum);
        let mut bytes = self.before.clone();
        bytes.extend(block);
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

pub(crate) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    let mut head = String::new();
    write!(head, "{length} {key}=").unwrap();
    [head.as_bytes(), value, b"\n"].concat()
}

/// An archive of these, with its end.
pub(crate) fn archive(items: &[Item]) -> Vec<u8> {
    let mut bytes: Vec<u8> = items.iter().flat_map(Item::bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}
