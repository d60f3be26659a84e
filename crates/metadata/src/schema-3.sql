-- Version 3: what the engine keeps of its containers, volumes and networks; JSON that only it reads.

CREATE TABLE document (
    kind TEXT NOT NULL, -- container, volume, ...
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
