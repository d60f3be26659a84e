use super::*;

const PASSWD: &[u8] = b"# comment\nroot:x:0:0:root:/root:/bin/sh\n\n  web:x:33:34::/srv:/bin/false\n1000:x:0:0::/r:\nseven:x:7:7::/seven:\nweb:x:1:1::/:\nbad:x:99999999999:0::/:\nodd:x:-1:0::/:\nnogid:x:5::/:\n\xff:x:9:9::/:\n";
const GROUP: &[u8] =
    b"root:x:0:\nstaff:x:50:web\nextra:x:51:seven, web,root\nwheel:x:10:root\n50:x:0:\nbroken:x:y:bad\n";

fn check(text: &str, uid: u32, gid: u32, more: &[u32], home: &str) {
    let user = resolve(text, PASSWD, GROUP).unwrap();
    assert_eq!((user.uid, user.gid), (uid, gid), "{text}");
    assert_eq!(user.additional_gids, more, "{text}");
    assert_eq!(user.home, home, "{text}");
}

#[test]
fn users_are_names_or_numbers_with_or_without_a_group() {
    check("", 0, 0, &[51, 10], "/root");
    check(":", 0, 0, &[51, 10], "/root");
    check("root", 0, 0, &[51, 10], "/root");
    check("web", 33, 34, &[50, 51], "/srv");
    check("web:", 33, 34, &[50, 51], "/srv");
    check("33", 33, 34, &[50, 51], "/srv");
    check("web:staff", 33, 50, &[], "/srv");
    check("web:9", 33, 9, &[], "/srv");
    check(":50", 0, 50, &[], "/root");
    check("12345", 12345, 0, &[], "");
    check("12345:wheel", 12345, 10, &[], "");
    check("2147483647:2147483647", 2147483647, 2147483647, &[], "");
    assert_eq!(resolve("seven", PASSWD, b"").unwrap().name, "seven");
    assert_eq!(resolve("", b"", b"").unwrap(), User::default());
    assert_eq!(resolve("5:6", b"", b"").unwrap(), User { uid: 5, gid: 6, ..User::default() });
}

#[test]
fn who_is_not_there_is_not_found() {
    assert_eq!(resolve("nobody", PASSWD, GROUP), Err(Error::NoUser("nobody".into())));
    assert_eq!(resolve("web:nobody", PASSWD, GROUP), Err(Error::NoGroup("nobody".into())));
    assert_eq!(resolve("web", b"", b""), Err(Error::NoUser("web".into())));
    for bad in ["a:b:c", "a\nb", "a\0", &"x".repeat(2000)] {
        assert!(matches!(resolve(bad, PASSWD, GROUP), Err(Error::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn cve_2016_3697_a_number_is_never_a_name() {
    check("1000", 1000, 0, &[], "");
    check("1000:50", 1000, 50, &[], "");
    assert_eq!(resolve_groups(&["50"], GROUP), Ok(vec![50]));
}

#[test]
fn cve_2026_46680_and_cve_2024_40635_numbers_out_of_range_are_refused() {
    let passwd = b"9999999999:x:0:0::/:\n4294967296:x:0:0::/:\n-1:x:0:0::/:\n+0:x:0:0::/:\n";
    let group = b"9999999999:x:0:\n-1:x:0:\n";
    for bad in
        ["9999999999", "4294967296", "4294967295", "2147483648", "-1", "+0", "-0", "99999999999999999999999"]
    {
        assert_eq!(resolve(bad, passwd, group), Err(Error::OutOfRange(bad.into())), "{bad}");
        let both = format!("5:{bad}");
        assert_eq!(resolve(&both, passwd, group), Err(Error::OutOfRange(bad.into())), "{both}");
        assert_eq!(resolve_groups(&[bad], group), Err(Error::OutOfRange(bad.into())), "{bad}");
        assert!(needs_files(bad));
    }
}

#[test]
fn an_entry_without_an_id_is_not_root() {
    for name in ["bad", "odd", "nogid"] {
        assert!(matches!(resolve(name, PASSWD, GROUP), Err(Error::BadEntry { .. })), "{name}");
    }
    assert!(matches!(resolve("5:broken", PASSWD, GROUP), Err(Error::BadEntry { .. })));
    assert!(matches!(resolve("x", b"x:y", b""), Err(Error::BadEntry { .. })));
    check("9", 9, 9, &[], "/");
}

#[test]
fn cve_2026_47262_files_have_limits() {
    let large = vec![b'\n'; MAX_FILE_BYTES + 1];
    let line = [b"web:x:5:5::".to_vec(), vec![b'a'; MAX_LINE_BYTES]].concat();
    let many = "g:x:1:web\n".repeat(MAX_GROUPS + 1);
    for (passwd, group) in [
        (&large[..], GROUP),
        (PASSWD, &large[..]),
        (&line[..], GROUP),
        (PASSWD, &line[..]),
        (PASSWD, many.as_bytes()),
    ] {
        let error = resolve("web", passwd, group).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    }
    assert!(resolve_groups(&vec!["1"; 300], b"").is_err());
}

#[test]
fn groups_are_found_in_the_order_of_asking() {
    assert_eq!(resolve_groups(&["wheel", "99", "staff", "10"], GROUP), Ok(vec![10, 99, 50]));
    assert_eq!(resolve_groups::<&str>(&[], GROUP), Ok(Vec::new()));
    assert_eq!(resolve_groups(&["none"], GROUP), Err(Error::NoGroup("none".into())));
    assert!(resolve_groups(&[""], GROUP).is_err() && resolve_groups(&["a:b"], GROUP).is_err());
}

#[test]
fn files_are_needed_unless_all_is_said_in_numbers() {
    assert!(!needs_files("1:2"));
    for text in ["", "1", "web", "web:1", "1:staff", ":", ":5", "1:"] {
        assert!(needs_files(text), "{text}");
    }
}
