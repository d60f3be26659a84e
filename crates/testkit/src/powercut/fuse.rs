//! The kernel's requests, put to the tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;

use super::bytes::Bytes;
use super::host::Shared;
use super::tree::{Attributes, Body, ROOT, Tree};

/// How long the kernel may believe what it was told. Nobody else changes anything.
const TTL: Duration = Duration::from_secs(3600);

/// What readdir(2) goes through, as it was at the beginning: number, type, name.
type Listing = Vec<(u64, FileType, OsString)>;

/// Answers for one mount.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    listings: Mutex<(u64, HashMap<u64, Listing>)>,
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, listings: Mutex::default() }
    }

    fn create(
        &self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        mode: u32,
        body: Body,
    ) -> Result<FileAttr, fuser::Errno> {
        let attributes = Attributes::new(mode & 0o7777, request.uid(), request.gid());
        let mut tree = self.shared.tree();
        let number = tree.create(parent.0, name, attributes, body).map_err(errno)?;
        attr(&tree, number)
    }

    fn list(&self, directory: u64) -> Result<Listing, fuser::Errno> {
        let tree = self.shared.tree();
        let mut listing =
            vec![(directory, FileType::Directory, ".".into()), (ROOT, FileType::Directory, "..".into())];
        for (name, number) in tree.entries(directory).map_err(errno)? {
            listing.push((*number, file_type(&tree.node(*number).map_err(errno)?.body), name.clone()));
        }
        Ok(listing)
    }
}

fn errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

fn file_type(body: &Body) -> FileType {
    use rustix::fs::FileType as Kind;

    match body {
        Body::File(_) => FileType::RegularFile,
        Body::Directory(_) => FileType::Directory,
        Body::Link(_) => FileType::Symlink,
        Body::Special(mode, _) => match Kind::from_raw_mode(*mode) {
            Kind::CharacterDevice => FileType::CharDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::Socket => FileType::Socket,
            _ => FileType::NamedPipe,
        },
    }
}

fn attr(tree: &Tree, number: u64) -> Result<FileAttr, fuser::Errno> {
    let node = tree.node(number).map_err(errno)?;
    let (size, blocks) = match &node.body {
        Body::File(bytes) => (bytes.size(), bytes.blocks()),
        Body::Directory(_) => (4096, 8),
        Body::Link(target) => (target.len() as u64, 0),
        Body::Special(..) => (0, 0),
    };
    let attributes = &node.attributes;
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks,
        atime: attributes.atime,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(&node.body),
        perm: u16::try_from(attributes.mode & 0o7777).unwrap_or(0),
        // As btrfs does: nobody counts subdirectories by it.
        nlink: if matches!(node.body, Body::Directory(_)) { 1 } else { node.links },
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: if let Body::Special(_, device) = node.body { device } else { 0 },
        blksize: 4096,
        flags: 0,
    })
}

