use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;

use crate::{Driver, Format, LogReader, LogWriter, Process, Stream, Timestamp};

const NOW: Timestamp = Timestamp::new(1_709_251_200, 123_456_789);

fn open(uri: &str) -> LogWriter {
    LogWriter::open(&uri.parse::<Driver>().unwrap(), Process::Threaded).unwrap()
}

fn receive(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = vec![0; 1 << 17];
    let len = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

#[test]
fn messages_have_syslogs_formats() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let (pid, uname) = (std::process::id(), rustix::system::uname());
    let host = uname.nodename().to_str().unwrap();
    for (format, stdout, stderr) in [
        ("", format!("<30>Mar  1 00:00:00 t/g[{pid}]: "), format!("<27>Mar  1 00:00:00 t/g[{pid}]: ")),
        (
            "rfc3164",
            format!("<30>Mar  1 00:00:00 {host} t/g[{pid}]: "),
            format!("<27>Mar  1 00:00:00 {host} t/g[{pid}]: "),
        ),
        (
            "rfc5424",
            format!("<30>1 2024-03-01T00:00:00Z {host} t/g {pid} t/g - "),
            format!("<27>1 2024-03-01T00:00:00Z {host} t/g {pid} t/g - "),
        ),
        (
            "rfc5424micro",
            format!("<30>1 2024-03-01T00:00:00.123456Z {host} t/g {pid} t/g - "),
            format!("<27>1 2024-03-01T00:00:00.123456Z {host} t/g {pid} t/g - "),
        ),
    ] {
        let mut log =
            open(&format!("syslog://?address=unixgram://{}&tag=t/g&format={format}", path.display()));
        log.write(Stream::Stdout, b"a line\n", NOW);
        log.write(Stream::Stderr, b"another", NOW);
        log.end(Stream::Stderr, NOW);
        log.close().unwrap();
        assert_eq!(receive(&socket), format!("{stdout}a line\n"));
        assert_eq!(receive(&socket), format!("{stderr}another\n"));
    }
}

#[test]
fn messages_go_by_every_kind_of_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let unix = UnixListener::bind(&path).unwrap();
    let mut log = open(&format!("syslog://?address=unix://{}&tag=t", path.display()));
    log.write(Stream::Stdout, b"one\ntwo\n", NOW);
    log.close().unwrap();
    let lines: Vec<_> = BufReader::new(unix.accept().unwrap().0).lines().map(Result::unwrap).collect();
    assert!(lines.len() == 2 && lines[1].ends_with("]: two"), "{lines:?}");

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut log =
        open(&format!("syslog://?address=tcp://localhost:{}&tag=t", tcp.local_addr().unwrap().port()));
    log.write(Stream::Stdout, b"one\ntwo\n", NOW);
    log.close().unwrap();
    let lines: Vec<_> = BufReader::new(tcp.accept().unwrap().0).lines().map(Result::unwrap).collect();
    assert!(lines.len() == 2 && lines[1].ends_with("]: two"), "{lines:?}");

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut log =
        open(&format!("syslog://?address=udp://127.0.0.1:{}&tag=t", udp.local_addr().unwrap().port()));
    log.write(Stream::Stdout, b"one\n", NOW);
    log.close().unwrap();
    let mut buffer = [0; 100];
    let len = udp.recv(&mut buffer).unwrap();
    assert!(buffer[..len].ends_with(b"]: one\n"));
}

/// Flushes until that succeeds, as the shim does with pauses.
fn flush(log: &mut LogWriter) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while log.flush().is_err() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_peer_that_comes_late_or_again_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&format!("syslog://?address=unixgram://{}&tag=t", path.display()));
    log.write(Stream::Stdout, b"one\n", NOW);
    let error = log.flush().unwrap_err();
    assert_eq!(error.kind(), gantry_types::ErrorKind::Unavailable);
    assert!(log.is_failing() && log.backlog_bytes() > 0 && log.waits_for().is_none());
    let first = UnixDatagram::bind(&path).unwrap();
    log.flush().unwrap();
    assert!(receive(&first).ends_with("]: one\n"));
    drop(first);
    fs::remove_file(&path).unwrap();
    let second = UnixDatagram::bind(&path).unwrap();
    log.write(Stream::Stdout, b"two\n", NOW);
    log.flush().unwrap();
    assert!(receive(&second).ends_with("]: two\n"));
    assert_eq!(log.backlog_bytes(), 0);
}

#[test]
fn a_slow_peer_is_waited_for_and_gets_everything_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut log = open(&format!("syslog://?address=unixgram://{}&tag=t&mode=blocking", path.display()));
    let lines: String = (0..2000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(log.write(Stream::Stdout, lines.as_bytes(), NOW), lines.len());
    assert!(log.flush().is_err() && log.waits_for().is_some());
    let reader = std::thread::spawn(move || {
        for number in 0..2000 {
            assert!(receive(&socket).ends_with(&format!("]: line {number}\n")));
        }
    });
    flush(&mut log);
    reader.join().unwrap();
    assert!(log.waits_for().is_none());
}

