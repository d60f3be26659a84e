//! Names of containers: what may be one, and one for those without.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Error, Result};

/// The longest name, in bytes. Docker has no limit; a name becomes a host name's alias and part of paths in tools.
pub const MAX_NAME_BYTES: usize = 255;

/// Takes a name without the slash that some clients put before it.
///
/// # Errors
/// Invalid.
pub(crate) fn validate(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut chars = bare.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = chars.clone().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !first || !rest || chars.next().is_none() || bare.len() > MAX_NAME_BYTES {
        return Err(Error::Invalid(format!(
            "Invalid container name ({bare}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    Ok(bare)
}

/// `N` random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

/// Random bytes in hexadecimal: an id.
pub(crate) fn id() -> String {
    loop {
        let id: String = random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        // The beginning becomes the host name, and software takes one that is all digits for an address.
        if id[..12].bytes().any(|digit| !digit.is_ascii_digit()) {
            return id;
        }
    }
}

const QUALITIES: [&str; 48] = [
    "able", "airy", "amber", "ample", "azure", "balmy", "bold", "brave", "brisk", "broad", "calm", "civil",
    "clear", "crisp", "deft", "eager", "early", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad",
    "grand", "hardy", "humble", "jolly", "keen", "kind", "lively", "lucid", "mellow", "merry", "mild",
    "neat", "noble", "patient", "plain", "proud", "quick", "quiet", "ready", "sturdy", "sunny", "tidy",
    "vivid", "warm",
];
const THINGS: [&str; 48] = [
    "anchor", "barge", "beacon", "boom", "bridge", "buoy", "cable", "canal", "capstan", "cargo", "chain",
    "compass", "coral", "crane", "current", "deck", "derrick", "dock", "ferry", "gantry", "gull", "harbor",
    "hatch", "hoist", "hull", "jetty", "keel", "lagoon", "lantern", "mast", "mooring", "paddle", "pier",
    "pilot", "pulley", "quay", "reef", "rudder", "sail", "sextant", "shore", "sluice", "strait", "tide",
    "trawler", "tug", "wharf", "winch",
];

/// A name that nobody chose; a number makes it unlikely to be taken when others were.
pub(crate) fn suggestion(attempt: u32) -> String {
    let [a, b, c] = random::<3>();
    let (quality, thing) = (QUALITIES[a as usize % QUALITIES.len()], THINGS[b as usize % THINGS.len()]);
    match attempt {
        0 => format!("{quality}_{thing}"),
        _ => format!("{quality}_{thing}{}", u32::from(c) + 256 * (attempt - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_two_letters_at_least() {
        for name in ["ab", "/ab", "a_b", "0.x-y"] {
            assert!(validate(name).is_ok(), "{name}");
        }
        for name in ["", "/", "a", "_a", "a b", "a/b", "//ab", &"x".repeat(256)] {
            assert!(validate(name).is_err(), "{name}");
        }
    }

    #[test]
    fn suggestions_are_names() {
        for attempt in 0..20 {
            assert!(validate(&suggestion(attempt)).is_ok());
        }
    }

    #[test]
    fn ids_are_64_digits_and_no_number() {
        let id = id();
        assert_eq!(id.len(), 64);
        assert!(id[..12].contains(|c: char| c.is_ascii_lowercase()));
    }
}
