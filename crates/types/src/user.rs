use std::fmt;
use std::str::FromStr;

/// Who a process of `exec` is to be: `UID` or `UID:GID`, digits alone, below 2^32 - 1, which the kernel takes for "no
/// change".
///
/// CVE-2026-30892: a parser that wraps, or stops at what it does not understand, makes somebody root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecUser {
    /// User id.
    pub uid: u32,
    /// Group id; `None` leaves the one that the process has.
    pub gid: Option<u32>,
}

/// A text that is no [`ExecUser`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUser {
    /// Before the colon, or where there is none.
    #[error("bad uid: {0:?} is not a number below {max}", max = u32::MAX)]
    Uid(String),
    /// Behind it.
    #[error("bad gid: {0:?} is not a number below {max}", max = u32::MAX)]
    Gid(String),
}

impl FromStr for ExecUser {
    type Err = InvalidUser;

    fn from_str(text: &str) -> Result<Self, InvalidUser> {
        let (uid, gid) = match text.split_once(':') {
            Some((uid, gid)) => (uid, Some(gid)),
            None => (text, None),
        };
        Ok(Self {
            uid: parse_id(uid).ok_or_else(|| InvalidUser::Uid(uid.to_owned()))?,
            gid: gid.map(|gid| parse_id(gid).ok_or_else(|| InvalidUser::Gid(gid.to_owned()))).transpose()?,
        })
    }
}

impl fmt::Display for ExecUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gid {
            Some(gid) => write!(f, "{}:{gid}", self.uid),
            None => write!(f, "{}", self.uid),
        }
    }
}

fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for (text, uid, gid) in [
            ("0", 0, None),
            ("1000", 1000, None),
            ("1000:100", 1000, Some(100)),
            ("4294967294:4294967294", 4_294_967_294, Some(4_294_967_294)),
            ("007", 7, None),
        ] {
            assert_eq!(text.parse(), Ok(ExecUser { uid, gid }), "{text}");
        }
    }

    #[test]
    fn cve_2026_30892_ids_never_wrap() {
        for text in [
            "",
            ":",
            "1:",
            ":1",
            "-1",
            "+1",
            "1:-1",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "1:4294967296",
            "1:4294967295",
            "root",
            "0x0",
            "1 ",
            " 1",
            "1:2:3",
            "1e0",
            "１",
        ] {
            assert!(text.parse::<ExecUser>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let error = |text: &str| text.parse::<ExecUser>().unwrap_err().to_string();
        assert_eq!(error("root:0"), "bad uid: \"root\" is not a number below 4294967295");
        assert_eq!(error("0:wheel"), "bad gid: \"wheel\" is not a number below 4294967295");
    }
}
