//! The keyring as a keyslot, with a real GNOME Keyring on a bus of its own.

use super::world::{Ran, World, finish};
use reseal::keyring::{Asking, Bus, Keyring};

// Each user of the fixture takes what it needs.
#[allow(dead_code)]
#[path = "../../src/keyring/fixture.rs"]
mod fixture;

use fixture::{Desk, With};

/// Runs the program on the bus.
fn run(world: &World, desk: &Desk, args: &[&str]) -> Ran {
    let mut command = world.command(args);
    command.env("DBUS_SESSION_BUS_ADDRESS", desk.address());
    finish(command, None)
}

fn with_passphrase(world: &World, desk: &Desk, args: &[&str]) -> Ran {
    let passphrase = world.passphrase();
    run(
        world,
        desk,
        &[args, &["--passphrase-file", &passphrase]].concat(),
    )
}

/// A vault with a keyring slot, whose id is given.
fn world_with_slot(desk: &Desk) -> (World, String) {
    let world = World::new();
    let args = ["--json", "vault", "slot", "add", "keyring"];
    let added = with_passphrase(&world, desk, &args).ok().json();
    (world, added["id"].as_str().unwrap().to_owned())
}

/// The users of the entries with our service.
fn entries(desk: &Desk) -> Vec<String> {
    let found = desk
        .command("secret-tool")
        .args(["search", "--all", "service", "reseal"])
        .output()
        .unwrap();
    let text = String::from_utf8([found.stdout, found.stderr].concat()).unwrap();
    let users = text.lines();
    let users = users.filter_map(|line| line.strip_prefix("attribute.username = "));
    users.map(str::to_owned).collect()
}

#[test]
fn a_keyring_slot_opens_the_vault_and_goes_with_its_entry() {
    let desk = Desk::new(With::Unlocked);
    let (world, id) = world_with_slot(&desk);
    let status = run(&world, &desk, &["--json", "vault", "status"])
        .ok()
        .json();
    let vault = status["vault"]["id"].as_str().unwrap();
    let [user] = entries(&desk).try_into().unwrap();
    assert!(user.starts_with(&format!("{vault}/{id}")), "{user}");
    let listed = run(&world, &desk, &["vault", "slot", "list"]).ok();
    assert!(listed.text().contains("keyring"), "{}", listed.text());
    // With the option, and with nothing given at all.
    run(&world, &desk, &["secrets", "list", "--keyring"]).ok();
    run(&world, &desk, &["secrets", "list"]).ok();
    world.run(&["secrets", "list"]).code(4);
    let ran = run(&world, &desk, &["vault", "unlock", "--keyring"]);
    ran.ok();
    world.run(&["secrets", "list"]).ok();
    world.run(&["vault", "lock"]).ok();
    let doctor = run(&world, &desk, &["doctor"]);
    assert!(
        doctor.text().contains(&format!("it opens keyslot {id}")),
        "{}",
        doctor.text()
    );
    // A new root key: the slot and its entry are made anew.
    let passphrase = world.passphrase();
    with_passphrase(&world, &desk, &["vault", "rekey"]).ok();
    let [renewed] = entries(&desk).try_into().unwrap();
    assert_ne!(renewed, user);
    run(&world, &desk, &["secrets", "list", "--keyring"]).ok();
    let id = &renewed[33..41];
    run(
        &world,
        &desk,
        &[
            "vault",
            "slot",
            "remove",
            id,
            "--yes",
            "--passphrase-file",
            &passphrase,
        ],
    )
    .ok();
    assert_eq!(entries(&desk), [""; 0]);
    run(&world, &desk, &["secrets", "list", "--keyring"]).code(5);
}

