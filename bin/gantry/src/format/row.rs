//! Lists: a row of fields for each thing, printed as a table, by a template, or as JSON.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::table;
use super::template::{Html, Mode, Subject, Template, json};

/// What a list prints of one thing.
#[derive(Debug, Default)]
pub(crate) struct Row {
    fields: Value,
    labels: Vec<(String, String)>,
}

impl Row {
    pub(crate) fn new() -> Self {
        Self { fields: Value::Object(Map::new()), labels: Vec::new() }
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(fields) = &mut self.fields {
            fields.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Adds `Labels`, and what `.Label "x"` finds.
    pub(crate) fn with_labels<'a>(
        mut self,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        self.labels = labels.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let text: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.with("Labels", text.join(","))
    }
}

impl Subject for Row {
    fn dot(&self) -> &Value {
        &self.fields
    }

    fn is_row(&self) -> bool {
        true
    }

    fn method(&self, name: &str, argument: &str) -> Option<Value> {
        let label = || self.labels.iter().find(|(key, _)| key == argument).map_or("", |(_, value)| value);
        (name == "Label").then(|| label().into())
    }
}

/// The words above a table.
struct Header(Value);

impl Subject for Header {
    fn dot(&self) -> &Value {
        &self.0
    }

    fn method(&self, name: &str, argument: &str) -> Option<Value> {
        let last = argument.rsplit('.').next().unwrap_or_default();
        (name == "Label").then(|| last.replace(['-', '_'], " ").into())
    }
}

/// How a list is printed.
pub(crate) struct Listing<'a> {
    /// `--format`, or what the configuration says.
    pub(crate) format: Option<&'a str>,
    /// The template without it.
    pub(crate) default: &'a str,
    /// Field and its word above a table.
    pub(crate) header: &'a [(&'a str, &'a str)],
}

/// The format that every list has by this name.
const JSON: &str = "json";

impl Listing<'_> {
    /// The list as text.
    pub(crate) fn render(&self, rows: &[Row]) -> Result<String> {
        let format = self.format.filter(|format| !format.is_empty()).unwrap_or("table");
        if format == JSON {
            return Ok(rows.iter().map(|row| json(&row.fields, Html::Escaped) + "\n").collect());
        }
        let format = match format.strip_prefix("table") {
            Some("") => format!("table {}", self.default),
            _ => format.to_owned(),
        };
        let Some(template) = format.strip_prefix("table") else {
            let template = Template::parse(&unescape(&format))?;
            return lines(&template, rows);
        };
        let template = Template::parse(&unescape(template.trim()))?;
        let words =
            self.header.iter().map(|(field, word)| ((*field).to_owned(), Value::from(*word))).collect();
        let header = template.render(&Header(Value::Object(words)), Mode::Header)?;
        Ok(table::align(&format!("{header}\n{}", lines(&template, rows)?)))
    }
}

fn lines(template: &Template, rows: &[Row]) -> Result<String> {
    let mut output = String::new();
    for row in rows {
        output += &template.render(row, Mode::Values).context("template parsing error")?;
        output.push('\n');
    }
    Ok(output)
}

/// Tabs and ends of lines are written as `\t` and `\n` on command lines.
pub(crate) fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(format: Option<&str>) -> Result<String> {
        let labels = [("com.a-b".to_owned(), "1".to_owned())];
        let labels = labels.iter().map(|(key, value)| (key, value));
        let rows = [Row::new().with("ID", "x<1>").with("Name", "n").with_labels(labels)];
        let header = [("ID", "THE ID"), ("Name", "NAME"), ("Labels", "LABELS")];
        Listing { format, default: "{{.ID}}\t{{.Name}}", header: &header }.render(&rows)
    }

    #[test]
    fn every_kind_of_format_is_printed() {
        for (format, expected) in [
            (None, "THE ID    NAME\nx<1>      n\n"),
            (Some("table"), "THE ID    NAME\nx<1>      n\n"),
            (Some("table {{.Name}}\\t{{.Label \"com.a-b\"}}"), "NAME      a b\nn         1\n"),
            (Some("{{.Name}}={{.Label \"no\"}}{{.Labels}}"), "n=com.a-b=1\n"),
            (Some("json"), "{\"ID\":\"x\\u003c1\\u003e\",\"Labels\":\"com.a-b=1\",\"Name\":\"n\"}\n"),
            (Some("{{json .}}"), "{\"ID\":\"x\\u003c1\\u003e\",\"Labels\":\"com.a-b=1\",\"Name\":\"n\"}\n"),
        ] {
            assert_eq!(listing(format).unwrap(), expected, "{format:?}");
        }
        assert!(listing(Some("{{.ID")).is_err());
    }
}
