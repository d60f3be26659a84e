use super::*;
use crate::Error;

fn one(text: &str) -> Instruction {
    let parsed = Dockerfile::parse(format!("FROM x\n{text}").as_bytes()).unwrap();
    parsed.stages[0].steps[0].instruction.clone()
}

fn refused(text: &str) -> String {
    Dockerfile::parse(format!("FROM x\n{text}").as_bytes()).unwrap_err().to_string()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn stages_have_names_and_platforms() {
    let text = "ARG V=1\nFROM --platform=linux/amd64 a:$V AS One\nRUN x\nfrom one\n";
    let parsed = Dockerfile::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.args.len(), 1);
    let [first, second] = &parsed.stages[..] else { panic!() };
    assert_eq!((first.base.as_str(), first.name.as_str()), ("a:$V", "one"));
    assert_eq!(first.platform, "linux/amd64");
    assert_eq!((second.base.as_str(), second.text.as_str()), ("one", "from one"));
    for wrong in [
        "",
        "# x\n",
        "RUN x",
        "ARG a",
        "FROM",
        "FROM a b",
        "FROM a AS 1",
        "FROM a x b",
        "FROM a AS b\nFROM c AS b",
    ] {
        assert!(Dockerfile::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn commands_have_two_forms() {
    assert_eq!(one("CMD [\"a\", \"b c\"]"), Instruction::Cmd(Form::Exec(vec!["a".into(), "b c".into()])));
    assert_eq!(one("CMD a  'b'"), Instruction::Cmd(Form::Shell("a  'b'".into())));
    // No JSON, so a command of the shell.
    assert_eq!(one("CMD ['a']"), Instruction::Cmd(Form::Shell("['a']".into())));
    assert!(refused("CMD [1]").contains("strings only"));
    assert_eq!(one("SHELL [\"/bin/bash\"]"), Instruction::Shell(vec!["/bin/bash".into()]));
    assert!(refused("SHELL bash").contains("JSON form"));
    assert!(refused("RUN").contains("at least one argument"));
    assert_eq!(
        one("RUN --network=none x"),
        Instruction::Run { form: Form::Shell("x".into()), heredocs: vec![], network: Network::None }
    );
}

#[test]
fn pairs_have_two_forms() {
    assert_eq!(
        one("ENV a=1 b='x y' c=d\\ e"),
        Instruction::Env(pairs(&[("a", "1"), ("b", "'x y'"), ("c", "d\\ e")]))
    );
    assert_eq!(one("ENV a   b c=d"), Instruction::Env(pairs(&[("a", "b c=d")])));
    assert_eq!(one("LABEL \"a b\"=c"), Instruction::Label(pairs(&[("\"a b\"", "c")])));
    for wrong in ["ENV", "ENV a", "ENV =b", "ENV a=b c", "LABEL --x a=b"] {
        refused(wrong);
    }
    let arg = |key: &str, value: Option<&str>| Arg { key: key.into(), value: value.map(str::to_owned) };
    assert_eq!(one("ARG a b=c"), Instruction::Arg(vec![arg("a", None), arg("b", Some("c"))]));
    refused("ARG");
}

#[test]
fn transfers_have_sources_and_a_target() {
    let Instruction::Copy(copy) = one("COPY --chown=1:2 --chmod=0644 --link --from=b a \\\n  b /c/") else {
        panic!()
    };
    assert_eq!(copy.sources, ["a", "b"]);
    assert_eq!((copy.target.as_str(), copy.chown.as_str(), copy.chmod.as_str()), ("/c/", "1:2", "0644"));
    assert_eq!(copy.from, "b");
    let Instruction::Add(add) = one("ADD [\"a b\", \"/c\"]") else { panic!() };
    assert_eq!((add.sources, add.target.as_str()), (vec!["a b".to_owned()], "/c"));
    let Instruction::Copy(copy) = one("COPY <<EOF x /y/\ntext\nEOF") else { panic!() };
    assert_eq!((copy.sources, copy.texts.len()), (vec!["x".to_owned()], 1));
    for wrong in ["COPY", "COPY a", "COPY --from a b", "ADD --from=x a b", "COPY --x a b"] {
        refused(wrong);
    }
}

#[test]
fn what_needs_buildkit_says_so() {
    for text in ["RUN --mount=type=cache,target=/x y", "ADD --unpack a b"] {
        let error = Dockerfile::parse(format!("FROM x\n{text}").as_bytes()).unwrap_err();
        assert!(matches!(&error, Error::Unsupported(text) if text.contains("BuildKit")), "{error}");
    }
}

#[test]
fn health_checks_and_triggers_are_read() {
    let Instruction::Healthcheck(Check::Test(check)) = one("HEALTHCHECK --interval=1m --retries=2 CMD a $b")
    else {
        panic!()
    };
    assert_eq!(
        (check.test, check.interval, check.retries),
        (vec!["CMD-SHELL".into(), "a $b".into()], 60_000_000_000, 2)
    );
    assert_eq!(one("HEALTHCHECK none"), Instruction::Healthcheck(Check::None));
    for wrong in [
        "HEALTHCHECK",
        "HEALTHCHECK CMD",
        "HEALTHCHECK x",
        "HEALTHCHECK --interval=1 CMD x",
        "HEALTHCHECK NONE x",
    ] {
        refused(wrong);
    }
    assert_eq!(one("ONBUILD RUN x"), Instruction::Onbuild("RUN x".into()));
    for wrong in
        ["ONBUILD", "ONBUILD ONBUILD RUN x", "ONBUILD FROM x", "ONBUILD MAINTAINER x", "ONBUILD FOO x"]
    {
        refused(wrong);
    }
    assert!(trigger("RUN a\nRUN b", '\\').is_err());
    assert_eq!(trigger("run a", '\\').unwrap().text, "run a");
}

#[test]
fn errors_name_their_line() {
    assert_eq!(refused("\nFOO x"), "dockerfile parse error on line 3: unknown instruction: FOO");
}

/// Numbers that are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let seed = b"# escape=`\nARG a=${b:-c}\nFROM x:$a AS y\nRUN <<E `\n z\ntext\nE\nENV a=\"b c\" d='e' f=${g%%*}\nCOPY --from=y [\"a\", \"b\"]\nHEALTHCHECK --interval=1s CMD x\nONBUILD RUN y\n";
    let pieces: [&[u8]; 10] = [b"<<", b"${", b"}", b"\"", b"\\\n", b"#", b"--", b"[", b"\xff", b"\0"];
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let mut bytes = seed.to_vec();
        for _ in 0..=numbers.next(6) {
            let at = numbers.next(bytes.len());
            match numbers.next(3) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = numbers.next(256) as u8,
                _ => drop(bytes.splice(at..at, pieces[numbers.next(pieces.len())].iter().copied())),
            }
        }
        if let Ok(dockerfile) = Dockerfile::parse(&bytes) {
            let _ = crate::plan::plan(&dockerfile, "", &crate::arguments::Arguments::default());
            let mut settings = crate::settings::Settings::default();
            for step in dockerfile.stages.iter().flat_map(|stage| &stage.steps) {
                let env = settings.image.env.clone();
                let _ = settings.apply(&step.instruction, dockerfile.escape, &env);
            }
        }
    }
}
