use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::Status;
use crate::server::{Call, Connection};

/// A server with a thread for each connection, which answers one call after the other. It serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: UnixListener,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    connections: Vec<Arc<UnixStream>>,
}

/// Serves a socket that is made at `path`.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve<H>(path: &Path, handler: H) -> io::Result<Server>
where
    H: Fn(&Call) -> Result<Vec<u8>, Status> + Send + Sync + 'static,
{
    let shared = Arc::new(Shared { listener: UnixListener::bind(path)?, state: Mutex::default() });
    let handler = Arc::new(handler);
    let accepting = thread::Builder::new().name("ttrpc-accept".into()).spawn({
        let shared = Arc::clone(&shared);
        move || {
            while let Some(stream) = shared.accept() {
                let (shared, handler) = (Arc::clone(&shared), Arc::clone(&handler));
                thread::spawn(move || {
                    // A client that breaks off is no fault of the server's.
                    let _ = answer(&stream, &*handler);
                    shared.forget(&stream);
                });
            }
        }
    })?;
    Ok(Server { shared, accepting: Some(accepting) })
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next connection; none when the server was stopped.
    fn accept(&self) -> Option<Arc<UnixStream>> {
        loop {
            let accepted = self.listener.accept();
            let mut state = self.state();
            if state.stopped {
                return None;
            }
            match accepted {
                Ok((stream, _)) => {
                    let stream = Arc::new(stream);
                    state.connections.push(Arc::clone(&stream));
                    return Some(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    fn forget(&self, stream: &Arc<UnixStream>) {
        self.state().connections.retain(|other| !Arc::ptr_eq(other, stream));
    }
}

fn answer(mut stream: &UnixStream, handler: impl Fn(&Call) -> Result<Vec<u8>, Status>) -> io::Result<()> {
    let mut connection = Connection::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let mut input = &buffer[..length];
        loop {
            let call = connection.receive(&mut input);
            if let Some(call) = &call {
                let answer = handler(call);
                connection.respond_encoded(call.stream, answer.as_deref().map_err(Clone::clone));
            }
            stream.write_all(connection.output())?;
            connection.consume(connection.output().len());
            if call.is_none() {
                break;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // shutdown(2) of a listening socket ends accept(2), and lets nobody connect, whoever still holds it.
        let listener = self.shared.listener.try_clone();
        let ended = listener.and_then(|fd| UnixStream::from(OwnedFd::from(fd)).shutdown(Shutdown::Both));
        let mut state = self.shared.state();
        state.stopped = true;
        for stream in state.connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        if let (Ok(()), Some(accepting)) = (ended, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}
