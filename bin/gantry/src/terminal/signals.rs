//! Signals that are for the container, and changes of the terminal's size.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Signals that are passed on, with the names that engines know. Not those that tell of ourselves: SIGCHLD, SIGPIPE, SIGURG.
const FORWARDED: [(i32, &str); 13] = [
    (libc_signal::HUP, "HUP"),
    (libc_signal::INT, "INT"),
    (libc_signal::QUIT, "QUIT"),
    (libc_signal::TERM, "TERM"),
    (libc_signal::USR1, "USR1"),
    (libc_signal::USR2, "USR2"),
    (libc_signal::ALRM, "ALRM"),
    (libc_signal::CONT, "CONT"),
    (libc_signal::TSTP, "TSTP"),
    (libc_signal::TTIN, "TTIN"),
    (libc_signal::TTOU, "TTOU"),
    (libc_signal::WINCH, "WINCH"),
    (libc_signal::IO, "IO"),
];

/// Linux's numbers of signals.
mod libc_signal {
    use rustix::process::Signal;

    pub(super) const HUP: i32 = Signal::HUP.as_raw();
    pub(super) const INT: i32 = Signal::INT.as_raw();
    pub(super) const QUIT: i32 = Signal::QUIT.as_raw();
    pub(super) const TERM: i32 = Signal::TERM.as_raw();
    pub(super) const USR1: i32 = Signal::USR1.as_raw();
    pub(super) const USR2: i32 = Signal::USR2.as_raw();
    pub(super) const ALRM: i32 = Signal::ALARM.as_raw();
    pub(super) const CONT: i32 = Signal::CONT.as_raw();
    pub(super) const TSTP: i32 = Signal::TSTP.as_raw();
    pub(super) const TTIN: i32 = Signal::TTIN.as_raw();
    pub(super) const TTOU: i32 = Signal::TTOU.as_raw();
    pub(super) const WINCH: i32 = Signal::WINCH.as_raw();
    pub(super) const IO: i32 = Signal::IO.as_raw();
}

/// Passes signals on by `send`, for ever. What comes before the first poll is caught, too.
pub(crate) fn forward<F: Future<Output = ()>>(send: impl Fn(&'static str) -> F) -> impl Future<Output = ()> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for (number, name) in FORWARDED {
        let Ok(mut stream) = signal(SignalKind::from_raw(number)) else { continue };
        let sender = sender.clone();
        tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(name).is_ok() {} });
    }
    async move {
        while let Some(name) = receiver.recv().await {
            send(name).await;
        }
    }
}

/// Calls `resize` now and whenever the terminal's size changes, for ever.
pub(crate) async fn on_resize<F: Future<Output = bool>>(resize: impl Fn([u32; 2]) -> F) {
    // The process may be a moment away from having a terminal.
    const TRIES: u32 = 10;
    let stream = signal(SignalKind::window_change());
    let mut told = None;
    for attempt in 1..=TRIES {
        let Some(size) = super::size() else { break };
        if resize(size).await {
            told = Some(size);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10) * attempt).await;
    }
    let Ok(mut stream) = stream else { return std::future::pending().await };
    while stream.recv().await.is_some() {
        let size = super::size();
        if let (Some(now), true) = (size, size != told) {
            resize(now).await;
            told = size;
        }
    }
}
