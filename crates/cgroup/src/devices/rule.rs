use std::fmt;

use gantry_types::oci::DeviceRule;

/// Block or character devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Block.
    Block,
    /// Character.
    Char,
}

/// A set of ways to use a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// None.
    pub const NONE: Self = Self(0);
    /// Making the node: `BPF_DEVCG_ACC_MKNOD`.
    pub const MKNOD: Self = Self(1);
    /// Reading: `BPF_DEVCG_ACC_READ`.
    pub const READ: Self = Self(2);
    /// Writing: `BPF_DEVCG_ACC_WRITE`.
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    /// Reads letters of `rwm`; others beside them are passed over, as in runc.
    pub(crate) fn parse(letters: &str) -> Option<Self> {
        let mut access = Self::NONE;
        for letter in letters.bytes() {
            access.0 |= match letter {
                b'm' => Self::MKNOD.0,
                b'r' => Self::READ.0,
                b'w' => Self::WRITE.0,
                _ => 0,
            };
        }
        (letters.is_empty() || !access.is_none()).then_some(access)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set with these bits; others are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// What both have.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either has.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What the other lacks.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if !self.and(bit).is_none() {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Which devices a rule is about. `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Devices {
    /// Block or character.
    pub kind: Kind,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kind == Kind::Block { "b " } else { "c " })?;
        match self.major {
            Some(major) => write!(f, "{major}:")?,
            None => f.write_str("*:")?,
        }
        match self.minor {
            Some(minor) => write!(f, "{minor}"),
            None => f.write_str("*"),
        }
    }
}

/// One rule of the ordered list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Forget everything before; every device is allowed, or none.
    Reset {
        /// Whether devices are allowed.
        allow: bool,
    },
    /// Some devices of one kind, or of both.
    Some {
        /// Whether access is given or taken.
        allow: bool,
        /// Block or character; both if absent.
        kind: Option<Kind>,
        /// Major number.
        major: Option<u32>,
        /// Minor number.
        minor: Option<u32>,
        /// Which access.
        access: Access,
    },
}

impl Rule {
    /// Reads a rule of the configuration.
    ///
    /// In cgroup v1 and runc, type `a` is every device with every access, whatever else the rule says. Here that
    /// holds where it takes access away; a rule that allows with type `a` gives no more than what it names.
    pub(crate) fn parse(rule: &DeviceRule) -> Result<Self, &'static str> {
        let kind = match rule.type_.as_str() {
            "" | "a" => None,
            "b" => Some(Kind::Block),
            "c" => Some(Kind::Char),
            _ => return Err("type must be one of a, b, c"),
        };
        let access = Access::parse(&rule.access).ok_or("access must be of the letters r, w, m")?;
        let access = if access.is_none() { Access::ALL } else { access };
        let number = |value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => u32::try_from(value).map(Some).map_err(|_| "device number out of range"),
        };
        let (major, minor) = (number(rule.major)?, number(rule.minor)?);
        let everything = kind.is_none() && major.is_none() && minor.is_none();
        if everything && (!rule.allow || access == Access::ALL) {
            return Ok(Self::Reset { allow: rule.allow });
        }
        Ok(Self::Some { allow: rule.allow, kind, major, minor, access })
    }

    const fn chars(major: u32, minor: u32) -> Self {
        Self::Some {
            allow: true,
            kind: Some(Kind::Char),
            major: Some(major),
            minor: Some(minor),
            access: Access::ALL,
        }
    }

    const fn mknod(kind: Kind) -> Self {
        Self::Some { allow: true, kind: Some(kind), major: None, minor: None, access: Access::MKNOD }
    }
}

/// What every container is allowed, after its own rules: making nodes (not opening them), the standard devices of
/// config-linux.md, and its terminals.
///
/// runc also allows `/dev/net/tun` (c 10:200), for the sake of old configurations; Gantry does not.
pub const DEFAULT_RULES: [Rule; 12] = [
    Rule::mknod(Kind::Char),
    Rule::mknod(Kind::Block),
    Rule::chars(1, 3),    // null
    Rule::chars(1, 5),    // zero
    Rule::chars(1, 7),    // full
    Rule::chars(1, 8),    // random
    Rule::chars(1, 9),    // urandom
    Rule::chars(5, 0),    // tty
    Rule::chars(5, 1),    // console
    Rule::chars(10, 200), // net/tun
    Rule::chars(5, 2),    // ptmx
    Rule::Some { allow: true, kind: Some(Kind::Char), major: Some(136), minor: None, access: Access::ALL }, // pts
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Rule, &'static str> {
        Rule::parse(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn rules_of_configurations_are_read() {
        assert_eq!(rule(r#"{"allow":false,"access":"rwm"}"#), Ok(Rule::Reset { allow: false }));
        assert_eq!(
            rule(r#"{"allow":true,"type":"a","major":-1,"minor":-1}"#),
            Ok(Rule::Reset { allow: true })
        );
        assert_eq!(
            rule(r#"{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}"#),
            Ok(DEFAULT_RULES[2])
        );
    }

    #[test]
    fn allowing_a_part_of_everything_does_not_allow_everything() {
        for text in [
            r#"{"allow":true,"access":"m"}"#,
            r#"{"allow":true,"type":"a","major":1,"minor":3}"#,
            r#"{"allow":true,"type":"a","minor":3}"#,
        ] {
            assert!(matches!(rule(text), Ok(Rule::Some { kind: None, .. })), "{text}");
        }
        assert_eq!(rule(r#"{"allow":false,"access":"m"}"#), Ok(Rule::Reset { allow: false }));
    }

    #[test]
    fn malformed_rules_are_refused() {
        for text in [
            r#"{"allow":true,"type":"p"}"#,
            r#"{"allow":true,"type":"c","access":"x"}"#,
            r#"{"allow":true,"type":"c","major":-2}"#,
            r#"{"allow":true,"type":"c","minor":4294967296}"#,
        ] {
            assert!(rule(text).is_err(), "{text}");
        }
    }
}
