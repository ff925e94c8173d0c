//! What the daemon gives up before it has a key: programs, most files, ports, doors into the
//! kernel.
//!
//! | given up | by | and who does it instead |
//! | --- | --- | --- |
//! | starting programs and processes | seccomp | the broker |
//! | files beyond those that [`places`] lists | Landlock | the broker: what the config names |
//! | binding TCP ports; signals and abstract sockets to others | Landlock 4, 6 | nobody |
//! | the calls that [`crate::sys::seccomp`] lists | seccomp | nobody |
//! | listening, once the own socket is there ([`settle`]) | seccomp | nobody |
//! | root's rights but for files and locked memory | `capset` | nobody |
//! | memory that is both written and executed | `PR_SET_MDWE` | nobody |
//!
//! Invariant: nothing here can be taken back, by whatever runs in the process later. What the
//! kernel does not know is left out, and told; where it knows something and refuses it, there is no
//! daemon.
//!
//! Not given up: connections to the outside, which renewing tokens needs, and those to sockets in
//! the file system, which no Landlock asks about.

use crate::config::{Config, ProviderConfig, Share};
use crate::daemon::place::make_folder;
use crate::error::{Code, Failure};
use crate::runtime::ground::agent_ids;
use crate::runtime::service::{Lack, SandboxStatus};
use crate::store::StateDir;
use crate::sys::landlock::{self, Access, Place};
use crate::sys::seccomp;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the daemon works on.
pub struct Needs<'a> {
    /// The state folder.
    pub state: &'a StateDir,
    /// The vault file.
    pub vault: &'a Path,
    /// The socket that it listens on.
    pub socket: &'a Path,
    /// Who reaches that.
    pub share: Share,
    /// The config, for the other vaults that it names.
    pub config: &'a Config,
}

/// Where the system keeps what programs read: libraries (of the resolver), certificates, zones.
const SYSTEM: [&str; 16] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/opt/etc/ssl",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/var/lib/ca-certificates",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    // How much memory there is to be had.
    "/sys/fs/cgroup",
];

/// How names are resolved. Where such a file leads elsewhere, its folder there counts: the file is
/// replaced. In `/etc` file by file for root, to whom all of it would be open.
const RESOLVER: [&str; 9] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/passwd",
    "/etc/ld.so.cache",
    "/etc/localtime",
];

/// Variables that say where certificates are: a file, and folders.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Folders that hold other things than what is meant when a file in them is named.
const WIDE: [&str; 11] = [
    "/", "/dev", "/etc", "/home", "/mnt", "/proc", "/root", "/run", "/tmp", "/var", "/var/lib",
];

/// Gives up what the module says, for good. Must be called while the process has one thread:
/// Landlock holds that thread and those that it starts.
///
/// # Errors
/// `daemon.unavailable` if the kernel knows Landlock or filters of system calls, and refuses them.
pub fn enter(needs: &Needs<'_>) -> Result<SandboxStatus, Failure> {
    // A folder that is not there can't be allowed for. Why it can't be made is told by whoever
    // makes the socket.
    let _there = make_folder(needs.socket, needs.share);
    // It fails for nobody who has any.
    let _none = drop_capabilities(needs);
    // A service manager of old listens at an abstract address.
    let notify = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let abstract_sockets = notify.as_encoded_bytes().starts_with(b"@");
    let (places, around) = (places(needs), Around::of_process());
    let refused = |what: &'static str| {
        move |error: std::io::Error| {
            let text = format!("the kernel has {what}, but refuses it: {error}");
            Failure::new(Code::DaemonUnavailable, text)
        }
    };
    let status = SandboxStatus {
        write_xor_execute: seccomp::write_xor_execute().is_ok(),
        wide: around.wide(needs.state.root(), &places),
        ..available()
    };
    if let Some(abi) = status.landlock {
        landlock::enforce(abi, &places, abstract_sockets).map_err(refused("Landlock"))?;
    }
    if status.seccomp {
        seccomp::enforce().map_err(refused("filters of system calls"))?;
    }
    Ok(status)
}

