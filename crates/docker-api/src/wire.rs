//! How structures look on the wire: Go's `encoding/json` over serde.
//!
//! [`wire!`] declares a structure whose fields have a wire name and a mode: `put` is always written, `omit` only with a
//! value (Go's `omitempty`), `flat` is an embedded structure whose fields stand among the others. Reading is Go's, as
//! clients know it: keys match without regard to case, unknown keys are skipped, `null` is the empty value anywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A structure of the wire, field by field: what lets one be embedded in another.
pub trait Fields: Default {
    /// Reads the value of `key` from `map` if the key is one of this structure's; tells whether it was.
    ///
    /// # Errors
    /// The value is of another type.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;

    /// Writes every field that is to be written.
    ///
    /// # Errors
    /// The writer's.
    fn put<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// Whether Go's `omitempty` leaves a value out.
pub trait Omit {
    /// True for what is not written.
    fn is_omitted(&self) -> bool;
}

macro_rules! omit_default {
    ($($ty:ty),*) => { $(impl Omit for $ty {
        fn is_omitted(&self) -> bool {
            *self == <$ty>::default()
        }
    })* };
}
omit_default!(bool, u8, u16, u32, u64, i32, i64, f64, String, serde_json::Value);

impl<T> Omit for Option<T> {
    fn is_omitted(&self) -> bool {
        self.is_none()
    }
}

impl<T> Omit for List<T> {
    fn is_omitted(&self) -> bool {
        self.is_empty()
    }
}

impl<V> Omit for Map<V> {
    fn is_omitted(&self) -> bool {
        self.is_empty()
    }
}

impl Omit for Words {
    fn is_omitted(&self) -> bool {
        self.is_empty()
    }
}

macro_rules! wire {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $mode:ident $($wire:literal)? $field:ident: $ty:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* $(#[doc = concat!("`", $wire, "`")])? pub $field: $ty,)*
        }

        impl $crate::wire::Fields for $name {
            #[allow(unused_variables)]
            fn take<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                $(wire!(@take $mode $($wire)?, self.$field, $ty, key, map);)*
                Ok(false)
            }

            #[allow(unused_variables)]
            fn put<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                $(wire!(@put $mode $($wire)?, self.$field, map);)*
                Ok(())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::wire::write(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::wire::read(deserializer)
            }
        }
    };
    (@take flat, $place:expr, $ty:ty, $key:expr, $map:expr) => {
        if $crate::wire::Fields::take(&mut $place, $key, $map)? {
            return Ok(true);
        }
    };
    (@take $mode:ident $wire:literal, $place:expr, $ty:ty, $key:expr, $map:expr) => {
        if $key.eq_ignore_ascii_case($wire) {
            $place = $map.next_value::<Option<$ty>>()?.unwrap_or_default();
            return Ok(true);
        }
    };
    (@put flat, $place:expr, $map:expr) => {
        $crate::wire::Fields::put(&$place, $map)?;
    };
    (@put put $wire:literal, $place:expr, $map:expr) => {
        $map.serialize_entry($wire, &$place)?;
    };
    (@put omit $wire:literal, $place:expr, $map:expr) => {
        if !$crate::wire::Omit::is_omitted(&$place) {
            $map.serialize_entry($wire, &$place)?;
        }
    };
}
pub(crate) use wire;

/// Writes a structure as an object.
pub(crate) fn write<T: Fields, S: Serializer>(fields: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    fields.put(&mut map)?;
    map.end()
}

/// Reads a structure from an object.
pub(crate) fn read<'de, T: Fields, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Fields> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
            let mut fields = T::default();
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                if !fields.take(&key, &mut map)? {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
            Ok(fields)
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

/// A Go slice: a list that may be `null` when it is empty. The default is `null`, what is made of a `Vec` is not.
#[derive(Debug, Clone)]
pub struct List<T> {
    is_null: bool,
    items: Vec<T>,
}

impl<T> List<T> {
    /// The list that is written as `[]`.
    #[must_use]
    pub fn empty() -> Self {
        Self { is_null: false, items: Vec::new() }
    }

    /// Whether it is written as `null`: what tells "not said" from "none".
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.is_null && self.items.is_empty()
    }

    /// The items.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.items
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { is_null: true, items: Vec::new() }
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items && self.is_null() == other.is_null()
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T> Deref for List<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        Self { is_null: false, items }
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_null() { serializer.serialize_unit() } else { self.items.serialize(serializer) }
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Option::<Vec<Option<T>>>::deserialize(deserializer)?;
        Ok(items
            .map_or_else(Self::default, |items| items.into_iter().map(Option::unwrap_or_default).collect()))
    }
}

/// A Go map: an object that may be `null` when it is empty. The default is `null`, what is made of a `BTreeMap` is not.
#[derive(Debug, Clone)]
pub struct Map<V> {
    is_null: bool,
    entries: BTreeMap<String, V>,
}

