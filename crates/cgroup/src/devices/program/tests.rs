use super::super::policy as policy_of;
use super::super::rule::Rule;
use super::interpreter::{all_reachable, interpret};
use super::*;

fn agrees(policy: &Policy, numbers: &[u32]) {
    let program = compile(policy);
    assert!(all_reachable(&program), "{policy:?}");
    for kind in [Kind::Block, Kind::Char] {
        for &major in numbers {
            for &minor in numbers {
                for access in (1..=7).map(Access::from_bits) {
                    assert_eq!(
                        interpret(&program, kind, major, minor, access),
                        policy.permits(kind, major, minor, access),
                        "{kind:?} {major}:{minor} {access} of {policy:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_program_decides_as_the_policy_does() {
    const NUMBERS: [u32; 12] = [0, 1, 2, 3, 5, 8, 9, 10, 136, 200, 0x7fff_ffff, u32::MAX];
    for rules in [
        "[]",
        r#"[{"allow":true}]"#,
        r#"[{"allow":true},{"allow":false,"type":"b","major":8,"access":"rw"},{"allow":false,"type":"c","major":9,"minor":3}]"#,
        r#"[{"allow":true,"type":"c","access":"rwm"}]"#,
        r#"[{"allow":true,"type":"b","major":4294967295,"minor":2147483647,"access":"w"}]"#,
        r#"[{"allow":true,"access":"r"},{"allow":true,"type":"c","major":10,"access":"w"}]"#,
    ] {
        agrees(&policy_of(&serde_json::from_str::<Vec<_>>(rules).unwrap()).unwrap(), &NUMBERS);
    }
}

#[test]
fn it_does_so_for_any_list_of_rules() {
    // A small generator of its own: the lists must be the same on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..300 {
        let mut policy = Policy::deny_all();
        for _ in 0..next(9) {
            let mut number = || [None, Some(1), Some(2), Some(u32::MAX)][next(4) as usize];
            let (major, minor) = (number(), number());
            let kind = [None, Some(Kind::Block), Some(Kind::Char)][next(3) as usize];
            let (allow, access) = (next(2) == 0, Access::from_bits(next(7) as u8 + 1));
            let rule = if next(6) == 0 {
                Rule::Reset { allow }
            } else {
                Rule::Some { allow, kind, major, minor, access }
            };
            // Holes are refused, and leave the rest.
            let _ = policy.apply(&rule);
        }
        agrees(&policy, &[0, 1, 2, u32::MAX]);
    }
}

#[test]
fn what_a_wildcard_says_is_not_said_again() {
    let all = policy_of(&serde_json::from_str::<Vec<_>>(r#"[{"allow":true,"type":"c"}]"#).unwrap()).unwrap();
    let standard = policy_of(&[]).unwrap();
    assert!(compile(&all).len() < 20, "{}", compile(&all).len());
    assert!(compile(&standard).len() < 80, "{}", compile(&standard).len());
    assert_eq!(compile(&Policy::deny_all()).len(), 8);
}

#[test]
fn many_rules_of_one_major_number_are_split() {
    let rules: Vec<String> = (0..5000)
        .map(|n| format!(r#"{{"allow":true,"type":"b","major":7,"minor":{n},"access":"w"}}"#))
        .collect();
    let json = format!("[{}]", rules.join(","));
    let policy = policy_of(&serde_json::from_str::<Vec<_>>(&json).unwrap()).unwrap();
    let program = compile(&policy);
    for minor in [0, 1, 1999, 2000, 2001, 4999, 5000] {
        for access in [Access::WRITE, Access::READ] {
            let permits = policy.permits(Kind::Block, 7, minor, access);
            assert_eq!(interpret(&program, Kind::Block, 7, minor, access), permits, "{minor}");
        }
    }
    assert!(!interpret(&program, Kind::Char, 7, 0, Access::WRITE));
}
