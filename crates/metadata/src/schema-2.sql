-- Version 2: what was last heard of processes, and how far each source of events was heard.

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

CREATE TABLE source (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, time INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX source_time ON source (time);
