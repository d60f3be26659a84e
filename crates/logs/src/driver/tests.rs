use super::*;
use crate::MAX_PIECE_BYTES;

fn parse(uri: &str) -> Result<Driver, DriverError> {
    uri.parse()
}

#[test]
fn every_option_of_json_file_is_parsed() {
    let uri = "json-file:///var/log/a%20b%2Fc.log?max-size=1000&max-file=3&compress=true&mode=blocking\
               &attrs=%7B%22z%22%3A%22%3C%22%2C%22a%22%3A%22b+c%22%7D";
    let expected = JsonFile {
        path: "/var/log/a b/c.log".into(),
        max_size_bytes: Some(1000),
        max_files: 3,
        compress: true,
        attrs: Some(r#"{"a":"b c","z":"\u003c"}"#.into()),
        mode: Mode::Blocking,
    };
    assert_eq!(parse(uri), Ok(Driver::JsonFile(expected)));
}

#[test]
fn defaults_are_those_of_docker_and_containerd() {
    let Ok(Driver::JsonFile(json)) = parse("json-file:///l?attrs={}") else { panic!() };
    assert_eq!((json.max_size_bytes, json.max_files, json.compress), (None, 1, false));
    assert_eq!((json.attrs, json.mode), (None, Mode::Dropping));
    let Ok(Driver::Cri(cri)) = parse("cri:///l") else { panic!() };
    assert_eq!((cri.max_line_bytes, cri.mode), (16_384, Mode::Blocking));
    for uri in ["cri:///l?max-line=0", "cri:///l?max-line=-1", "cri:///l?max-line=9999999999"] {
        let Ok(Driver::Cri(cri)) = parse(uri) else { panic!("{uri}") };
        assert_eq!(cri.max_line_bytes, MAX_PIECE_BYTES, "{uri}");
    }
}

#[test]
fn what_is_no_driver_is_refused() {
    let long = format!("json-file:///l?attrs={{\"a\":\"{}\"}}", "x".repeat(MAX_ATTRS_BYTES));
    for uri in [
        "",
        "/l",
        "file:///l",
        "cri",
        "cri:",
        "cri://",
        "cri://host/l",
        "cri:///",
        "cri:///dir/",
        "cri:///l%",
        "cri:///l%4",
        "cri:///l%zz",
        "cri:///l%00",
        "cri:///l?max-line=x",
        "cri:///l?max-line=-2",
        "cri:///l?max-size=3",
        "cri:///l?mode=",
        "json-file:///l?max-size=0",
        "json-file:///l?max-size=10k",
        "json-file:///l?max-file=0",
        "json-file:///l?max-file=10001",
        "json-file:///l?max-file=2&max-file=2",
        "json-file:///l?compress=yes",
        "json-file:///l?compress=1",
        "json-file:///l?compress=1&max-size=1",
        "json-file:///l?compress=1&max-file=2",
        "json-file:///l?attrs=[]",
        "json-file:///l?attrs={\"a\":1}",
        "json-file:///l?%ff=1",
        &long,
    ] {
        assert!(parse(uri).is_err(), "{uri:?}");
    }
}

#[test]
fn every_option_of_local_is_parsed_and_its_defaults_are_dockers() {
    let Ok(Driver::Local(local)) = parse("local:///l") else { panic!() };
    assert_eq!(local, Local::new("/l".into()));
    assert_eq!((local.max_size_bytes, local.max_files, local.compress), (20 << 20, 5, true));
    let Ok(Driver::Local(local)) = parse("local:///l?max-size=9&max-file=1&compress=0&mode=blocking") else {
        panic!()
    };
    assert_eq!((local.max_size_bytes, local.max_files, local.compress), (9, 1, false));
    assert_eq!(local.mode, Mode::Blocking);
    assert_eq!(parse("local:///l?max-file=1"), Err(DriverError::CompressWithoutRotation));
}

#[test]
fn addresses_of_syslog_are_dockers() {
    let address = |text: &str| match parse(&format!("syslog://?tag=t&address={text}")) {
        Ok(Driver::Syslog(driver)) => Some(driver.address),
        _ => None,
    };
    let check = |text: &str, expected: SyslogAddress| assert_eq!(address(text), Some(expected), "{text}");
    check("", SyslogAddress::Here);
    check("unix:///dev/log", SyslogAddress::Unix("/dev/log".into()));
    check("unixgram:///dev/log", SyslogAddress::Unix("/dev/log".into()));
    check("udp://1.2.3.4:1111", SyslogAddress::Udp("1.2.3.4".into(), 1111));
    check("tcp://logs.example", SyslogAddress::Tcp("logs.example".into(), 514));
    check("tcp://[::1]:6514", SyslogAddress::Tcp("::1".into(), 6514));
    for text in [
        "/dev/log",
        "tcp://",
        "tcp://a:0",
        "tcp://a b",
        "tcp://[x]:1",
        "http://a",
        "unix://dev/log",
        "tcp%2Btls://a:1",
    ] {
        assert_eq!(address(text), None, "{text}");
    }
}

#[test]
fn every_option_of_syslog_is_parsed() {
    let uri = "syslog://?tag=a/b&facility=local7&format=rfc5424micro&mode=blocking&cache=/c&cache-max-size=7&cache-max-file=2&cache-compress=false";
    let Ok(driver @ Driver::Syslog(_)) = parse(uri) else { panic!() };
    assert_eq!(driver.file(), Some((Path::new("/c"), crate::Format::Local)));
    let Driver::Syslog(driver) = driver else { panic!() };
    assert_eq!(
        (driver.facility, driver.format, driver.mode),
        (23, SyslogFormat::Rfc5424Micro, Mode::Blocking)
    );
    let cache = driver.cache.unwrap();
    assert_eq!((cache.max_size_bytes, cache.max_files, cache.compress), (7, 2, false));
    for uri in [
        "syslog://",
        "syslog:///dev/log?tag=t",
        "syslog://host?tag=t",
        "syslog:?tag=t",
        "syslog://?tag=t&facility=none",
        "syslog://?tag=t&facility=24",
        "syslog://?tag=t&format=json",
        "syslog://?tag=a%0ab",
        "syslog://?tag=t&cache=c",
        "syslog://?tag=t&cache=/c&cache-max-file=1",
        "journald:///run/socket",
        "journald://?socket=run",
        "journald://?fields=[]",
        "journald://?address=x",
    ] {
        assert!(parse(uri).is_err(), "{uri}");
    }
}

#[test]
fn fields_of_the_journal_have_dockers_names() {
    let fields = "%7B%22com.x%2Fy%22%3A%221%22%2C%22_9a%22%3A%222%22%2C%22message%22%3A%223%22%2C%22container.name%22%3A%224%22%7D";
    let uri = format!("journald://?id=0123456789abcdef&name=n&image=i&tag=t&fields={fields}");
    let Ok(Driver::Journald(driver)) = parse(&uri) else { panic!() };
    let found: Vec<_> = driver.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "CONTAINER_ID=0123456789ab",
        "CONTAINER_ID_FULL=0123456789abcdef",
        "IMAGE_NAME=i",
        "CONTAINER_NAME=n",
        "CONTAINER_TAG=t",
        "SYSLOG_IDENTIFIER=t",
        "A=2",
        "COM_X_Y=1",
    ];
    assert_eq!(found, expected);
    assert!(parse("journald://").is_ok());
}

#[test]
fn what_is_written_as_a_uri_is_parsed_as_it_was() {
    let uri =
        Driver::uri("local", Some(Path::new("/a b/?&%\u{e9}")), [("max-size", "7"), ("mode", "blocking")]);
    assert_eq!(uri, "local:///a%20b/%3F%26%25%C3%A9?max-size=7&mode=blocking");
    let Ok(Driver::Local(local)) = parse(&uri) else { panic!("{uri}") };
    assert_eq!((local.path.as_path(), local.max_size_bytes), (Path::new("/a b/?&%\u{e9}"), 7));
    let tag = "a+b&c=d %\u{2603}";
    let Ok(Driver::Syslog(syslog)) = parse(&Driver::uri("syslog", None, [("tag", tag)])) else { panic!() };
    assert_eq!(syslog.tag, tag);
}