impl<V> Map<V> {
    /// The map that is written as `{}`.
    #[must_use]
    pub fn empty() -> Self {
        Self { is_null: false, entries: BTreeMap::new() }
    }

    /// Whether it is written as `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.is_null && self.entries.is_empty()
    }

    /// The entries.
    #[must_use]
    pub fn into_map(self) -> BTreeMap<String, V> {
        self.entries
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self { is_null: true, entries: BTreeMap::new() }
    }
}

impl<V: PartialEq> PartialEq for Map<V> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.is_null() == other.is_null()
    }
}

impl<V: Eq> Eq for Map<V> {}

impl<V> Deref for Map<V> {
    type Target = BTreeMap<String, V>;

    fn deref(&self) -> &BTreeMap<String, V> {
        &self.entries
    }
}

impl<V> DerefMut for Map<V> {
    fn deref_mut(&mut self) -> &mut BTreeMap<String, V> {
        &mut self.entries
    }
}

impl<V> From<BTreeMap<String, V>> for Map<V> {
    fn from(entries: BTreeMap<String, V>) -> Self {
        Self { is_null: false, entries }
    }
}

impl<V> FromIterator<(String, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(entries: I) -> Self {
        BTreeMap::from_iter(entries).into()
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = std::collections::btree_map::IntoIter<String, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, String, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_null() { serializer.serialize_unit() } else { self.entries.serialize(serializer) }
    }
}

impl<'de, V: Deserialize<'de> + Default> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Option::<BTreeMap<String, Option<V>>>::deserialize(deserializer)?;
        Ok(entries.map_or_else(Self::default, |entries| {
            entries.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
        }))
    }
}

/// A command line: a list of words, which clients may also give as one string that is its only word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub List<String>);

impl Deref for Words {
    type Target = List<String>;

    fn deref(&self) -> &List<String> {
        &self.0
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut List<String> {
        &mut self.0
    }
}

impl From<Vec<String>> for Words {
    fn from(words: Vec<String>) -> Self {
        Self(words.into())
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Words, E> {
                Ok(vec![word.to_owned()].into())
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Words, E> {
                Ok(Words::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Words, A::Error> {
                let mut all = Vec::new();
                while let Some(word) = words.next_element::<Option<String>>()? {
                    all.push(word.unwrap_or_default());
                }
                Ok(all.into())
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

wire! {
    /// The object without fields, as the values of Go's sets are.
    pub struct Nothing {
    }
}

#[cfg(test)]
#[allow(unreachable_pub)]
mod tests {
    use super::*;

    wire! {
        /// Embedded.
        pub struct Part {
            put "Weight" weight: i64,
        }
    }

    wire! {
        /// The whole.
        pub struct Whole {
            put "Name" name: String,
            omit "Labels" labels: Map<String>,
            put "Names" names: List<String>,
            put "Ports" ports: Map<List<u16>>,
            put "Cmd" cmd: Words,
            flat part: Part,
            omit "Nested" nested: Option<Part>,
        }
    }

    fn whole(text: &str) -> Whole {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_empty_value_is_written_as_go_writes_it() {
        let text = serde_json::to_string(&Whole::default()).unwrap();
        assert_eq!(text, r#"{"Name":"","Names":null,"Ports":null,"Cmd":null,"Weight":0}"#);
    }

    #[test]
    fn null_empty_and_filled_lists_stay_what_they_are() {
        let text = r#"{"Name":"x","Names":[],"Ports":{"80":null,"81":[1]},"Cmd":["a"],"Weight":3,"Nested":{"Weight":1}}"#;
        assert_eq!(serde_json::to_string(&whole(text)).unwrap(), text);
    }

    #[test]
    fn keys_match_in_any_case_and_unknown_ones_are_skipped() {
        let read = whole(r#"{"NAME":"x","weight":2,"other":{"a":[1]},"cmd":"one"}"#);
        assert_eq!((read.name.as_str(), read.part.weight), ("x", 2));
        assert_eq!(read.cmd, vec!["one".to_owned()].into());
    }

    #[test]
    fn null_is_the_empty_value_of_every_type() {
        let text = r#"{"Name":null,"Labels":null,"Names":[null],"Ports":null,"Cmd":null,"Weight":null,"Nested":null}"#;
        let read = whole(text);
        assert_eq!(*read.names, [String::new()]);
        assert_eq!(Whole { names: List::default(), ..read }, Whole::default());
    }

    #[test]
    fn another_type_is_refused() {
        for text in [r#"{"Name":1}"#, r#"{"Names":"a"}"#, r#"{"Weight":"1"}"#, r#"{"Cmd":{}}"#, "[]", "1"] {
            assert!(serde_json::from_str::<Whole>(text).is_err(), "{text}");
        }
    }
}