/// Gives up what only making the socket needs: listening, modes and owners by path.
///
/// # Errors
/// `daemon.unavailable` if the kernel refuses a filter after it took another.
pub fn settle(given_up: &SandboxStatus) -> Result<(), Failure> {
    match given_up.seccomp {
        true => seccomp::settle().map_err(|error| {
            let text = format!("the kernel refuses a filter of system calls: {error}");
            Failure::new(Code::DaemonUnavailable, text)
        }),
        false => Ok(()),
    }
}

/// Gives up what makes root root, but for files and locked memory: else `/proc` would lay the
/// kernel's memory open, and all that is in it. Changing owners, and the modes of what is others',
/// stays only where a file to work on is not root's alone.
fn drop_capabilities(needs: &Needs<'_>) -> rustix::io::Result<()> {
    let mut kept =
        CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::IPC_LOCK;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let of_another = |path: &Path| {
        std::fs::metadata(path)
            .is_ok_and(|at| (at.uid(), at.gid()) != (user.as_raw(), group.as_raw()))
    };
    let files = own_files(needs);
    if files
        .iter()
        .any(|file| of_another(file) || file.parent().is_some_and(of_another))
    {
        kept |= CapabilitySet::CHOWN | CapabilitySet::FOWNER;
    }
    let before = capabilities(None)?;
    let after = CapabilitySets {
        effective: before.effective & kept,
        permitted: before.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, after)
}

/// The folders in which a user has all kinds of things.
struct Around(Vec<PathBuf>);

impl Around {
    fn of_process() -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self::new(std::env::home_dir().into_iter().chain(runtime))
    }

    fn new(folders: impl Iterator<Item = PathBuf>) -> Self {
        let mut all: Vec<PathBuf> = folders.filter(|folder| folder.is_absolute()).collect();
        let real = |folder: &PathBuf| std::fs::canonicalize(folder).ok();
        all.extend(all.iter().filter_map(real).collect::<Vec<_>>());
        Self(all)
    }

    /// True if such a folder is this one, or in it.
    fn are_in(&self, path: &Path) -> bool {
        path.parent().is_none() || self.0.iter().any(|folder| folder.starts_with(path))
    }

    /// The places that hold more than the daemon's own. A state folder is its own, even where it is
    /// the home of a system user.
    fn wide(&self, own: &Path, places: &[Place]) -> Vec<String> {
        let mut wide: Vec<String> = places
            .iter()
            .filter(|(path, _)| path != own && self.are_in(path))
            .map(|(path, _)| path.display().to_string())
            .collect();
        wide.sort();
        wide.dedup();
        wide
    }

    /// A file, and the folders in which it is replaced unless they hold other things too.
    fn file_and_folders(&self, file: &Path) -> Vec<PathBuf> {
        let mut all = vec![file.to_owned()];
        for path in [Some(file.to_owned()), std::fs::canonicalize(file).ok()] {
            if let Some(folder) = path.as_deref().and_then(Path::parent)
                && !WIDE.iter().any(|wide| Path::new(wide) == folder)
                && !self.are_in(folder)
            {
                all.push(folder.to_owned());
            }
        }
        all
    }
}

/// What the kernel could take away, for when no daemon runs to tell.
pub fn available() -> SandboxStatus {
    let (landlock, seccomp) = (landlock::abi(), seccomp::probe());
    SandboxStatus {
        write_xor_execute: seccomp::knows_write_xor_execute(),
        landlock_lack: landlock.as_ref().err().map(lack),
        landlock: landlock.ok(),
        seccomp_lack: seccomp.as_ref().err().map(lack),
        seccomp: seccomp.is_ok(),
        broker: None,
        wide: Vec::new(),
    }
}

fn lack(error: &std::io::Error) -> Lack {
    match Errno::from_io_error(error) {
        None | Some(Errno::NOSYS | Errno::INVAL) => Lack::NotBuilt,
        Some(Errno::OPNOTSUPP) => Lack::Off,
        Some(_) => Lack::Refused,
    }
}