#[test]
fn the_last_slot_that_opens_stays() {
    let mut desk = Desk::new(With::Unlocked);
    let (world, id) = world_with_slot(&desk);
    let list = run(&world, &desk, &["--json", "vault", "slot", "list"])
        .ok()
        .json();
    let first = list["slots"][0]["id"].as_str().unwrap().to_owned();
    let remove = ["vault", "slot", "remove", &first, "--yes"];
    // The entry is gone, which the vault can't know: its slot opens nothing.
    let [user] = entries(&desk).try_into().unwrap();
    let key = desk
        .command("secret-tool")
        .args(["lookup", "service", "reseal", "username", &user])
        .output()
        .unwrap()
        .stdout;
    let clear = ["clear", "service", "reseal", "username", &user];
    assert!(
        desk.command("secret-tool")
            .args(clear)
            .status()
            .unwrap()
            .success()
    );
    let refused = with_passphrase(&world, &desk, &remove).code(5);
    assert!(
        refused.stderr.contains("is not in the keyring"),
        "{}",
        refused.stderr
    );
    // With a locked keyring nobody can tell.
    desk.keyring()
        .write(
            &reseal::keyring::Name::new("reseal", user),
            &reseal::keyring::Looks {
                label: "x".to_owned(),
                application: "reseal".to_owned(),
            },
            &reseal::secret::SecretValue::copy_of(&key),
        )
        .unwrap();
    desk.lock();
    with_passphrase(&world, &desk, &remove).code(5);
    desk.restart_keyring();
    with_passphrase(&world, &desk, &remove).ok();
    let last = run(
        &world,
        &desk,
        &["vault", "slot", "remove", &id, "--yes", "--keyring"],
    );
    assert!(last.code(5).stderr.contains("last"));
    assert_eq!(entries(&desk).len(), 1);
}

#[test]
fn a_keyring_that_does_not_open_the_vault_says_why_and_what_to_do() {
    let mut desk = Desk::new(With::Unlocked);
    let (world, _) = world_with_slot(&desk);
    let list = ["secrets", "list", "--keyring"];
    let said = |ran: Ran, texts: &[&str]| {
        for text in texts {
            assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
        }
    };
    desk.lock();
    said(
        run(&world, &desk, &list).code(6),
        &["is locked", "unlock it in"],
    );
    // Nothing given: what the keyring said is told, then the passphrase would be asked for.
    said(
        run(&world, &desk, &["secrets", "list"]).code(4),
        &["Not opened with the keyring", "is locked"],
    );
    // An option says how to open it: the keyring is left alone.
    let ran = with_passphrase(&world, &desk, &["secrets", "list"]).ok();
    assert!(!ran.stderr.contains("keyring"), "{}", ran.stderr);
    desk.stop_keyring();
    said(
        run(&world, &desk, &list).code(6),
        &["no program on the session bus", "gnome-keyring"],
    );
    said(
        world.run(&list).code(6),
        &["no session bus", "dbus-run-session"],
    );
    let doctor = run(&world, &desk, &["doctor"]);
    assert!(
        doctor.text().contains("no program on the session bus"),
        "{}",
        doctor.text()
    );
    let headless = Desk::new(With::NoCollection);
    said(
        run(&world, &headless, &list).code(6),
        &["no default collection", "Seahorse"],
    );
    let args = ["vault", "slot", "add", "keyring"];
    said(
        with_passphrase(&world, &headless, &args).code(6),
        &["no default collection"],
    );
    let empty = Desk::new(With::Unlocked);
    said(
        run(&world, &empty, &list).code(3),
        &["not in the keyring", "add a new one"],
    );
    // A vault without such a slot has no use for the option.
    let other = World::new();
    said(
        run(&other, &empty, &list).code(5),
        &["no keyslot takes what was given"],
    );
}

#[test]
fn who_has_no_use_for_the_keyring_leaves_the_bus_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let bus = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bus.set_nonblocking(true).unwrap();
    let world = World::new();
    world.store("a", "value");
    let passphrase = world.passphrase();
    let address = format!("unix:path={}", path.display());
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("DBUS_SESSION_BUS_ADDRESS", &address);
        finish(command, None)
    };
    let args = [
        "secrets",
        "get",
        "-n",
        "a",
        "--passphrase-file",
        &passphrase,
    ];
    assert_eq!(run(&args).ok().text(), "value");
    // Without a way to open it, and without a keyring slot.
    run(&["secrets", "get", "a"]).code(4);
    run(&["vault", "status"]).ok();
    let nobody = bus.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}