fn entry(result: Result<FileAttr, fuser::Errno>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn xattr(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Err(error) => reply.error(errno(error)),
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(fuser::Errno::ERANGE),
        Ok(value) => reply.data(&value),
    }
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.shared.tree();
        entry(tree.lookup(parent.0, name).map_err(errno).and_then(|number| attr(&tree, number)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attr(&self.shared.tree(), ino.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.shared.tree();
        let mut change = || -> Result<(), Errno> {
            if let Some(size) = size {
                tree.bytes_mut(ino.0)?.resize(size);
            }
            let attributes = &mut tree.node_mut(ino.0)?.attributes;
            attributes.mode = mode.map_or(attributes.mode, |mode| mode & 0o7777);
            attributes.uid = uid.unwrap_or(attributes.uid);
            attributes.gid = gid.unwrap_or(attributes.gid);
            attributes.atime = atime.map_or(attributes.atime, time);
            attributes.mtime = mtime.map_or(attributes.mtime, time);
            attributes.ctime = ctime.unwrap_or_else(SystemTime::now);
            Ok(())
        };
        let changed = change();
        match changed.map_err(errno).and_then(|()| attr(&tree, ino.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.shared.tree().node(ino.0).map(|node| &node.body) {
            Ok(Body::Link(target)) => reply.data(target),
            Ok(_) => reply.error(fuser::Errno::EINVAL),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        const TYPE: u32 = 0o170_000;
        const REGULAR: u32 = 0o100_000;
        let kind = mode & TYPE;
        let body = if matches!(kind, 0 | REGULAR) {
            Body::File(Bytes::default())
        } else {
            Body::Special(kind, rdev)
        };
        entry(self.create(request, (parent, name), mode, body), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        entry(self.create(request, (parent, name), mode, Body::Directory(BTreeMap::new())), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.shared.tree().unlink(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.shared.tree().rmdir(parent.0, name), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let body = Body::Link(target.as_os_str().as_bytes().to_vec());
        entry(self.create(request, (parent, name), 0o777, body), reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        let mut tree = self.shared.tree();
        let result = if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            tree.exchange(from, to)
        } else {
            let whiteout = flags
                .contains(RenameFlags::RENAME_WHITEOUT)
                .then(|| Attributes::new(0, request.uid(), request.gid()));
            tree.rename(from, to, flags.contains(RenameFlags::RENAME_NOREPLACE), whiteout)
        };
        done(result, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let mut tree = self.shared.tree();
        let linked = tree.link(ino.0, newparent.0, newname).map_err(errno);
        entry(linked.and_then(|()| attr(&tree, ino.0)), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match Self::create(self, request, (parent, name), mode, Body::File(Bytes::default())) {
            Ok(attr) => {
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.shared.tree().bytes(ino.0) {
            Ok(bytes) => reply.data(&bytes.read(offset, size as usize)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.shared.tree().bytes_mut(ino.0) {
            Ok(bytes) => {
                bytes.write(offset, data);
                reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(self.shared.sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(self.shared.sync(ino.0), reply);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.0 += 1;
        reply.opened(FileHandle(listings.0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            match self.list(ino.0) {
                Ok(listing) => listings.1.insert(fh.0, listing),
                Err(error) => return reply.error(error),
            };
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let listing = listings.1.get(&fh.0).map_or(&[][..], Vec::as_slice);
        for (index, (number, kind, name)) in listing.iter().enumerate().skip(start) {
            if reply.add(INodeNo(*number), index as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 1 << 24;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        const CREATE: i32 = 1;
        const REPLACE: i32 = 2;
        let mut tree = self.shared.tree();
        let set = |tree: &mut Tree| -> Result<(), Errno> {
            let xattrs = &mut tree.node_mut(ino.0)?.attributes.xattrs;
            match (flags, xattrs.contains_key(name)) {
                (CREATE, true) => return Err(Errno::EXIST),
                (REPLACE, false) => return Err(Errno::NODATA),
                _ => {}
            }
            xattrs.insert(name.to_owned(), value.to_vec());
            Ok(())
        };
        done(set(&mut tree), reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let tree = self.shared.tree();
        let value =
            tree.node(ino.0).and_then(|node| node.attributes.xattrs.get(name).cloned().ok_or(Errno::NODATA));
        xattr(value, size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let tree = self.shared.tree();
        let names = tree.node(ino.0).map(|node| {
            let names = node.attributes.xattrs.keys();
            names.flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect()
        });
        xattr(names, size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut tree = self.shared.tree();
        let node = tree.node_mut(ino.0);
        let removed = node.and_then(|node| node.attributes.xattrs.remove(name).ok_or(Errno::NODATA));
        done(removed.map(drop), reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const KEEP_SIZE: i32 = 1;
        const PUNCH_HOLE: i32 = 2;
        const ZERO_RANGE: i32 = 16;
        let mut tree = self.shared.tree();
        let allocate = |tree: &mut Tree| -> Result<(), Errno> {
            if mode & !(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE) != 0 {
                return Err(Errno::OPNOTSUPP);
            }
            let bytes = tree.bytes_mut(ino.0)?;
            if mode & (PUNCH_HOLE | ZERO_RANGE) != 0 {
                bytes.punch(offset, length);
            }
            if mode & KEEP_SIZE == 0 {
                bytes.resize(bytes.size().max(offset + length));
            }
            Ok(())
        };
        done(allocate(&mut tree), reply);
    }
}