#[test]
fn what_does_not_fit_in_the_backlog_is_dropped_and_told_of_but_is_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (path, cache) = (dir.path().join("log"), dir.path().join("cache"));
    let uri = format!("syslog://?address=tcp://127.0.0.1:1&tag=t&cache={}", cache.display());
    let mut log = open(&uri.replace("tcp://127.0.0.1:1", &format!("unixgram://{}", path.display())));
    let line = [&[b'x'; 999][..], b"\n"].concat();
    for _ in 0..2000 {
        assert_eq!(log.write(Stream::Stdout, &line, NOW), 1000);
    }
    assert!(log.flush().is_err());
    let dropped = log.dropped_bytes();
    assert!(dropped > 500_000 && dropped.is_multiple_of(1000), "{dropped}");
    let socket = UnixDatagram::bind(&path).unwrap();
    let reader = std::thread::spawn(move || {
        let mut whole = 0;
        loop {
            let message = receive(&socket);
            if message.contains("bytes of output are missing here") {
                return (whole, message);
            }
            whole += 1;
        }
    });
    flush(&mut log);
    let (whole, told) = reader.join().unwrap();
    assert_eq!(whole * 1000 + dropped, 2_000_000);
    assert!(told.contains(&format!("gantry: {dropped} bytes")), "{told}");
    log.close().unwrap();
    assert_eq!(LogReader::open(&cache, Format::Local).unwrap().count(), 2000);
}

#[test]
fn a_blocking_log_stops_taking_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&format!("syslog://?address=unix://{}&tag=t&mode=blocking", path.display()));
    let line = [&[b'x'; 999][..], b"\n"].concat().repeat(64);
    let mut taken = 0;
    loop {
        let more = log.write(Stream::Stdout, &line, NOW);
        taken += more;
        if more < line.len() {
            break;
        }
    }
    assert!(log.is_full() && log.dropped_bytes() == 0);
    let listener = UnixListener::bind(&path).unwrap();
    let reader = std::thread::spawn(move || BufReader::new(listener.accept().unwrap().0).lines().count());
    flush(&mut log);
    assert!(!log.is_full());
    log.close().unwrap();
    assert_eq!(reader.join().unwrap(), taken.div_ceil(1000));
}

fn journal(dir: &Path) -> (UnixDatagram, String) {
    let path = dir.join("journal");
    let socket = UnixDatagram::bind(&path).unwrap();
    let uri = format!("journald://?socket={}&id=0123456789abcdef&tag=t", path.display());
    (socket, uri)
}

#[test]
fn entries_have_the_journals_form() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, uri) = journal(dir.path());
    let mut log = open(&format!("{uri}&fields=%7B%22a%22%3A%22x%5Cny%22%7D"));
    log.write(Stream::Stderr, b"a=b\n", NOW);
    log.flush().unwrap();
    let fields = "CONTAINER_ID=0123456789ab\nCONTAINER_ID_FULL=0123456789abcdef\nCONTAINER_TAG=t\nSYSLOG_IDENTIFIER=t\n\
                  A\n\x03\0\0\0\0\0\0\0x\ny\n";
    let time = "SYSLOG_TIMESTAMP=2024-03-01T00:00:00.123456789Z\n";
    assert_eq!(receive(&socket), format!("MESSAGE=a=b\nPRIORITY=3\n{time}{fields}"));

    let long = [&[b'x'; 16_384][..], b"rest\n"].concat();
    log.write(Stream::Stdout, &long, NOW);
    log.flush().unwrap();
    let first = receive(&socket);
    let second = receive(&socket);
    assert!(first.contains("\nCONTAINER_PARTIAL_MESSAGE=true\n"));
    assert!(first.contains("\nCONTAINER_PARTIAL_ORDINAL=1\nCONTAINER_PARTIAL_LAST=false\n"));
    assert!(second.starts_with("MESSAGE=rest\nPRIORITY=6\n") && !second.contains("PARTIAL_MESSAGE"));
    assert!(second.contains("\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=true\n"));
    let id = |text: &str| text.split("PARTIAL_ID=").nth(1).unwrap()[..64].to_owned();
    assert_eq!(id(&first), id(&second));
}

#[test]
fn an_entry_that_is_too_large_for_the_socket_is_a_sealed_file() {
    use rustix::fs::{SealFlags, fcntl_get_seals};
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let message = vec![b'x'; 300_000];
    assert_eq!(super::transport::send_file(&ours.into(), &message), Ok(message.len()));
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&theirs, &mut [], &mut ancillary, RecvFlags::empty()).unwrap();
    assert_eq!(received.bytes, 0);
    let Some(RecvAncillaryMessage::ScmRights(mut fds)) = ancillary.drain().next() else { panic!() };
    let file = fds.next().unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    assert_eq!(fcntl_get_seals(&file).unwrap(), seals);
    assert_eq!(
        fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap(),
        message
    );
}
