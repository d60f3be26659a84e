//! Standard input, read by a thread of its own: making it non-blocking would change it for the shell, too.

use std::io::Read as _;

use bytes::Bytes;
use tokio::sync::mpsc;

/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// How many chunks may wait.
const WAITING: usize = 4;

/// The chunks of standard input, until its end.
pub(crate) fn chunks() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // An input that cannot be read (a background job's terminal) is at its end.
                Ok(_) | Err(_) => return,
            }
        }
    });
    receiver
}
