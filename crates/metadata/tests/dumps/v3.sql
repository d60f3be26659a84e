-- Version 3, as `.dump` writes it.
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    synced INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO blob VALUES('sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f',8,1,0);
INSERT INTO blob VALUES('sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85',5,1,0);
CREATE TABLE boot (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
INSERT INTO boot VALUES(1,'boot-0');
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
INSERT INTO content VALUES(1,'a','sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85','{}',1795916993020259093,1795916993020259093,0,NULL);
INSERT INTO content VALUES(2,'a','sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f','{"containerd.io/gc.ref.content.l.0":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85"}',1795916993020259093,1795916993020259093,0,NULL);
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
INSERT INTO edge VALUES(1,2,1,1,'','sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85',0,'a');
CREATE TABLE event (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    topic TEXT NOT NULL,
    body TEXT NOT NULL,
    value BLOB -- the bytes of a foreign event
);
INSERT INTO event VALUES(1,1795916993020259093,'a','/content/create','{"content_create":{"digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size":5,"media_type":""}}',NULL);
INSERT INTO event VALUES(2,1795916993020259093,'a','/content/create','{"content_create":{"digest":"sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f","size":8,"media_type":""}}',NULL);
INSERT INTO event VALUES(3,1795916993020259093,'a','/images/create','{"image_create":{"name":"docker.io/library/alpine:latest","labels":{}}}',NULL);
INSERT INTO event VALUES(4,1795916993020259093,'a','/snapshot/prepare','{"snapshot_prepare":{"key":"extract","parent":"","snapshotter":"overlayfs"}}',NULL);
INSERT INTO event VALUES(5,1795916993020259093,'a','/snapshot/commit','{"snapshot_commit":{"key":"extract","name":"sha256:9414886b1ebf025db067a4cbd13a0903fbd9733a5372bba1b58bd72c1699b798","snapshotter":"overlayfs"}}',NULL);
CREATE TABLE holder (image INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (image, name)) WITHOUT ROWID;
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
INSERT INTO image VALUES(1,'a','docker.io/library/alpine:latest','application/vnd.oci.image.manifest.v1+json','sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f',8,'{}','{}',1795916993020259093,1795916993020259093,NULL,'a');
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
INSERT INTO lease VALUES(1,'a','lease','{"containerd.io/gc.expire":"2027-01-01T00:00:00Z"}',1795916993020259093,1798761600000000000,0);
CREATE TABLE lease_resource (
    lease INTEGER NOT NULL,
    kind INTEGER NOT NULL, -- node kinds, as in edge
    driver TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (lease, kind, driver, key)
) WITHOUT ROWID;
INSERT INTO lease_resource VALUES(1,1,'','sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85');
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
CREATE TABLE namespace (
    name TEXT PRIMARY KEY,
    labels TEXT NOT NULL,
    shared INTEGER NOT NULL -- joined the shared image space
) WITHOUT ROWID;
INSERT INTO namespace VALUES('a','{}',0);
CREATE TABLE opaque (
    kind INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    role INTEGER NOT NULL, -- 1 spec, 2 options, 3 extension
    name TEXT NOT NULL,
    type_url TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, owner, role, name)
);
CREATE TABLE released (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL, -- 1 blob, 2 snapshot, 3 ingest, 4 mount
    owner TEXT NOT NULL,   -- the driver of a snapshot, the namespace of an ingest or mount
    key TEXT NOT NULL
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
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO setting VALUES('clean','1');
INSERT INTO setting VALUES('snapshot_number','1');
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
INSERT INTO snapshot VALUES(1,'overlayfs',3,NULL,'sha256:9414886b1ebf025db067a4cbd13a0903fbd9733a5372bba1b58bd72c1699b798',0,0,1,0);
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
INSERT INTO snapshot_name VALUES(1,'a','overlayfs','sha256:9414886b1ebf025db067a4cbd13a0903fbd9733a5372bba1b58bd72c1699b798',1,NULL,'{}',1795916993020259093,1795916993020259093,0,NULL,NULL);
CREATE TABLE task (
    namespace TEXT NOT NULL,
    container TEXT NOT NULL,
    exec TEXT NOT NULL, -- '' for the first process
    pid INTEGER NOT NULL,
    state INTEGER NOT NULL, -- 1 created, 2 running, 3 paused, 4 stopped
    exit_status INTEGER NOT NULL,
    exited INTEGER,
    cause BLOB NOT NULL, -- why it ended, in its shim's words
    boot INTEGER NOT NULL,
    PRIMARY KEY (namespace, container, exec)
) WITHOUT ROWID;
INSERT INTO task VALUES('a','c','',42,4,137,1795916993020259093,X'776879',1);
INSERT INTO task VALUES('a','c','e',43,2,0,NULL,X'',1);
CREATE TABLE source (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, time INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO source VALUES('pod',7,1795916993020259093);
CREATE TABLE document (
    kind TEXT NOT NULL, -- container, volume, ...
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
INSERT INTO document VALUES('volume','data',X'7b7d');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('event',5);
CREATE INDEX image_target ON image (digest);
CREATE INDEX blob_unsynced ON blob (boot) WHERE synced = 0;
CREATE INDEX content_digest ON content (digest);
CREATE INDEX content_root ON content (id) WHERE root <> 0 OR expires IS NOT NULL;
CREATE INDEX ingest_expected ON ingest (expected) WHERE expected IS NOT NULL;
CREATE UNIQUE INDEX snapshot_chain ON snapshot (driver, chain) WHERE chain IS NOT NULL;
CREATE INDEX snapshot_unsynced ON snapshot (boot) WHERE synced = 0;
CREATE INDEX snapshot_name_number ON snapshot_name (number);
CREATE INDEX snapshot_name_parent ON snapshot_name (parent) WHERE parent IS NOT NULL;
CREATE INDEX snapshot_name_root ON snapshot_name (id) WHERE root <> 0 OR expires IS NOT NULL;
CREATE INDEX lease_expires ON lease (expires) WHERE expires IS NOT NULL;
CREATE INDEX edge_back ON edge (to_kind, key, driver, space) WHERE rule = 2;
CREATE INDEX released_key ON released (key);
CREATE INDEX source_time ON source (time);
COMMIT;
