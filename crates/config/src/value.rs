//! Values of keys: what they may be, and how they are written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;
use toml::de::DeValue;

use crate::Error;
use crate::docker::{AddressPool, DoorAddress, is_interface};
use crate::document::{Node, quoted};
use crate::duration;
use crate::hosts::HostUrl;

/// What a key may have.
pub(crate) trait Value: Sized {
    /// What is allowed, for errors and for the documentation.
    const ALLOWED: &'static str;

    fn read(node: &Node<'_>) -> Result<Self, Error>;

    /// As TOML; nothing if the key is to be left out.
    fn write(&self) -> Option<String>;
}

/// A number of bytes: an integer, or a text such as `4MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let unit = UNITS.iter().find(|(name, _)| *name == text[end..].trim_start())?.1;
        text[..end].parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}

fn integer(node: &Node<'_>) -> Option<i64> {
    let number = node.value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

macro_rules! whole {
    ($($ty:ty: $allowed:literal;)*) => { $(
        impl Value for $ty {
            const ALLOWED: &'static str = $allowed;

            fn read(node: &Node<'_>) -> Result<Self, Error> {
                integer(node).and_then(|n| Self::try_from(n).ok()).ok_or_else(|| node.wrong(Self::ALLOWED))
            }

            fn write(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )* };
}

whole! {
    u32: "an integer from 0 to 4294967295";
    u64: "an integer from 0 on";
    usize: "an integer from 0 on";
}

impl Value for Size {
    const ALLOWED: &'static str =
        "a number of bytes: an integer, or a text such as \"4MiB\" (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let size = match node.value {
            DeValue::String(text) => Self::parse(text),
            _ => integer(node).and_then(|n| u64::try_from(n).ok()).map(Self),
        };
        size.ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

impl Value for bool {
    const ALLOWED: &'static str = "true or false";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        node.value.as_bool().ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A part of a whole, from 0 to 1.
impl Value for f64 {
    const ALLOWED: &'static str = "a number from 0 to 1";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let number = match node.value {
            DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
            _ => integer(node).map(|n| n as Self),
        };
        number.filter(|n| (0.0..=1.0).contains(n)).ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Value for String {
    const ALLOWED: &'static str = "a text";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        node.value.as_str().map(str::to_owned).ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for PathBuf {
    const ALLOWED: &'static str = "an absolute path";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let text = node.value.as_str().filter(|text| text.starts_with('/') && !text.contains('\0'));
        text.map(Self::from).ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Value for Duration {
    const ALLOWED: &'static str = "a duration such as \"1m30s\" or \"100ms\"";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let read = match node.value {
            DeValue::String(text) => duration::parse(text),
            _ => integer(node).filter(|n| *n == 0).map(|_| Self::ZERO),
        };
        read.ok_or_else(|| node.wrong(<Self as Value>::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&duration::format(*self)))
    }
}

impl Value for SocketAddr {
    const ALLOWED: &'static str = "an address and a port such as \"127.0.0.1:1338\"";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let text = node.value.as_str().map(|text| match text.strip_prefix(':') {
            Some(port) => format!("[::]:{port}"),
            None => text.to_owned(),
        });
        text.and_then(|text| text.parse().ok()).ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// The URL of a collector: `http[s]://host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// None for what is no such URL.
    pub fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("://")?;
        HostUrl::parse(text)?;
        let host = rest.split_once('/').map_or(rest, |(host, _)| host);
        let (name, port) = match host.rsplit_once(':') {
            // The colons of an address of IPv6 are within brackets.
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        let is_address = name.starts_with('[') && name.ends_with(']');
        let is_name = !name.is_empty() && !name.contains(['[', ']', ':']);
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
        ((is_address || is_name) && is_port).then(|| Self(text.to_owned()))
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is reached by TLS.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The same with `path`, if it has none of its own.
    #[must_use]
    pub fn or_path(self, path: &str) -> Self {
        let bare = self.0.trim_end_matches('/');
        if bare.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
            return self;
        }
        Self(format!("{bare}{path}"))
    }
}

impl Value for Endpoint {
    const ALLOWED: &'static str = "an URL such as \"http://127.0.0.1:4318\"";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        node.value.as_str().and_then(Self::parse).ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// An empty text is nothing, as containerd has it.
impl<T: Value> Value for Option<T> {
    const ALLOWED: &'static str = T::ALLOWED;

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        if node.value.as_str() == Some("") { Ok(None) } else { T::read(node).map(Some) }
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(Value::write)
    }
}

impl Value for Vec<String> {
    const ALLOWED: &'static str = "a list of texts";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let Some(array) = node.value.as_array() else { return Err(node.wrong(Self::ALLOWED)) };
        let texts = array.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
        texts.collect::<Option<_>>().ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(format!("[{}]", self.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")))
    }
}

/// Paths with colons between them, as containerd has them, or a list.
impl Value for Vec<PathBuf> {
    const ALLOWED: &'static str = "absolute paths: a list, or one text with colons between them";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let texts = match node.value.as_str() {
            Some(text) => text.split(':').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            None => Vec::<String>::read(node).map_err(|_| node.wrong(Self::ALLOWED))?,
        };
        let absolute = texts.iter().all(|text| text.starts_with('/') && !text.contains('\0'));
        if !absolute {
            return Err(node.wrong(Self::ALLOWED));
        }
        Ok(texts.into_iter().map(PathBuf::from).collect())
    }

    fn write(&self) -> Option<String> {
        let paths: Vec<_> = self.iter().map(|path| quoted(&path.to_string_lossy())).collect();
        Some(format!("[{}]", paths.join(", ")))
    }
}