/// What was given up, and what the kernel did not know, in one line for the log.
pub fn text(status: &SandboxStatus) -> String {
    let landlock = status.landlock.map(|abi| format!("Landlock version {abi}"));
    let broker = status.broker.map(|pid| format!("broker process {pid}"));
    let or_none = |has: bool, what: &str, lack: Option<Lack>| match lack {
        _ if has => what.to_owned(),
        Some(Lack::Off) => format!("no {what} (off in this kernel)"),
        Some(Lack::Refused) => format!("no {what} (refused by what surrounds this process)"),
        Some(Lack::NotBuilt) | None => format!("no {what} in this kernel"),
    };
    let guard = "guard of executable memory";
    let mut parts = vec![
        landlock.unwrap_or_else(|| or_none(false, "Landlock", status.landlock_lack)),
        or_none(status.seccomp, "seccomp", status.seccomp_lack),
        or_none(status.write_xor_execute, guard, None),
        broker.unwrap_or_else(|| "no broker".to_owned()),
    ];
    parts.extend(
        status
            .wide
            .iter()
            .map(|place| format!("all of {place} within reach")),
    );
    parts.join(", ")
}

/// The places that stay within reach.
pub fn places(needs: &Needs<'_>) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |path: &Path, access| places.push((path.to_owned(), access));
    add(needs.state.root(), Access::Change);
    for file in own_files(needs) {
        // Where a symlink leads, the file is replaced: in its folder, then.
        for path in [Some(file.clone()), std::fs::canonicalize(&file).ok()] {
            if let Some(folder) = path.as_deref().and_then(Path::parent) {
                add(folder, Access::Change);
            }
        }
    }
    let home = std::env::home_dir();
    for file in other_vaults(needs.config, home.as_deref()) {
        if let Some(folder) = file.parent() {
            add(folder, Access::Read);
        }
    }
    for path in SYSTEM {
        add(Path::new(path), Access::Read);
    }
    if !rustix::process::geteuid().is_root() {
        // What is not for everybody there is hardly for this user either.
        add(Path::new("/etc"), Access::Read);
    }
    let around = Around::of_process();
    let variables = CERTIFICATES.map(|name| std::env::var_os(name).unwrap_or_default());
    let [file, folders] = &variables;
    let certificates = Path::new(file);
    let files = RESOLVER.iter().map(Path::new).chain([certificates]);
    for file in files.filter(|file| file.is_absolute()) {
        for place in around.file_and_folders(file) {
            add(&place, Access::Read);
        }
    }
    for path in std::env::split_paths(folders).filter(|path| path.is_absolute()) {
        add(&path, Access::Read);
    }
    // Who asks is told by what the kernel says of the process. What another user could not see,
    // such as memory and environment, Landlock keeps from whoever it holds.
    add(Path::new("/proc"), Access::Read);
    add(Path::new("/dev/null"), Access::Change);
    add(Path::new("/dev/urandom"), Access::Read);
    places
}

/// The files that the daemon replaces, or whose folder it makes others in.
fn own_files(needs: &Needs<'_>) -> Vec<PathBuf> {
    let mut files = vec![needs.vault.to_owned(), needs.socket.to_owned()];
    // What can't be listed here is told by the activation.
    for agent in agent_ids(needs.state).unwrap_or_default() {
        files.push(needs.state.auth_profiles(&agent));
        files.push(needs.state.auth_state(&agent));
    }
    files
}

