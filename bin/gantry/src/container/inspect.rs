//! `container inspect`, and `inspect` of anything.

use anyhow::{Context, Result, bail};
use clap::Args;
use http::StatusCode;
use serde_json::Value;

use crate::client::{ApiError, Call, Client, segment};
use crate::command::{Failure, Verb, chain};
use crate::format::json::indent;
use crate::format::row::unescape;
use crate::format::template::{Mode, Template};
use crate::output;
use crate::session::Session;

/// Display detailed information on one or more containers
#[derive(Debug, Args)]
pub(crate) struct InspectContainer {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

impl Verb for InspectContainer {
    async fn run(self, session: &Session) -> Result<u8> {
        let kinds = [Kind::Container];
        print(session, &self.names, &kinds, self.format.as_deref(), &Asked::sized(self.size)).await
    }
}

/// Return low-level information on Docker objects
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long, value_name = "STRING")]
    r#type: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

impl Verb for Inspect {
    async fn run(self, session: &Session) -> Result<u8> {
        let kinds: &[Kind] = match self.r#type.as_deref() {
            None | Some("") => &[Kind::Container, Kind::Image, Kind::Network, Kind::Volume],
            Some("container") => &[Kind::Container],
            Some("image") => &[Kind::Image],
            Some("network") => &[Kind::Network],
            Some("volume") => &[Kind::Volume],
            Some(other) => bail!("unknown type: {other:?}: there are container, image, network and volume"),
        };
        print(session, &self.names, kinds, self.format.as_deref(), &Asked::sized(self.size)).await
    }
}

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

/// What is asked for besides.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Whether the sizes of a container's files are.
    pub(crate) size: bool,
    /// The platform of an image, as JSON.
    pub(crate) platform: Option<String>,
}

impl Asked {
    fn sized(size: bool) -> Self {
        Self { size, ..Self::default() }
    }
}

impl Kind {
    fn call(self, name: &str, asked: &Asked) -> Call {
        let name = segment(name);
        match self {
            Self::Container => Call::get(format!("/containers/{name}/json")).query_flag("size", asked.size),
            Self::Image => {
                Call::get(format!("/images/{name}/json")).query_some("platform", asked.platform.clone())
            }
            Self::Network => Call::get(format!("/networks/{name}")),
            Self::Volume => Call::get(format!("/volumes/{name}")),
        }
    }
}

/// Looks at each, and prints them as one list, or each by the template.
pub(crate) async fn print(
    session: &Session,
    names: &[String],
    kinds: &[Kind],
    format: Option<&str>,
    asked: &Asked,
) -> Result<u8> {
    let client = session.client()?;
    let template = match format {
        None | Some("" | "json") => None,
        Some(format) => Some(Template::parse(&unescape(format))?),
    };
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match find(client, name, kinds, asked).await {
            Ok(value) => values.push(value),
            Err(error) => errors.push(chain(&error)),
        }
    }
    match (template, format) {
        (Some(template), _) => {
            for raw in &values {
                let value: Value = serde_json::from_str(raw).context("the answer is not understood")?;
                match template.render(&value, Mode::Values) {
                    Ok(text) => output::line(text),
                    Err(error) => {
                        output::line("");
                        return Err(Failure::with(1, format!("template parsing error: {error}")));
                    }
                }
            }
            // Docker ends what it could not find with an empty line, too.
            if values.is_empty() {
                output::line("");
            }
        }
        (None, Some("json")) => {
            let values: Vec<&str> = values.iter().map(|raw| raw.trim_end()).collect();
            output::line(format!("[{}]", values.join(",")));
        }
        (None, _) if values.is_empty() => output::line("[]"),
        (None, _) => {
            let values: Vec<String> =
                values.iter().map(|raw| format!("    {}", indent(raw, "    "))).collect();
            output::line(format!("[\n{}\n]", values.join(",\n")));
        }
    }
    if errors.is_empty() { Ok(0) } else { Err(Failure::with(1, errors.join("\n"))) }
}

/// The JSON as it came.
async fn find(client: &Client, name: &str, kinds: &[Kind], asked: &Asked) -> Result<String> {
    for kind in kinds {
        match client.bytes(kind.call(name, asked)).await {
            Err(error) if is_absent(&error) && kinds.len() > 1 => {}
            result => return String::from_utf8(result?.into()).context("the answer is no UTF-8"),
        }
    }
    bail!("Error: No such object: {name}")
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| error.status == StatusCode::NOT_FOUND)
}

/// JSON with docker's four blanks.
pub(crate) fn pretty(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("memory can be written");
    String::from_utf8(text).expect("JSON is UTF-8")
}
