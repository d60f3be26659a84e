use super::*;

fn options(asked: &[(&str, MountKind)]) -> Options {
    let mount = |(destination, kind): &(&str, MountKind)| Mount {
        destination: (*destination).to_owned(),
        kind: kind.clone(),
    };
    Options { mounts: asked.iter().map(mount).collect(), ..Options::default() }
}

fn bind(source: &str) -> MountKind {
    MountKind::Bind(Bind { source: source.to_owned(), ..Bind::default() })
}

fn made(options: &Options, host: &Host) -> Result<(Vec<OciMount>, String), Error> {
    let mut linux = Linux::default();
    apply(options, host, &mut linux).map(|mounts| (mounts, linux.rootfs_propagation))
}

fn places(options: &Options) -> Vec<String> {
    let (mounts, _) = made(options, &Host::default()).unwrap();
    mounts.into_iter().map(|mount| mount.destination).collect()
}

fn options_at(options: &Options, host: &Host, place: &str) -> Vec<String> {
    let (mounts, _) = made(options, host).unwrap();
    mounts.into_iter().find(|mount| mount.destination == place).unwrap().options
}

#[test]
fn parents_come_before_their_children() {
    let asked =
        options(&[("/a/b/c", bind("/s")), ("/z", bind("/s")), ("/a", bind("/s")), ("/a/b", bind("/s"))]);
    assert_eq!(places(&asked)[7..], ["/z", "/a", "/a/b", "/a/b/c"]);
}

#[test]
fn what_is_asked_for_takes_the_place_of_a_default() {
    let asked = options(&[("/dev/shm/", MountKind::Tmpfs { options: Vec::new() }), ("//sys/.", bind("/s"))]);
    let places = places(&asked);
    assert_eq!(places.iter().filter(|place| *place == "/dev/shm").count(), 1);
    assert_eq!(places, ["/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys", "/dev/shm", "/sys/fs/cgroup"]);
}

#[test]
fn nothing_is_made_below_a_dev_that_was_asked_for() {
    let places = places(&options(&[("/dev", bind("/dev"))]));
    assert_eq!(places, ["/proc", "/sys", "/sys/fs/cgroup", "/dev"]);
}

#[test]
fn shared_memory_is_that_of_the_ipc_namespace() {
    let shm = |ipc: Ipc, size: u64| {
        let mut options = Options { shm_size_bytes: size, ..Options::default() };
        options.namespaces.ipc = ipc;
        let (mounts, _) = made(&options, &Host::default()).unwrap();
        let found = mounts.into_iter().find(|mount| mount.destination == "/dev/shm");
        found.map(|mount| (mount.source, mount.options.last().cloned().unwrap()))
    };
    let some = |source: &str, option: &str| Some((source.to_owned(), option.to_owned()));
    assert_eq!(shm(Ipc::Private, 0), some("shm", "size=67108864"));
    assert_eq!(shm(Ipc::Private, 5), some("shm", "size=5"));
    assert_eq!(shm(Ipc::None, 0), None);
    assert_eq!(shm(Ipc::Host, 0), some("/dev/shm", "rprivate"));
    assert_eq!(shm(Ipc::Shareable { shm: "/h".into() }, 0), some("/h", "rprivate"));
    let shared = Ipc::Shared { namespace: "/proc/1/ns/ipc".into(), shm: "/o".into() };
    assert_eq!(shm(shared, 0), some("/o", "rprivate"));
}

#[test]
fn read_only_binds_are_as_far_as_the_kernel_can_do_it() {
    let check = |access: Access, rro: bool| {
        let kind = MountKind::Bind(Bind { source: "/s".into(), access, ..Bind::default() });
        let host = Host { recursive_read_only: rro, ..Host::default() };
        made(&options(&[("/x", kind)]), &host).map(|(mounts, _)| mounts[7].options[1].clone())
    };
    assert_eq!(check(Access::ReadOnly, true).unwrap(), "rro");
    assert_eq!(check(Access::ReadOnly, false).unwrap(), "ro");
    assert_eq!(check(Access::ReadOnlyTop, true).unwrap(), "ro");
    assert_eq!(check(Access::ReadOnlyTree, true).unwrap(), "rro");
    assert!(matches!(check(Access::ReadOnlyTree, false), Err(Error::Unsupported { .. })));
}

