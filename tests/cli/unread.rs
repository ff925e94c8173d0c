//! Standard error that nobody reads: neither the daemon nor a command that panics waits for it.

use super::world::World;
use crate::scanner::{NO_NONCE, refusing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

/// One page, so that a write of as much fills it.
const ROOM: usize = 4096;
/// How long something that waits for ever is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    assert_eq!(fcntl_setpipe_size(&writer, ROOM).unwrap(), ROOM);
    writer.write_all(&[b'x'; ROOM]).unwrap();
    (reader, writer)
}

/// A process that ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the end of a process; of one that does not end it says where it waits.
#[track_caller]
fn ended(Started(child): &mut Started) -> ExitStatus {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let mut end = [PollFd::new(&process, PollFlags::IN)];
    if poll(&mut end, Some(&patience)).unwrap() == 0 {
        let waits = std::fs::read_to_string(format!("/proc/{}/stack", child.id()));
        panic!("it waits: {waits:?}");
    }
    child.wait().unwrap()
}

/// Sends no frame, and waits until the daemon has closed the connection.
fn breaks_the_protocol(socket: &Path) {
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(&[0xff; 64]).unwrap();
    let mut answer = Vec::new();
    // What was not read any more makes it an error too.
    let end = connection
        .read_to_end(&mut answer)
        .map_err(|error| error.kind());
    assert_ne!(end, Err(ErrorKind::WouldBlock), "it waits");
}

#[test]
fn a_command_that_panics_ends_although_nobody_reads_why() {
    let world = World::new();
    let (mut reader, writer) = full_pipe();
    let passphrase = world.passphrase();
    let arguments = ["secrets", "set", "a", "--passphrase-file", &passphrase];
    let mut command = refusing(&[NO_NONCE], &world.command(&arguments));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(writer);
    let mut child = Started(command.spawn().unwrap());
    // It holds the writing end.
    drop(command);
    child.0.stdin.take().unwrap().write_all(b"value").unwrap();
    assert_eq!(ended(&mut child).code(), Some(70));
    let mut said = Vec::new();
    reader.read_to_end(&mut said).unwrap();
    assert_eq!(said, [b'x'; ROOM]);
}

#[test]
fn a_daemon_whose_log_nobody_reads_answers_and_locks_and_tells_later_what_it_left_out() {
    let world = World::new();
    world.store("a", "value");
    let (mut reader, writer) = full_pipe();
    let passphrase = world.passphrase();
    let mut command = world.command(&["daemon", "--passphrase-file", &passphrase]);
    command.stdout(Stdio::null()).stderr(writer);
    let mut child = Started(command.spawn().unwrap());
    drop(command);
    let socket = world.state().join("run/daemon.sock");
    while !socket.exists() {
        assert!(child.0.try_wait().unwrap().is_none(), "the daemon ended");
        std::thread::yield_now();
    }
    // Each of these has a line.
    breaks_the_protocol(&socket);
    breaks_the_protocol(&socket);
    let got = world.run(&["secrets", "get", "-n", "a"]).ok();
    assert_eq!(got.text(), "value");
    let mut filled = [0; ROOM];
    reader.read_exact(&mut filled).unwrap();
    assert_eq!(filled, [b'x'; ROOM]);
    breaks_the_protocol(&socket);
    let mut told = Vec::new();
    while told.iter().filter(|byte| **byte == b'\n').count() < 2 {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        told.extend(byte);
    }
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains(" lines left out\nreseal: "), "{told}");
    // Full again, and it locks all the same.
    let mut writer = std::fs::File::options()
        .write(true)
        .open(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&reader)
        ))
        .unwrap();
    writer.write_all(&[b'x'; ROOM]).unwrap();
    world.run(&["vault", "lock"]).ok();
    assert!(ended(&mut child).success());
}
