//! A ttrpc connection for many callers at once, on tokio.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_ttrpc::Status;
use gantry_ttrpc::client::{Calls, Options};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};

use super::CallError;

/// What is read at once; on the stack, so that an idle connection has no buffer.
const READ_BYTES: usize = 16 << 10;

/// A connection. Clones share it; it ends with [`close`](Self::close), or by the server.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    state: Mutex<State>,
    /// There is output that the socket did not take at once, or the end is asked for.
    wake: Notify,
    ended: watch::Sender<bool>,
}

type Outcome = Result<Vec<u8>, Status>;

#[derive(Debug, Default)]
struct State {
    calls: Calls,
    callers: HashMap<u32, oneshot::Sender<Outcome>>,
    closing: bool,
    ended: bool,
}

/// Gives a call up whose caller has gone.
struct Waiting<'a> {
    shared: &'a Shared,
    stream: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.callers.remove(&self.stream).is_some() {
            state.calls.forget(self.stream);
        }
    }
}

impl Connection {
    /// Connects to a socket.
    ///
    /// # Errors
    /// What connect(2) says.
    pub(crate) async fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self::of(UnixStream::connect(path).await?))
    }

    /// Takes a connection that was made.
    pub(crate) fn of(stream: UnixStream) -> Self {
        let (ended, _) = watch::channel(false);
        let shared = Arc::new(Shared { stream, state: Mutex::default(), wake: Notify::new(), ended });
        tokio::spawn(drive(Arc::clone(&shared)));
        Self { shared }
    }

    /// Calls a method with an encoded message.
    ///
    /// # Cancel safety
    /// Who no longer waits gets no answer; the server may have heard the call.
    pub(crate) async fn call(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
    ) -> Result<Vec<u8>, CallError> {
        let (sender, receiver) = oneshot::channel();
        let stream = self.send(service, method, payload, options, sender)?;
        let _waiting = Waiting { shared: &self.shared, stream };
        let outcome = match options.timeout {
            None => receiver.await,
            Some(timeout) => {
                let outcome = tokio::time::timeout(timeout, receiver).await;
                outcome.map_err(|_| CallError::Timeout(timeout))?
            }
        };
        outcome.map_err(|_| CallError::Closed)?.map_err(CallError::Status)
    }

    fn send(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
        caller: oneshot::Sender<Outcome>,
    ) -> Result<u32, CallError> {
        let mut state = self.shared.state();
        if state.ended || state.closing {
            return Err(CallError::Closed);
        }
        let stream =
            state.calls.call_encoded(service, method, payload, options).map_err(CallError::Request)?;
        state.callers.insert(stream, caller);
        if self.shared.flush(&mut state) {
            self.shared.wake.notify_one();
        }
        Ok(stream)
    }

    /// Whether both are the same connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        self.shared.state().closing = true;
        self.shared.wake.notify_one();
    }

    /// Returns when the connection has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.shared.ended.subscribe();
        // The sender lives as long as we do.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the socket takes; whether something is left. Errors are seen by who reads.
    fn flush(&self, state: &mut State) -> bool {
        while !state.calls.output().is_empty() {
            match self.stream.try_write(state.calls.output()) {
                Ok(length) => state.calls.consume(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => {
                    let _ = state.calls.take_output();
                }
            }
        }
        false
    }

    /// Reads what is there; whether the connection goes on.
    fn drain(&self) -> bool {
        let mut buffer = [0; READ_BYTES];
        loop {
            let length = match self.stream.try_read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            let mut input = &buffer[..length];
            let mut state = self.state();
            while let Some(answer) = state.calls.receive(&mut input) {
                if let Some(caller) = state.callers.remove(&answer.stream) {
                    // Who called may have gone just now.
                    let _ = caller.send(answer.result);
                }
            }
        }
    }
}

/// Moves bytes until the connection ends.
async fn drive(shared: Arc<Shared>) {
    loop {
        let (unwritten, closing) = {
            let mut state = shared.state();
            (shared.flush(&mut state), state.closing)
        };
        if closing {
            break;
        }
        let interest = if unwritten { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        tokio::select! {
            ready = shared.stream.ready(interest) => match ready {
                Ok(ready) if ready.is_readable() || ready.is_read_closed() => {
                    if !shared.drain() {
                        break;
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            },
            () = shared.wake.notified() => {}
        }
    }
    // The server sees the end though callers may still have clones of this.
    let _ = rustix::net::shutdown(&shared.stream, rustix::net::Shutdown::Both);
    let mut state = shared.state();
    state.ended = true;
    state.callers.clear();
    drop(state);
    shared.ended.send_replace(true);
}
