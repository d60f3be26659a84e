//! What long operations tell: on a terminal a line for each layer that is drawn again, else a line for each change.

use std::io::Write;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use gantry_docker_api::limits::MAX_MESSAGE;
use gantry_docker_api::message::{Message, Progress};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use crate::command::Failure;
use crate::format::words::{size, size_fine};

/// How wide a bar is at most.
const MAX_BAR: usize = 50;
/// How many layers may have lines.
const MAX_LINES: usize = 4096;

/// Reads the messages of an answer, and gives each to `seen`.
pub(crate) async fn messages(mut body: Incoming, mut seen: impl FnMut(Message) -> Result<()>) -> Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the answer broke off")?.into_data() else { continue };
        buffer.extend_from_slice(&data);
        let mut stream = serde_json::Deserializer::from_slice(&buffer).into_iter::<Message>();
        loop {
            match stream.next() {
                Some(Ok(message)) => {
                    if let Some(error) = &message.error_detail {
                        return Err(failed(error.code, &error.message));
                    }
                    if !message.error.is_empty() {
                        bail!(message.error);
                    }
                    seen(message)?;
                }
                Some(Err(error)) if error.is_eof() => break,
                Some(Err(error)) => return Err(error).context("the answer is not understood"),
                None => break,
            }
        }
        let read = stream.byte_offset();
        drop(stream);
        let _ = buffer.split_to(read);
        if buffer.len() > MAX_MESSAGE {
            bail!("a message of the engine is longer than {MAX_MESSAGE} bytes");
        }
    }
    Ok(())
}

/// A failing build has the exit status of what failed.
fn failed(code: i64, message: &str) -> anyhow::Error {
    match u8::try_from(code) {
        Ok(code) if code != 0 => Failure::with(code, message),
        _ => anyhow::anyhow!(message.to_owned()),
    }
}

/// Shows messages.
pub(crate) struct Display<W> {
    writer: W,
    /// The width of the terminal, if it is one.
    width: Option<usize>,
    /// Layers in the order of their lines.
    lines: Vec<String>,
}

impl<W: Write> Display<W> {
    pub(crate) fn new(writer: W, width: Option<usize>) -> Self {
        Self { writer, width, lines: Vec::new() }
    }

    /// Shows one; a value for programs is given back.
    pub(crate) fn show(&mut self, message: &Message) -> Result<Option<Value>> {
        if let Some(aux) = &message.aux {
            return Ok(Some(aux.clone()));
        }
        match self.width {
            Some(width) => self.draw(message, width)?,
            None => self.tell(message)?,
        }
        self.writer.flush()?;
        Ok(None)
    }

    /// Without a terminal: no progress, only what has changed.
    fn tell(&mut self, message: &Message) -> Result<()> {
        if !message.stream.is_empty() {
            return Ok(write!(self.writer, "{}", message.stream)?);
        }
        if is_moving(message) {
            return Ok(());
        }
        if !message.id.is_empty() {
            write!(self.writer, "{}: ", message.id)?;
        }
        Ok(writeln!(self.writer, "{}", message.status)?)
    }

    fn draw(&mut self, message: &Message, width: usize) -> Result<()> {
        if !message.stream.is_empty() {
            self.lines.clear();
            return Ok(write!(self.writer, "{}", message.stream)?);
        }
        if message.id.is_empty() || message.progress_detail.is_none() && message.progress.is_empty() {
            // What has no line of its own is below all that have.
            self.lines.clear();
            let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
            return Ok(writeln!(self.writer, "{id}{}", message.status)?);
        }
        let mut text = format!("{}: {}", message.id, message.status);
        if let Some(progress) = message.progress_detail.as_ref().filter(|progress| progress.current > 0) {
            text = format!("{text} {}", bar(progress, width.saturating_sub(text.chars().count())));
        }
        let place = self.lines.iter().position(|id| *id == message.id);
        let Some(place) = place else {
            if self.lines.len() < MAX_LINES {
                self.lines.push(message.id.clone());
            }
            return Ok(writeln!(self.writer, "{text}")?);
        };
        let up = self.lines.len() - place;
        Ok(write!(self.writer, "\x1b[{up}A\r\x1b[2K{text}\x1b[{up}B\r")?)
    }
}

/// Whether a message only says how far something is.
fn is_moving(message: &Message) -> bool {
    let has_amount =
        message.progress_detail.as_ref().is_some_and(|progress| progress.current > 0 || progress.total > 0);
    has_amount || !message.progress.is_empty()
}

/// `[====>   ]  1.2MB/3MB`, as wide as there is room for.
fn bar(progress: &Progress, room: usize) -> String {
    let count = |number: i64| match progress.units.as_str() {
        "" => size_fine(number),
        units => format!("{number} {units}"),
    };
    if progress.total <= 0 {
        return format!("{:>8}", size(progress.current));
    }
    let numbers = if progress.hide_counts {
        String::new()
    } else if progress.current > progress.total {
        format!(" {:>8}", count(progress.current))
    } else {
        format!(" {:>8}/{}", count(progress.current), count(progress.total))
    };
    let width = room.saturating_sub(numbers.len() + 4).min(MAX_BAR);
    if width < 10 {
        return numbers.trim_start().to_owned();
    }
    let share = progress.current.clamp(0, progress.total);
    let done =
        usize::try_from(i128::from(share) * width as i128 / i128::from(progress.total)).unwrap_or(width);
    let head = if done < width { ">" } else { "" };
    format!("[{}{head}{}] {numbers}", "=".repeat(done), " ".repeat(width.saturating_sub(done + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(messages: &[Message], width: Option<usize>) -> String {
        let mut display = Display::new(Vec::new(), width);
        for message in messages {
            display.show(message).unwrap();
        }
        String::from_utf8(display.writer).unwrap()
    }

    #[test]
    fn without_a_terminal_only_changes_are_told() {
        let messages = [
            Message { id: "latest".into(), ..Message::status("Pulling from a") },
            Message::of_layer("1", "Pulling fs layer"),
            Message::progress("1", "Downloading", 1, 2),
            Message::of_layer("1", "Pull complete"),
            Message::status("Status: done"),
        ];
        assert_eq!(
            shown(&messages, None),
            "latest: Pulling from a\n1: Pulling fs layer\n1: Pull complete\nStatus: done\n"
        );
    }

    #[test]
    fn on_a_terminal_a_layer_keeps_its_line() {
        let messages = [
            Message::of_layer("1", "Waiting"),
            Message::of_layer("2", "Waiting"),
            Message::progress("1", "Down", 50, 100),
        ];
        let text = shown(&messages, Some(60));
        assert!(text.starts_with("1: Waiting\n2: Waiting\n\x1b[2A\r\x1b[2K1: Down ["), "{text:?}");
        assert!(text.ends_with("\x1b[2B\r") && text.contains("50B/100B"));
    }

    #[test]
    fn a_bar_fits_its_room() {
        let progress = Progress { current: 5, total: 10, ..Progress::default() };
        for room in [0, 20, 40, 80, 200] {
            assert!(bar(&progress, room).chars().count() <= room.max(10), "{room}");
        }
        assert_eq!(bar(&progress, 30), "[======>      ]        5B/10B");
    }
}