/// The vaults of `vault` providers. The identities that open them the broker opens: other keys may
/// lie beside them.
fn other_vaults(config: &Config, home: Option<&Path>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for provider in config.providers.values() {
        let ProviderConfig::Vault(vault) = provider else {
            continue;
        };
        if let Some(path) = vault.path.as_ref().and_then(|path| path.expand(home)) {
            files.extend(std::fs::canonicalize(&path));
            files.push(path);
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{TcpListener, TcpStream, ToSocketAddrs};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::process::Command;

    const ROLE: &str = "RESEAL_TEST_SANDBOX";

    /// What the daemon would try, and what a program that took it over would.
    fn try_everything(root: &Path, port: u16, name: &str) {
        let state = StateDir::at(root.join("state"));
        let vault = root.join("vault/v.reseal");
        let socket = root.join("run/daemon.sock");
        let config = Config::parse(
            &std::fs::read_to_string(root.join("config")).unwrap(),
            "config",
            crate::config::Trust::Own,
        );
        let kept = std::fs::File::open(root.join("outside/kept")).unwrap();
        let status = enter(&Needs {
            state: &state,
            vault: &vault,
            socket: &socket,
            share: Share::Own,
            config: &config.unwrap(),
        })
        .unwrap();
        let abi = status.landlock.unwrap();
        assert!(status.seccomp);
        for folder in ["state", "state/anchors", "vault", "run"] {
            let folder = root.join(folder);
            std::fs::write(folder.join("new"), "x").unwrap();
            std::fs::rename(folder.join("new"), folder.join("renamed")).unwrap();
            std::fs::File::options()
                .append(true)
                .open(folder.join("renamed"))
                .unwrap();
            std::fs::remove_file(folder.join("renamed")).unwrap();
            std::fs::read_dir(&folder).unwrap();
        }
        std::fs::create_dir(root.join("vault/v.reseal.d")).unwrap();
        UnixListener::bind(&socket).unwrap();
        std::fs::read(root.join("other/o.reseal")).unwrap();
        std::fs::read("/etc/hosts").unwrap();
        assert!(std::fs::read_dir("/sys/fs/cgroup").is_ok_and(|mut all| all.next().is_some()));
        std::fs::read(root.join("certificates/replaced")).unwrap();
        std::io::read_to_string(kept).unwrap();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(("localhost", 1).to_socket_addrs().unwrap().count() > 0);
        try_what_is_given_up(root, abi, name);
    }

    fn refused(what: &str, outcome: std::io::Result<()>) {
        assert_eq!(outcome.unwrap_err().kind(), PermissionDenied, "{what}");
    }

    fn try_what_is_given_up(root: &Path, abi: u32, name: &str) {
        let read = |path: &Path| std::fs::read(path).map(drop);
        refused("shadow", read(Path::new("/etc/shadow")));
        refused("outside", read(&root.join("outside/kept")));
        refused("an identity", read(&root.join("identities/i")));
        refused("environments", read(Path::new("/proc/1/environ")));
        std::fs::read("/proc/1/stat").unwrap();
        if Path::new("/proc/kcore").exists() {
            refused(
                "kernel memory",
                std::fs::File::open("/proc/kcore").map(drop),
            );
        }
        refused("write", std::fs::write(root.join("outside/kept"), "x"));
        refused(
            "write elsewhere",
            std::fs::write(root.join("other/o.reseal"), "x"),
        );
        refused("list", std::fs::read_dir(root).map(drop));
        let link = root.join("state/link");
        refused(
            "link",
            std::os::unix::fs::symlink(root.join("outside/kept"), link),
        );
        refused("program", Command::new("/bin/true").spawn().map(drop));
        if abi >= landlock::ABI_OF_PORTS {
            refused("port", TcpListener::bind("127.0.0.1:0").map(drop));
        }
        if abi >= landlock::ABI_OF_SCOPES {
            let address = SocketAddr::from_abstract_name(name).unwrap();
            refused(
                "abstract socket",
                UnixStream::connect_addr(&address).map(drop),
            );
            let parent = rustix::process::getppid().unwrap();
            let asked = rustix::process::test_kill_process(parent);
            refused("signal", asked.map_err(std::io::Error::from));
        }
        // Threads that come later are held as well.
        let shadow = std::thread::spawn(move || read(Path::new("/etc/shadow")));
        refused("shadow", shadow.join().unwrap());
    }

    #[test]
    fn the_daemon_reaches_what_it_needs_and_nothing_else() {
        if let Some(role) = std::env::var_os(ROLE) {
            let role = role.into_string().unwrap();
            let [root, port, name]: [&str; 3] =
                role.split(' ').collect::<Vec<_>>().try_into().unwrap();
            return try_everything(Path::new(root), port.parse().unwrap(), name);
        }
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in [
            "state",
            "state/anchors",
            "vault",
            "run",
            "other",
            "identities",
            "certificates",
            "outside",
        ] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        for file in [
            "outside/kept",
            "other/o.reseal",
            "identities/i",
            "certificates/real",
            "certificates/replaced",
        ] {
            std::fs::write(at(file), "x").unwrap();
        }
        let config = serde_json::json!({"secrets": {"providers": {"other": {
            "source": "vault", "path": at("other/o.reseal"), "identity": at("identities/i"),
        }}}});
        std::fs::write(at("config"), config.to_string()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let name = format!("reseal-test-sandbox-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _listening = UnixListener::bind_addr(&address).unwrap();
        let test = "daemon::sandbox::tests::the_daemon_reaches_what_it_needs_and_nothing_else";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{} {port} {name}", root.path().display()))
            .env("SSL_CERT_FILE", at("certificates/real"))
            // A pipe, which no rule can be about.
            .env("SSL_CERT_DIR", "/proc/self/fd/0")
            .stdin(std::process::Stdio::piped())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{said}"
        );
    }

    #[test]
    fn what_the_kernel_lacks_is_said() {
        let mut status = SandboxStatus {
            landlock: Some(7),
            landlock_lack: None,
            seccomp: true,
            seccomp_lack: None,
            write_xor_execute: true,
            broker: Some(12),
            wide: Vec::new(),
        };
        let all = "Landlock version 7, seccomp, guard of executable memory, broker process 12";
        assert_eq!(text(&status), all);
        status.landlock = None;
        status.seccomp = false;
        status.broker = None;
        let none = "no Landlock in this kernel, no seccomp in this kernel, \
                    guard of executable memory, no broker";
        assert_eq!(text(&status), none);
        status.landlock_lack = Some(Lack::Off);
        status.seccomp_lack = Some(Lack::Refused);
        let none = "no Landlock (off in this kernel), no seccomp (refused by what surrounds this \
                    process), guard of executable memory, no broker";
        assert_eq!(text(&status), none);
        status.wide.push("/home/u".to_owned());
        assert_eq!(
            text(&status),
            format!("{none}, all of /home/u within reach")
        );
    }

    #[test]
    fn places_with_more_than_the_daemons_own_are_told() {
        let folders = ["/home/u", "/run/user/1000"].map(PathBuf::from);
        let around = Around::new(folders.into_iter());
        let wide = |own: &str, paths: &[&str]| {
            let place = |path: &&str| (PathBuf::from(path), Access::Change);
            let places: Vec<Place> = paths.iter().map(place).collect();
            around.wide(Path::new(own), &places)
        };
        let own = "/home/u/.reseal";
        assert!(
            wide(
                own,
                &[own, "/home/u/vaults", "/run/user/1000/reseal", "/usr"]
            )
            .is_empty()
        );
        let places = ["/run/user/1000", "/home/u", "/", "/home", "/home/u"];
        assert_eq!(
            wide(own, &places),
            ["/", "/home", "/home/u", "/run/user/1000"]
        );
        assert!(wide("/home/u", &["/home/u"]).is_empty());
    }

    #[test]
    fn a_file_that_is_replaced_is_found_where_it_leads_unless_that_is_wide() {
        let root = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(root.path()).unwrap();
        for folder in ["a", "b", "home"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        let around = Around::new([root.join("home")].into_iter());
        let link = root.join("a/link");
        std::fs::write(root.join("b/real"), "").unwrap();
        std::os::unix::fs::symlink(root.join("b/real"), &link).unwrap();
        let found = around.file_and_folders(&link);
        assert_eq!(found, [link, root.join("a"), root.join("b")]);
        let file = root.join("home/file");
        assert_eq!(around.file_and_folders(&file), std::slice::from_ref(&file));
        let file = Path::new("/etc/reseal-test");
        assert_eq!(around.file_and_folders(file), [file.to_owned()]);
    }
}
