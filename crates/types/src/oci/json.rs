//! JSON as Go's decoder reads it where serde's derived code is laxer: a structure is an object.
//!
//! Derived code takes an array for any structure, field after field, so `"root": ["rootfs"]` would be a root. runc
//! refuses that. [`Strict`] passes every call on to another deserializer and asks it for a map where a structure is
//! wanted; derived code fills structures from maps anyway.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

/// The name under which `serde_json` passes unparsed text; it must reach its own deserializer as it is.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Reads one JSON value that is nothing but objects where structures are wanted.
///
/// # Errors
/// Text that is not JSON or nests too deeply, values of other types than the fields', anything behind the value.
pub fn from_json<'de, T: serde::Deserialize<'de>>(text: &'de [u8]) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = T::deserialize(Strict(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

/// A deserializer that takes no array for a structure.
#[derive(Debug)]
pub struct Strict<D>(pub D);

macro_rules! forward {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(Within(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Within(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if name == RAW_VALUE {
            return self.0.deserialize_newtype_struct(name, visitor);
        }
        self.0.deserialize_newtype_struct(name, Within(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Within(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, Within(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, len, Within(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Within(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// A visitor, or an access or seed of one, which carries [`Strict`] into what is below it.
struct Within<T>(T);

macro_rules! visit {
    ($($method:ident($type:ty))*) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Within<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128)
        visit_f32(f32) visit_f64(f64) visit_char(char)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Within(access))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Within(access))
    }

    // Our enumerations are words, which have nothing below them.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(access)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Within<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Within(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Within<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Within(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Process, Resources, Spec};

    #[test]
    fn arrays_are_no_structures() {
        for text in [
            r#"[]"#,
            r#"["1.0.0"]"#,
            r#"{"process":[]}"#,
            r#"{"root":["rootfs"]}"#,
            r#"{"process":{"user":[0,0]}}"#,
            r#"{"process":{"capabilities":[[],[]]}}"#,
            r#"{"mounts":[["/proc","proc"]]}"#,
            r#"{"hooks":{"prestart":[["/bin/true"]]}}"#,
            r#"{"linux":[]}"#,
            r#"{"linux":{"resources":{"memory":[1]}}}"#,
            r#"{"linux":{"netDevices":{"eth0":[]}}}"#,
            r#"{"linux":{"timeOffsets":{"boottime":[1,2]}}}"#,
        ] {
            assert!(from_json::<Spec>(text.as_bytes()).is_err(), "{text}");
        }
        assert!(from_json::<Process>(b"[]").is_err());
        assert!(from_json::<Resources>(b"[]").is_err());
    }

    #[test]
    fn objects_nulls_and_unparsed_parts_stay_as_they_are() {
        let text = br#"{"root":{"path":"r"},"process":null,"mounts":[{"destination":"/a","options":["ro"]}],
            "linux":{"seccomp":{"x":[1, 2]},"sysctl":{"a":"b"},"resources":{"memory":{"limit":5}}},"zz":[[]]}"#;
        let spec: Spec = from_json(text).unwrap();
        assert_eq!(spec.root.unwrap().path, "r");
        assert_eq!(spec.mounts[0].options, ["ro"]);
        let linux = spec.linux.unwrap();
        assert_eq!(linux.seccomp.unwrap().get(), r#"{"x":[1, 2]}"#);
        assert_eq!(linux.resources.unwrap().memory.unwrap().limit, Some(5));
    }

    #[test]
    fn nothing_may_follow_the_value() {
        assert!(from_json::<Spec>(b"{} {}").is_err());
        assert!(from_json::<Spec>(b"").is_err());
    }
}
