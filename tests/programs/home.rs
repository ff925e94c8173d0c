//! A home folder in which a program finds its set-up and Reseal on the `PATH`.

use super::super::world::{BIN, Ran, World, finish};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

const GUIDE: &str = include_str!("../../docs/programs.md");

/// A world whose vault is open, with a home folder beside the state folder.
pub struct Home {
    /// The state folder and its daemon.
    pub world: World,
    /// The home folder.
    pub path: PathBuf,
}

impl Home {
    /// An empty home folder, `reseal` in its `.local/bin`.
    pub fn new() -> Self {
        let world = World::unlocked();
        let path = PathBuf::from(world.beside("home"));
        fs::create_dir_all(path.join(".local/bin")).unwrap();
        symlink(BIN, path.join(".local/bin/reseal")).unwrap();
        Self { world, path }
    }

    /// A program with nothing of the test's own environment but where programs are.
    pub fn command(&self, program: &str) -> Command {
        let inherited = std::env::var("PATH").unwrap();
        let path = format!("{}:{inherited}", self.path.join(".local/bin").display());
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", &self.path)
            .env("PATH", path)
            .env("RESEAL_STATE_DIR", self.world.state())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(&self.path)
            .stdin(std::process::Stdio::null());
        command
    }

    /// Runs a line of shell.
    pub fn sh(&self, line: &str) -> Ran {
        self.sh_with(line, b"")
    }

    /// Runs a line of shell with bytes on stdin.
    pub fn sh_with(&self, line: &str, stdin: &[u8]) -> Ran {
        let mut bash = self.command("bash");
        bash.args(["-e", "-o", "pipefail", "-c", line]);
        finish(bash, Some(stdin))
    }

    /// Runs the first block of shell under a heading of `docs/programs.md`, as it stands there.
    #[track_caller]
    pub fn set_up(&self, heading: &str) {
        self.sh(block(heading, 0)).ok();
    }
}

/// A block of shell under a heading of `docs/programs.md`.
#[track_caller]
pub fn block(heading: &str, number: usize) -> &'static str {
    let section = GUIDE.split("\n## ").find(|part| part.starts_with(heading));
    let blocks = section.expect("the heading").split("```sh\n").skip(1);
    let block = blocks.into_iter().nth(number).expect("the block");
    block.split("```").next().unwrap()
}
