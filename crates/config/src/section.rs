//! Tables of the configuration: each is a struct whose fields are the keys, with their documentation and default.

use crate::Error;
use crate::document::Node;

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) about: &'static [&'static str],
    pub(crate) allowed: &'static str,
}

/// A table with known keys.
pub(crate) trait Section {
    fn about(&self) -> &'static [&'static str];

    fn keys(&self) -> &'static [Key];

    /// Takes a value; `false` if there is no such key.
    fn set(&mut self, key: &str, value: &Node<'_>) -> Result<bool, Error>;

    /// The values as TOML, in the order of the keys.
    fn values(&self) -> Vec<Option<String>>;
}

macro_rules! section {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[doc = $doc])* pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::section::Section for $name {
            fn about(&self) -> &'static [&'static str] {
                &[$($about),*]
            }

            fn keys(&self) -> &'static [$crate::section::Key] {
                const KEYS: &[$crate::section::Key] = &[$($crate::section::Key {
                    name: stringify!($field),
                    about: &[$($doc),*],
                    allowed: <$ty as $crate::value::Value>::ALLOWED,
                }),*];
                KEYS
            }

            fn set(&mut self, key: &str, value: &$crate::document::Node<'_>) -> Result<bool, $crate::Error> {
                match key {
                    $(stringify!($field) => self.$field = $crate::value::Value::read(value)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn values(&self) -> Vec<Option<String>> {
                vec![$($crate::value::Value::write(&self.$field)),*]
            }
        }
    };
}
pub(crate) use section;
