//! Container ids and users of `exec --user`: what is accepted is what it looks like.
#![no_main]

use gantry_types::{ContainerId, ExecUser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<ContainerId>() {
        assert_eq!(id.as_str(), text);
        assert!(std::path::Path::new(text).components().count() == 1 && text.len() < 256);
        assert!(!text.contains(['/', '\0', ' ', '\n']) && text != "." && text != "..");
    }
    if let Ok(user) = text.parse::<ExecUser>() {
        assert_eq!(user.to_string().parse(), Ok(user));
        assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'));
        assert!(user.uid != u32::MAX && user.gid != Some(u32::MAX));
    }
});
