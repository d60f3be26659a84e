//! `gantryd repair`: a new database for a root whose own is damaged. docs/gantryd-repair.md.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result, ensure};
use gantry_primitives::{Finding, Repair, Report};

use crate::command::{Consent, Options};
use crate::serve::place::Place;
use crate::serve::settings::Settings;

/// Records of one kind and fate that are named one by one.
const NAMED: usize = 20;

/// Says what can be kept, and with consent does it.
pub(crate) fn repair(options: &Options, consent: Consent) -> Result<()> {
    let settings = Settings::load(options)?;
    let root = &settings.config.store.root;
    ensure!(root.is_dir(), "there is no root at {}", root.display());
    let _lock = Place::hold(root)?;
    let repair = Repair::prepare(root, None).with_context(|| format!("cannot repair {}", root.display()))?;
    let mut out = io::stdout().lock();
    tell(repair.report(), &mut out).context("cannot write to standard output")?;
    if consent == Consent::Wanting {
        writeln!(
            out,
            "Nothing was changed: `gantryd repair --yes` does it, and keeps the damaged files aside."
        )?;
        return Ok(());
    }
    let again = !repair.report().lost.is_empty() || !repair.report().incomplete.is_empty();
    match repair.install().with_context(|| format!("cannot repair {}", root.display()))? {
        Some(aside) => writeln!(out, "Done. The damaged database is {}.", aside.display())?,
        None => writeln!(out, "Done. There was no database.")?,
    }
    let next = if again { " Then pull the images again of which anything is lost." } else { "" };
    writeln!(out, "Start gantryd: it removes bytes that nothing names.{next}")?;
    Ok(())
}

fn tell(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if !report.found {
        writeln!(out, "Of the database nothing can be read.")?;
    } else if report.schema_lost {
        writeln!(out, "Its first pages are lost, and were taken from a new database.")?;
    }
    if !report.damaged.is_empty() {
        let tables: Vec<&str> = report.damaged.iter().map(String::as_str).collect();
        writeln!(out, "Damaged tables: {}.", tables.join(", "))?;
    } else if report.found {
        writeln!(out, "Every row of it can be read.")?;
    }
    if report.misfits > 0 {
        writeln!(out, "Rows that are none of ours, and are dropped: {}.", report.misfits)?;
    }
    let kept: Vec<String> = report.kept.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(out, "The new database has {}.", kept.join(", "))?;
    for (title, findings) in
        [("Made again", &report.rebuilt), ("Not whole", &report.incomplete), ("Lost", &report.lost)]
    {
        tell_findings(title, findings, out)?;
    }
    if report.unnamed_blobs > 0 {
        let count = report.unnamed_blobs;
        writeln!(out, "Blobs on the disk that nothing names, which go at the next start: {count}.")?;
    }
    if !report.unnamed_directories.is_empty() {
        let shown = report.unnamed_directories.iter().take(NAMED);
        let shown: Vec<String> =
            shown.map(|(driver, number)| format!("snapshots/{driver}/{number}")).collect();
        let more = more(report.unnamed_directories.len());
        writeln!(
            out,
            "Directories of snapshots that nothing names, which go at the next start: {}{more}. Copy what you want to keep.",
            shown.join(", ")
        )?;
    }
    Ok(())
}

fn tell_findings(title: &str, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        groups.entry((finding.what, &finding.namespace)).or_default().push(finding);
    }
    for ((what, namespace), findings) in groups {
        let place = if namespace.is_empty() { String::new() } else { format!(" in namespace {namespace}") };
        writeln!(out, "{title}: {what}{place}: {}", findings.len())?;
        for finding in findings.iter().take(NAMED) {
            writeln!(out, "  {} ({})", visible(&finding.name), finding.why)?;
        }
        if findings.len() > NAMED {
            writeln!(out, "  {}", more(findings.len()).trim_start_matches(", "))?;
        }
    }
    Ok(())
}

fn more(count: usize) -> String {
    if count > NAMED { format!(", and {} more", count - NAMED) } else { String::new() }
}

/// A name from a damaged file, without what a terminal would obey.
fn visible(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_names_what_is_lost_and_not_all_of_much() {
        let finding =
            |name: String| Finding { what: "image", namespace: "a".into(), name, why: "gone".into() };
        let lost = (0..25).map(|number| finding(format!("i-{number}\u{1b}"))).collect();
        let report = Report { found: true, lost, unnamed_blobs: 3, ..Report::default() };
        let mut out = Vec::new();
        tell(&report, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("Lost: image in namespace a: 25\n  i-0\u{fffd} (gone)"), "{text}");
        assert!(text.contains("and 5 more") && text.contains("which go at the next start: 3"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("i-24"), "{text}");
    }
}
