//! The documentation of the keys, from the keys themselves.

use std::fmt::Write as _;

use crate::Config;
use crate::containerd::counterparts;
use crate::document::dotted;
use crate::section::Section;

const BEFORE: &str = "\
# The configuration of gantryd

`gantryd --config FILE` reads TOML; without `--config`, `/etc/gantry/config.toml` if it exists. `gantryd config dump` prints every key with
its value. What is wrong in a file is said with its line and with what is allowed there; an unknown key is an error.

`imports = [\"conf.d/*.toml\"]` names more files, beside this one unless they begin with a slash; each overrides those before it. `*` stands
for anything within a name.

A file with `version = 2`, 3 or 4 is taken for containerd's: keys that have a counterpart (below) count, the log names all others as ignored.
Of the tables of this page it may have `[runtimes.NAME]` and `[proxy_plugins.NAME]`. All others that containerd does not have, such as
`[tasks]`, `[docker]` or `[limits.events]`, are ignored in it, too: they belong into a file without `version`, which it may name in `imports`.

`/etc/docker/daemon.json` is read as it is where Docker's API is served (`[docker]`): a key that dockerd does not know is an error, the log
names those that have no counterpart, and `authorization-plugins` is refused, since no plugin is asked. What `[docker]` gives goes before it.

Sizes are bytes, as a number or as a text such as \"4MiB\". Durations are texts such as \"1m30s\".

This page is made from the source; a test of `gantry-config` compares it, and writes it with `GANTRY_UPDATE_DOCS=1`.
";

const PROXY: &str = "
## `[proxy_plugins.NAME]`

A snapshotter that is reached over gRPC, by the name NAME.

| key | value | default | |
|---|---|---|---|
| `type` | \"snapshot\" | required | what it is |
| `address` | an absolute path | required | its socket |
| `platform` | a text | none | the platform that it is for |
| `exports` | a table of texts | none | told to whoever asks for the list of plugins |
| `capabilities` | a list of texts | `[]` | such as `rebase`: layers may be unpacked in any order |
";

const COUNTERPARTS: &str = "
## containerd's keys

| containerd | here |
|---|---|
";

impl Config {
    /// Every key, its values and default, in Markdown.
    pub fn reference() -> String {
        let mut out = String::from(BEFORE);
        let defaults = Self::default();
        for (path, section) in defaults.sections() {
            let title = if path.is_empty() {
                "Above the first table".into()
            } else {
                format!("`[{}]`", dotted(path))
            };
            let _ = writeln!(out, "\n## {title}\n");
            if !path.is_empty() {
                let _ = writeln!(out, "{}\n", section.about().concat().trim());
            }
            keys(&mut out, section);
        }
        out.push_str(PROXY);
        let runtime = crate::Runtime::default();
        let _ = writeln!(out, "\n## `[runtimes.NAME]`\n\n{}\n", runtime.about().concat().trim());
        keys(&mut out, &runtime);
        out.push_str(COUNTERPARTS);
        for (theirs, (table, key)) in counterparts() {
            let ours = dotted(&[table, &[key][..]].concat());
            let _ = writeln!(out, "| `{}` | `{ours}` |", dotted(theirs));
        }
        out.push_str("| `proxy_plugins` of the type `snapshot` | `proxy_plugins` |\n");
        out
    }
}

/// The table of a section's keys.
fn keys(out: &mut String, section: &dyn Section) {
    out.push_str("| key | value | default | |\n|---|---|---|---|\n");
    for (key, value) in section.keys().iter().zip(section.values()) {
        let default = value.map_or("none".into(), |value| format!("`{value}`"));
        let about = key.about.concat();
        let _ = writeln!(out, "| `{}` | {} | {default} | {} |", key.name, key.allowed, about.trim());
    }
}
