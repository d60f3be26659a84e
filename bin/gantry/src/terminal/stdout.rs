//! Standard output and error, written by a thread of its own: a reader that waits must not keep signals from the
//! container.

use std::io::Write as _;
use std::process::exit;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

/// How many chunks may wait.
const WAITING: usize = 16;
/// What a shell says of a program that SIGPIPE ended.
const PIPE_STATUS: i32 = 141;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standard {
    Output,
    Error,
}

/// Both, in the order in which they are written.
pub(crate) struct Sink {
    sender: Option<mpsc::Sender<(Standard, Vec<u8>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Nothing is started before there is something to write.
    pub(crate) fn new() -> Self {
        Self { sender: None, thread: None }
    }

    pub(crate) async fn write(&mut self, standard: Standard, bytes: Vec<u8>) {
        let sender = self.sender.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            self.thread = Some(std::thread::spawn(move || run(receiver)));
            sender
        });
        // The thread ends with the channel only.
        let _ = sender.send((standard, bytes)).await;
    }

    /// Returns when everything is written.
    pub(crate) async fn finish(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn run(mut receiver: mpsc::Receiver<(Standard, Vec<u8>)>) {
    while let Some((standard, bytes)) = receiver.blocking_recv() {
        let written = match standard {
            Standard::Output => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&bytes).and_then(|()| stdout.flush())
            }
            Standard::Error => std::io::stderr().lock().write_all(&bytes),
        };
        if written.is_err() && standard == Standard::Output {
            exit(PIPE_STATUS);
        }
    }
}
