-- Version 1. Names are text, digests `algorithm:hex`, times nanoseconds since 1970, labels JSON objects.

CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The boot ids under which bytes were made.
CREATE TABLE boot (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

CREATE TABLE namespace (
    name TEXT PRIMARY KEY,
    labels TEXT NOT NULL,
    shared INTEGER NOT NULL -- joined the shared image space
) WITHOUT ROWID;

CREATE TABLE image (
    id INTEGER PRIMARY KEY,
    space TEXT NOT NULL, -- a namespace, or '' for the shared space
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    annotations TEXT NOT NULL,
    labels TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    expires INTEGER,
    writer TEXT NOT NULL, -- the namespace that wrote it last
    UNIQUE (space, name)
);
CREATE INDEX image_target ON image (digest);

CREATE TABLE holder (image INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (image, name)) WITHOUT ROWID;

-- Bytes of content: once for everybody.
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    synced INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blob_unsynced ON blob (boot) WHERE synced = 0;

CREATE TABLE content (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    digest TEXT NOT NULL,
    labels TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    root INTEGER NOT NULL,
    expires INTEGER,
    UNIQUE (namespace, digest)
);
CREATE INDEX content_digest ON content (digest);
CREATE INDEX content_root ON content (id) WHERE root <> 0 OR expires IS NOT NULL;

CREATE TABLE ingest (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- a directory is named after it, and may outlive it
    namespace TEXT NOT NULL,
    ref TEXT NOT NULL,
    expected TEXT,
    total INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    expires INTEGER, -- null: a lease keeps it
    UNIQUE (namespace, ref)
);
CREATE INDEX ingest_expected ON ingest (expected) WHERE expected IS NOT NULL;

-- Bytes of snapshots: chain snapshots once for everybody.
CREATE TABLE snapshot (
    number INTEGER PRIMARY KEY,
    driver TEXT NOT NULL,
    kind INTEGER NOT NULL, -- 1 view, 2 active, 3 committed
    parent INTEGER,
    chain TEXT,
    size INTEGER NOT NULL,
    inodes INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    synced INTEGER NOT NULL
);
CREATE UNIQUE INDEX snapshot_chain ON snapshot (driver, chain) WHERE chain IS NOT NULL;
CREATE INDEX snapshot_unsynced ON snapshot (boot) WHERE synced = 0;

CREATE TABLE snapshot_name (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    driver TEXT NOT NULL,
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    parent INTEGER, -- the id of the parent's name
    labels TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    root INTEGER NOT NULL,
    expires INTEGER,
    used INTEGER, -- containerd.io/gc.cond.value-usedat
    UNIQUE (namespace, driver, key)
);
CREATE INDEX snapshot_name_number ON snapshot_name (number);
CREATE INDEX snapshot_name_parent ON snapshot_name (parent) WHERE parent IS NOT NULL;
CREATE INDEX snapshot_name_root ON snapshot_name (id) WHERE root <> 0 OR expires IS NOT NULL;

CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    flat INTEGER NOT NULL,
    UNIQUE (namespace, name)
);
CREATE INDEX lease_expires ON lease (expires) WHERE expires IS NOT NULL;

CREATE TABLE lease_resource (
    lease INTEGER NOT NULL,
    kind INTEGER NOT NULL, -- node kinds, as in edge
    driver TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (lease, kind, driver, key)
) WITHOUT ROWID;

CREATE TABLE container (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    image TEXT NOT NULL,
    runtime TEXT NOT NULL,
    snapshotter TEXT NOT NULL,
    snapshot_key TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    labels TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    UNIQUE (namespace, name)
);

CREATE TABLE sandbox (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    runtime TEXT NOT NULL,
    sandboxer TEXT NOT NULL,
    labels TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    UNIQUE (namespace, name)
);

-- Values of a type that only their readers know: specs, runtime options and extensions of containers and sandboxes.
CREATE TABLE opaque (
    kind INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    role INTEGER NOT NULL, -- 1 spec, 2 options, 3 extension
    name TEXT NOT NULL,
    type_url TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, owner, role, name)
);

CREATE TABLE mount (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    lease TEXT NOT NULL, -- '' for none
    labels TEXT NOT NULL,
    state TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    UNIQUE (namespace, name)
);

-- References by labels. Kinds: 1 content, 2 snapshot, 3 image, 4 container, 5 sandbox, 6 ingest.
CREATE TABLE edge (
    from_kind INTEGER NOT NULL,
    from_id INTEGER NOT NULL,
    rule INTEGER NOT NULL, -- 1 reference, 2 back reference, 3 used less, 4 used more than `age` ago
    to_kind INTEGER NOT NULL,
    driver TEXT NOT NULL,
    key TEXT NOT NULL,
    age INTEGER NOT NULL,
    space TEXT NOT NULL, -- the namespace, or image space, in which `key` is looked up
    PRIMARY KEY (from_kind, from_id, rule, to_kind, driver, key, age)
) WITHOUT ROWID;
CREATE INDEX edge_back ON edge (to_kind, key, driver, space) WHERE rule = 2;

-- Bytes without a record, until somebody says that they are gone.
CREATE TABLE released (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL, -- 1 blob, 2 snapshot, 3 ingest, 4 mount
    owner TEXT NOT NULL,   -- the driver of a snapshot, the namespace of an ingest or mount
    key TEXT NOT NULL
);
CREATE INDEX released_key ON released (key);

CREATE TABLE event (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    topic TEXT NOT NULL,
    body TEXT NOT NULL,
    value BLOB -- the bytes of a foreign event
);
