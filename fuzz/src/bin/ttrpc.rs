//! What comes over a shim's socket, from either side.
#![no_main]

use gantry_ttrpc::client::{Calls, Options};
use gantry_ttrpc::server::Connection;

// The first byte is the size of the parts that the rest comes in.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let (mut server, mut whole) = (Connection::new(), Connection::new());
    for mut part in bytes.chunks(usize::from(*size).max(1)) {
        while let Some(call) = server.receive(&mut part) {
            server.respond_encoded(call.stream, Ok(&call.payload));
        }
        assert!(part.is_empty());
    }
    let mut input = bytes;
    while let Some(call) = whole.receive(&mut input) {
        whole.respond_encoded(call.stream, Ok(&call.payload));
    }
    assert_eq!(server.output(), whole.output());

    let mut client = Calls::new();
    for _ in 0..3 {
        client.call("S", "M", &(), &Options::default()).expect("a short request fits");
    }
    // What the server wrote, and what nobody wrote.
    for mut input in [server.output(), bytes] {
        while let Some(answer) = client.receive(&mut input) {
            assert!(!client.forget(answer.stream));
        }
    }
});
