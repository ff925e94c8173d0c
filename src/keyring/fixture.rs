//! A private session bus with a real GNOME Keyring, for tests.

use super::{Asking, Bus, Keyring};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// What of the keyring is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    /// An unlocked default collection.
    Unlocked,
    /// No collection, as on a machine where nobody logged in graphically.
    NoCollection,
    /// Nothing that keeps secrets.
    NoService,
}

/// A bus, and what lives on it; ends with this value.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    address: String,
    bus: Child,
    daemon: Option<Child>,
}

/// A bus that starts no services by itself: a test says what is on it.
const BUS: &str = r#"<busconfig><type>session</type><listen>unix:dir=FOLDER</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"#;

impl Desk {
    pub(crate) fn new(with: With) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bus.conf");
        std::fs::write(
            &config,
            BUS.replace("FOLDER", folder.path().to_str().unwrap()),
        )
        .unwrap();
        let mut bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed (tests/run installs it)");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address.trim().to_owned();
        let mut desk = Self {
            folder,
            address,
            bus,
            daemon: None,
        };
        match with {
            With::Unlocked => desk.start_keyring(Some("test")),
            With::NoCollection => desk.start_keyring(None),
            With::NoService => {}
        }
        desk
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::on(Bus::at(&self.address), Asking::Never)
    }

    pub(crate) fn asking_keyring(&self) -> Keyring {
        Keyring::on(Bus::at(&self.address), Asking::Allowed)
    }

    /// A program on this bus, without a display.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .env("HOME", self.folder.path())
            .env("XDG_DATA_HOME", self.folder.path().join("data"))
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY");
        command
    }

    /// The keyring, unlocked with a password, or left as it is.
    pub(crate) fn start_keyring(&mut self, password: Option<&str>) {
        std::fs::create_dir_all(self.folder.path().join("data/keyrings")).unwrap();
        let mut command = self.command("gnome-keyring-daemon");
        command.args(["--foreground", "--components=secrets"]);
        if password.is_some() {
            command.arg("--unlock");
        }
        let mut daemon = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnome-keyring-daemon is installed (tests/run installs it)");
        let mut input = daemon.stdin.take().unwrap();
        input
            .write_all(password.unwrap_or_default().as_bytes())
            .unwrap();
        drop(input);
        self.daemon = Some(daemon);
        self.wait_for_name();
    }

    /// Waits until the bus knows who keeps secrets.
    fn wait_for_name(&self) {
        let found = self
            .command("gdbus")
            .args([
                "wait",
                "--session",
                "--timeout",
                "20",
                "org.freedesktop.secrets",
            ])
            .stderr(Stdio::null())
            .status();
        assert!(found.unwrap().success(), "the keyring did not come up");
    }

    /// Locks the default collection.
    pub(crate) fn lock(&self) {
        let path = "[objectpath '/org/freedesktop/secrets/collection/login']";
        let locked = self
            .command("gdbus")
            .args(["call", "--session", "-d", "org.freedesktop.secrets"])
            .args(["-o", "/org/freedesktop/secrets"])
            .args(["-m", "org.freedesktop.Secret.Service.Lock", path])
            .output()
            .unwrap();
        assert!(locked.status.success(), "{locked:?}");
    }

    /// Ends the keyring, not the bus.
    pub(crate) fn stop_keyring(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// The keyring anew, as after a new login.
    pub(crate) fn restart_keyring(&mut self) {
        self.stop_keyring();
        self.start_keyring(Some("test"));
    }

    /// Freezes or thaws the keyring: it is there and gives no answer.
    pub(crate) fn signal_keyring(&self, signal: rustix::process::Signal) {
        let pid = self.daemon.as_ref().unwrap().id();
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for child in self.daemon.iter_mut().chain([&mut self.bus]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