#[test]
fn the_roots_propagation_follows_that_of_binds() {
    let check = |list: &[Propagation]| {
        let mount = |(index, propagation): (usize, &Propagation)| Mount {
            destination: format!("/m{index}"),
            kind: MountKind::Bind(Bind { source: "/s".into(), propagation: *propagation, ..Bind::default() }),
        };
        let options = Options { mounts: list.iter().enumerate().map(mount).collect(), ..Options::default() };
        made(&options, &Host::default()).unwrap().1
    };
    use Propagation::*;
    assert_eq!(check(&[RecursivePrivate, Unset]), "");
    assert_eq!(check(&[Slave]), "rslave");
    assert_eq!(check(&[Slave, RecursiveShared, RecursiveSlave]), "shared");
}

#[test]
fn sys_and_cgroups_are_writable_for_those_who_administer() {
    let read_only = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        let ro = |place| options_at(&options, &Host::default(), place).contains(&"ro".to_owned());
        (ro("/sys"), ro("/sys/fs/cgroup"))
    };
    assert_eq!(read_only(|_| {}), (true, true));
    assert_eq!(read_only(|o| o.confinement.privileged = true), (false, false));
    assert_eq!(read_only(|o| o.writable_cgroups = Some(true)), (true, false));
    let closed = |o: &mut Options| {
        o.confinement.privileged = true;
        o.writable_cgroups = Some(false);
    };
    assert_eq!(read_only(closed), (false, true));
    let mapped = crate::UserNamespace::New { uids: Vec::new(), gids: Vec::new() };
    let mut options = Options::default();
    options.namespaces.user = mapped;
    assert!(!options_at(&options, &Host::default(), "/sys/fs/cgroup").contains(&"ro".to_owned()));
}

#[test]
fn the_init_is_mounted_where_it_is_the_first_process() {
    let mut options = Options { init: Some("/usr/bin/tini".into()), ..Options::default() };
    assert!(places(&options).contains(&INIT_PATH.to_owned()));
    options.namespaces.pid = crate::Pid::Host;
    assert!(!places(&options).contains(&INIT_PATH.to_owned()));
}

#[test]
fn places_that_mean_nothing_are_refused() {
    for bad in ["", "a", "/", "/..", "/a/..", "/\0", &format!("/{}", "x".repeat(5000))] {
        let asked = options(&[(bad, bind("/s"))]);
        assert!(matches!(made(&asked, &Host::default()), Err(Error::Invalid { .. })), "{bad:?}");
    }
    for bad in ["", "s", "/\0"] {
        assert!(made(&options(&[("/x", bind(bad))]), &Host::default()).is_err(), "{bad:?}");
    }
    assert!(made(&options(&[("/x", bind("/s")), ("/y/../x/", bind("/s"))]), &Host::default()).is_err());
}

#[test]
fn the_last_word_about_a_tmpfs_counts() {
    let check = |asked: &str| {
        let words: Vec<String> = asked.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect();
        tmpfs_options(&words).map(|options| options.join(","))
    };
    assert_eq!(check("").unwrap(), "noexec,nosuid,nodev,rprivate");
    assert_eq!(check("size=5m,mode=700,exec").unwrap(), "nosuid,nodev,rprivate,size=5m,mode=700,exec");
    assert_eq!(
        check("defaults,suid,size=1,size=2,dev,nodev,rw").unwrap(),
        "noexec,rprivate,suid,size=2,nodev,rw"
    );
    assert_eq!(check("rslave").unwrap(), "noexec,nosuid,nodev,rslave");
    for bad in ["x", "size", "lowerdir=/", "bind", "remount", "noswap=1", "size=1\n"] {
        assert!(check(bad).is_err(), "{bad}");
    }
    assert!(tmpfs_options(&["mpol=bind:0,uid=0".into()]).is_err());
    assert!(tmpfs_options(&vec!["ro".to_owned(); 200]).is_err());
}

#[test]
fn queues_of_the_host_are_not_a_user_namespaces_to_mount() {
    let has_queues = |options: &Options| defaults(options).iter().any(|mount| mount.type_ == "mqueue");
    let mut options = Options::default();
    options.namespaces.ipc = Ipc::Host;
    assert!(has_queues(&options));
    options.namespaces.user = crate::UserNamespace::New { uids: Vec::new(), gids: Vec::new() };
    assert!(!has_queues(&options));
    options.namespaces.ipc = Ipc::Private;
    assert!(has_queues(&options));
}