/// The name of a network interface, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(String);

impl std::fmt::Display for Interface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for Interface {
    const ALLOWED: &'static str = "the name of an interface, of at most 15 bytes, or \"none\"";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        let name = node.value.as_str().filter(|name| is_interface(name));
        name.map(|name| Self(name.to_owned())).ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

impl Value for Ipv4Net {
    const ALLOWED: &'static str = "an address of IPv4 and a prefix length, such as \"172.17.0.1/16\"";

    fn read(node: &Node<'_>) -> Result<Self, Error> {
        node.value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| node.wrong(Self::ALLOWED))
    }

    fn write(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// A list of what has a text, or one text alone.
macro_rules! parsed_list {
    ($($ty:ty: $allowed:expr;)*) => { $(
        impl Value for Vec<$ty> {
            const ALLOWED: &'static str = $allowed;

            fn read(node: &Node<'_>) -> Result<Self, Error> {
                let texts = match node.value.as_str() {
                    Some(text) => vec![text.to_owned()],
                    None => Vec::<String>::read(node).map_err(|_| node.wrong(Self::ALLOWED))?,
                };
                let parsed = texts.iter().map(|text| <$ty>::parse(text)).collect::<Option<_>>();
                parsed.ok_or_else(|| node.wrong(Self::ALLOWED))
            }

            fn write(&self) -> Option<String> {
                let texts: Vec<_> = self.iter().map(|item| quoted(&item.to_string())).collect();
                Some(format!("[{}]", texts.join(", ")))
            }
        }
    )* };
}

parsed_list! {
    DoorAddress: DoorAddress::ALLOWED;
    AddressPool: AddressPool::ALLOWED;
}

/// An enumeration whose words are those of the file.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident: $allowed:literal { $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl $name {
            /// The word that stands for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::value::Value for $name {
            const ALLOWED: &'static str = $allowed;

            fn read(node: &$crate::document::Node<'_>) -> Result<Self, $crate::Error> {
                match node.value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)*
                    _ => Err(node.wrong(Self::ALLOWED)),
                }
            }

            fn write(&self) -> Option<String> {
                Some(format!("\"{}\"", self.as_str()))
            }
        }
    };
}
pub(crate) use words;
