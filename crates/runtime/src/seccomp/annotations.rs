//! What configurations for crun say about seccomp outside of the profile.

use super::error::SeccompError;
use super::profile::parse_flags;
use super::{Program, unknown_syscalls};
use gantry_sys::seccomp::{MAX_INSTRUCTIONS, action};
use gantry_types::oci::Seccomp;
use std::path::Path;

/// crun's annotation with a program instead of a profile.
pub const BPF_DATA_ANNOTATION: &str = "run.oci.seccomp_bpf_data";

/// crun's annotation that makes unknown calls an error.
pub const FAIL_UNKNOWN_ANNOTATION: &str = "run.oci.seccomp_fail_unknown_syscall";

/// crun's annotation with the path of the listener's socket, for profiles without `listenerPath`.
pub const RECEIVER_ANNOTATION: &str = "run.oci.seccomp.receiver";

/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// What to do about calls that no architecture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownNames {
    /// Skip them, as runc does: the profile is newer than this program.
    #[default]
    Skip,
    /// Refuse the profile.
    Refuse,
}

impl UnknownNames {
    /// Reads the value of [`FAIL_UNKNOWN_ANNOTATION`], of which crun takes all but `0` for a yes.
    pub fn from_annotation(value: Option<&str>) -> UnknownNames {
        match value {
            None | Some("0") => UnknownNames::Skip,
            Some(_) => UnknownNames::Refuse,
        }
    }
}

/// Refuses a profile with calls that no architecture has.
///
/// # Errors
/// [`SeccompError::UnknownSyscall`] for the first one.
pub fn require_known(profile: &Seccomp) -> Result<(), SeccompError> {
    match unknown_syscalls(profile).next() {
        None => Ok(()),
        Some(name) => Err(SeccompError::UnknownSyscall { name: super::error::quote(name) }),
    }
}

/// Reads the value of [`BPF_DATA_ANNOTATION`]: the instructions of a program in base64, for this machine.
///
/// `flags` are those of the profile, which has no other say. The kernel checks the instructions when they are loaded.
///
/// # Errors
/// [`SeccompError::BpfData`] if it is not base64 or not instructions; [`SeccompError::Unknown`] for a flag.
pub fn program_from_annotation(value: &str, flags: Option<&[String]>) -> Result<Program, SeccompError> {
    let fail = |reason| SeccompError::BpfData { reason };
    if value.len() / 4 * 3 > MAX_INSTRUCTIONS * 8 + 8 {
        return Err(fail("the program is too long"));
    }
    let bytes = decode_base64(value).ok_or(fail("not base64"))?;
    let instructions = Program::instructions_from_bytes(&bytes).ok_or(fail("the last instruction is cut"))?;
    if instructions.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
        return Err(fail("the program is empty or too long"));
    }
    let program = Program { flags: parse_flags(flags)?, instructions, listener: false };
    let notifies =
        program.instructions.iter().any(|one| one.code == RETURN && one.k >> 16 == action::NOTIFY >> 16);
    Ok(if notifies { program.with_listener() } else { program })
}

/// Where the notification descriptor goes, for a program that has a listener.
///
/// `receiver` is the value of [`RECEIVER_ANNOTATION`].
///
/// # Errors
/// [`SeccompError::ListenerPathMissing`] if neither says so, [`SeccompError::ListenerPathRelative`] if the path is not
/// absolute.
pub fn listener_path<'a>(profile: &'a Seccomp, receiver: Option<&'a str>) -> Result<&'a Path, SeccompError> {
    let path = Some(profile.listener_path.as_str()).filter(|path| !path.is_empty()).or(receiver);
    let path = Path::new(path.filter(|path| !path.is_empty()).ok_or(SeccompError::ListenerPathMissing)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(SeccompError::ListenerPathRelative { path: path.display().to_string() })
    }
}

/// RFC 4648 section 4, with its padding.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let (groups, []) = text.as_bytes().as_chunks::<4>() else { return None };
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (index, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 != groups.len()) {
            return None;
        }
        let mut word = 0;
        for byte in &group[..4 - padding] {
            word = (word << 6) | base64_digit(*byte)?;
        }
        word <<= 6 * padding;
        bytes.extend(&word.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}

fn base64_digit(byte: u8) -> Option<u32> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(digit.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_sys::seccomp::{Instruction, flag};

    #[test]
    fn base64_is_read_with_its_padding() {
        for (text, expect) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg==", Some("foob")),
        ] {
            assert_eq!(decode_base64(text).as_deref(), expect.map(str::as_bytes), "{text}");
        }
        for text in ["Z", "Zg=", "Z===", "====", "Zg==Zg==", "Zm 9", "Zm9-"] {
            assert_eq!(decode_base64(text), None, "{text}");
        }
    }

    #[test]
    fn annotation_is_a_program() {
        // ret ALLOW
        let program = program_from_annotation("BgAAAAAA/38=", None).unwrap();
        let allow = Instruction { code: 6, jump_true: 0, jump_false: 0, k: 0x7fff_0000 };
        assert_eq!(
            (program.instructions, program.flags, program.listener),
            (vec![allow], flag::SPEC_ALLOW, false)
        );
        // ret NOTIFY
        let program = program_from_annotation("BgAAAAAAwH8=", Some(&[])).unwrap();
        assert_eq!((program.flags, program.listener), (flag::NEW_LISTENER, true));
        for bad in ["", "BgAAAAAA/w==", "%", &"A".repeat(60_000)] {
            assert!(matches!(program_from_annotation(bad, None), Err(SeccompError::BpfData { .. })));
        }
    }

    #[test]
    fn listener_path_is_the_profiles_or_the_annotations() {
        let mut profile = Seccomp::default();
        assert!(matches!(listener_path(&profile, None), Err(SeccompError::ListenerPathMissing)));
        assert_eq!(listener_path(&profile, Some("/a")).unwrap(), Path::new("/a"));
        profile.listener_path = "/b".to_owned();
        assert_eq!(listener_path(&profile, Some("/a")).unwrap(), Path::new("/b"));
        profile.listener_path = "b".to_owned();
        assert!(matches!(listener_path(&profile, None), Err(SeccompError::ListenerPathRelative { .. })));
    }

    #[test]
    fn unknown_names_are_refused_if_asked() {
        assert_eq!(UnknownNames::from_annotation(Some("0")), UnknownNames::Skip);
        assert_eq!(UnknownNames::from_annotation(Some("1")), UnknownNames::Refuse);
        let profile = |name: &str| {
            serde_json::from_value(serde_json::json!({"syscalls": [{"names": [name]}]})).unwrap()
        };
        assert!(require_known(&profile("read")).is_ok());
        // Known, though not on every architecture.
        assert!(require_known(&profile("set_tls")).is_ok());
        assert!(matches!(require_known(&profile("reed")), Err(SeccompError::UnknownSyscall { .. })));
    }
}
