//! Clients of the daemon that send anything, and clients that send nothing.

use crate::world::{World, storm, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Fails a test that would wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);
const VALUE: &str = "canary-of-the-daemon";

/// A daemon that holds one value.
struct Daemon {
    world: World,
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Daemon {
    fn start() -> Self {
        let world = World::new();
        assert!(world.set("a", VALUE));
        let mut command = world.command(&["daemon"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the daemon ended");
        }
        // Nobody reads on while clients cause lines: the pipe is full soon.
        rustix::pipe::fcntl_setpipe_size(log.get_ref(), 4096).unwrap();
        Self { world, child, log }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.world.state.join("run/daemon.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The value, as a client gets it that has no key.
    fn serves(&self) -> bool {
        let mut command = self.world.without_key(&["secrets", "get", "a"]);
        let output = command.output().unwrap();
        text(&output.stdout) == format!("{VALUE}\n")
    }

    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// Ends it; what it has said meanwhile.
    fn end(mut self) -> String {
        let mut lock = self.world.without_key(&["vault", "lock"]);
        let lock = lock.output().unwrap();
        assert!(lock.status.success(), "{}", text(&lock.stderr));
        let mut said = String::new();
        self.log.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success());
        said
    }
}

/// xorshift64*: the same frames in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let rolled = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(rolled).unwrap() % sides
    }
}

fn frame(json: &str, attachment: &[u8]) -> Vec<u8> {
    let len = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let whole = len(4 + json.len() + attachment.len());
    [&whole, &len(json.len()), json.as_bytes(), attachment].concat()
}

/// Requests that are right but for what is done to them next.
fn honest() -> [Vec<u8>; 4] {
    [
        frame(r#"{"v":1,"request":{"op":"status"}}"#, b""),
        frame(
            r#"{"v":1,"request":{"op":"get","name":"a","version":null}}"#,
            b"",
        ),
        frame(
            r#"{"v":1,"request":{"op":"listUnder","prefix":"hostile"}}"#,
            b"",
        ),
        frame(
            r#"{"v":1,"request":{"op":"history","name":"hostile"},"lens":[4]}"#,
            b"evil",
        ),
    ]
}

fn damaged(dice: &mut Dice, honest: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = honest[dice.roll(honest.len())].clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        let byte = u8::try_from(dice.roll(256)).unwrap();
        match dice.roll(6) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.insert(at, byte),
            2 => bytes[at] = byte,
            // The lengths, where it hurts most.
            3 => bytes[at % 8] = byte,
            4 => bytes.extend_from_within(at..),
            _ => bytes[at] ^= 1 << dice.roll(8),
        }
    }
    bytes
}

#[test]
fn hostile_frames_harm_nobody_and_leave_nothing_behind() {
    let frames = if storm() { 10_000 } else { 500 };
    let daemon = Daemon::start();
    assert!(daemon.serves());
    let before = daemon.descriptors();
    let (mut dice, honest) = (Dice(0x9e37_79b9_7f4a_7c15), honest());
    let mut answer = Vec::new();
    for sent in 0..frames {
        let bytes = damaged(&mut dice, &honest);
        let mut stream = daemon.connect();
        // It may have hung up before all was sent.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        answer.clear();
        // A connection that is reset is closed too; one that stays open is not.
        if let Err(error) = stream.read_to_end(&mut answer) {
            let timed_out = error.kind() == std::io::ErrorKind::WouldBlock;
            assert!(!timed_out, "frame {sent} got no answer: {bytes:?}");
        }
        if sent % 100 == 0 {
            assert!(daemon.serves(), "after frame {sent}: {bytes:?}");
        }
    }
    assert!(daemon.serves());
    // A connection's descriptor is closed by its thread, some time after the client saw its end.
    while daemon.descriptors() > before {
        std::thread::yield_now();
    }
    assert!(!daemon.end().contains(VALUE));
}

#[test]
fn a_hundred_clients_that_stall_are_dropped_and_others_are_served() {
    let daemon = Daemon::start();
    let stalled: Vec<UnixStream> = (0..100)
        .map(|client| {
            let mut stream = daemon.connect();
            // Nothing, a part of the lengths, or a part of the JSON.
            let request = &honest()[1];
            stream
                .write_all(&request[..[0, 3, 20][client % 3]])
                .unwrap();
            stream
        })
        .collect();
    // The kernel keeps the one behind them waiting until they are dropped.
    assert!(daemon.serves());
    for mut stream in stalled {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!text(&answer).contains(VALUE));
    }
    assert!(daemon.serves());
    daemon.end();
}
