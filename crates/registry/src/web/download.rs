use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::retry::http_date;
use crate::transport::{Answer, decoded, plain_detail};
use crate::{Error, Timeouts};

/// A file of the web that is being fetched.
pub struct Download {
    answer: Answer,
    /// Where it was asked for, before redirects.
    uri: Uri,
    what: String,
    stall: Duration,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Download {
    pub(super) async fn begin(
        answer: Answer,
        uri: Uri,
        what: String,
        timeouts: &Timeouts,
    ) -> Result<Self, Error> {
        let status = answer.status();
        if status >= StatusCode::BAD_REQUEST {
            let reason = status.canonical_reason().unwrap_or_default().to_owned();
            let host = answer.host.clone();
            let detail = match plain_detail(answer).await {
                Some(text) => format!("{reason}: {text}"),
                None => reason,
            };
            return Err(Error::Status { host, what, status: status.as_u16(), detail });
        }
        Ok(Self { answer, uri, what, stall: timeouts.stall })
    }

    /// The type that the server names, without parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.answer.media_type()
    }

    /// How many bytes the server announces.
    pub fn length(&self) -> Option<u64> {
        self.answer.length()
    }

    /// When it was changed last, in seconds since 1970.
    pub fn modified(&self) -> Option<u64> {
        self.answer.text(header::LAST_MODIFIED).and_then(http_date)
    }

    /// The last part of its address, decoded; nothing where that ends with a slash.
    pub fn path_name(&self) -> Option<String> {
        let path = decoded(self.uri.path());
        path.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
    }

    /// The name that the server gives it (RFC 6266), without directories.
    pub fn given_name(&self) -> Option<String> {
        let name = disposition(self.answer.text(header::CONTENT_DISPOSITION)?)?;
        name.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
    }

    /// The next piece; None after the last.
    ///
    /// # Errors
    /// Broken; Timeout if nothing comes for as long as transfers may stall.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = timeout(self.stall, self.answer.body.frame()).await;
            let (host, what) = (&self.answer.host, &self.what);
            let frame = match frame {
                Err(_) => {
                    return Err(Error::Timeout { host: host.clone(), what: what.clone(), after: self.stall });
                }
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame.map_err(|error| Error::Broken {
                    host: host.clone(),
                    what: what.clone(),
                    source: error.into(),
                })?,
            };
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                return Ok(Some(bytes));
            }
        }
    }
}

/// The `filename` of a `Content-Disposition`.
fn disposition(text: &str) -> Option<String> {
    let mut rest = text.split_once(';')?.1;
    let mut plain = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        let name = name.trim().to_ascii_lowercase();
        match name.as_str() {
            // RFC 8187: a character set, a language, and the rest in percents.
            "filename*" => {
                let mut parts = value.splitn(3, '\'');
                if parts.next()?.eq_ignore_ascii_case("utf-8") {
                    return parts.nth(1).map(decoded);
                }
            }
            "filename" => plain = Some(value),
            _ => {}
        }
        rest = after.trim_start();
        if rest.is_empty() {
            return plain;
        }
    }
}

/// A value, quoted or not, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let (mut out, mut chars) = (String::new(), quoted.char_indices());
    while let Some((place, c)) = chars.next() {
        match c {
            '"' => return Some((out, &quoted[place + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_are_read() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(disposition(text).as_deref(), expect, "{text}");
        };
        check("attachment; filename=a.txt", Some("a.txt"));
        check("attachment; FileName = \"a \\\"b\\\".txt\"; size=3", Some("a \"b\".txt"));
        check("attachment; filename=a; filename*=UTF-8''%c3%a9%20b", Some("é b"));
        check("attachment; filename*=iso-8859-1'en'%e9; filename=a", Some("a"));
        check("attachment", None);
        check("attachment; filename", None);
        check("attachment; filename=\"a", None);
    }
}
