use std::fmt;
use std::str::FromStr;

use super::Error;

/// The longest name, and the longest of its parts.
const MAX_BYTES: usize = 1024;

/// The name of a device: `vendor/class=name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceName {
    /// Who made it, as `vendor.com`.
    pub vendor: String,
    /// What it is, as `gpu`.
    pub class: String,
    /// Which one.
    pub name: String,
}

/// Whether a text has the form of a device's name, and is none of the host's paths: that is how docker's `--device` tells
/// the two from each other.
pub fn is_device_name(text: &str) -> bool {
    text.parse::<DeviceName>().is_ok()
}

impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Name { name: text.chars().take(256).collect(), reason });
        if text.len() > MAX_BYTES {
            return refuse("it is too long");
        }
        let Some(((vendor, class), name)) =
            text.split_once('=').and_then(|(kind, name)| Some((kind.split_once('/')?, name)))
        else {
            return refuse("it is not vendor/class=name");
        };
        if !is_kind(vendor) || !is_kind(class) {
            return refuse(
                "vendor and class begin with a letter and are of letters, digits, '.', '_' and '-'",
            );
        }
        if !is_name(name) {
            return refuse(
                "the name is of letters, digits, '.', '_', '-' and ':', which neither begin nor end it",
            );
        }
        Ok(Self { vendor: vendor.to_owned(), class: class.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}={}", self.vendor, self.class, self.name)
    }
}

/// Whether a text is a vendor's name or a class's.
pub(super) fn is_kind(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && within(text, "._-")
}

/// Whether a text is the name of one of the devices of a class.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && within(text, "._-:")
}

fn within(text: &str, more: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}
