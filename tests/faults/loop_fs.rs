//! A real file system that a test may fill, cut off or make read-only.

use std::path::Path;
use std::process::Command;

/// An ext4 file system on a loop device; unmounted on drop.
pub struct LoopFs {
    image: std::path::PathBuf,
    mount: std::path::PathBuf,
}

impl LoopFs {
    /// A file system of 64 MiB, made with these options of `mkfs.ext4`. `None` on machines that
    /// refuse loop mounts (containers, other users than root); `tests/run` sets
    /// `RESEAL_POWER_CUT=1` where they must work.
    pub fn where_possible(folder: &Path, options: &[&str]) -> Option<Self> {
        match Self::new(folder, options) {
            Ok(fs) => Some(fs),
            Err(why) => {
                let required = std::env::var_os("RESEAL_POWER_CUT").is_some();
                assert!(!required, "no file system on a loop device here: {why}");
                eprintln!("no file system on a loop device here: {why}");
                None
            }
        }
    }

    fn new(folder: &Path, options: &[&str]) -> Result<Self, String> {
        let fs = Self {
            image: folder.join("image"),
            mount: folder.join("mount"),
        };
        std::fs::create_dir(&fs.mount).unwrap();
        run(Command::new("xfs_io").arg("-V"))?;
        let file = std::fs::File::create(&fs.image).unwrap();
        file.set_len(64 << 20).unwrap();
        let mut mkfs = Command::new("mkfs.ext4");
        run(mkfs.args(["-q", "-F"]).args(options).arg(&fs.image))?;
        fs.mount_it()?;
        Ok(fs)
    }

    fn mount_it(&self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mount))
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Makes it read-only, or writable again.
    pub fn set_read_only(&self, yes: bool) {
        let option = if yes { "remount,ro" } else { "remount,rw" };
        let mut mount = Command::new("mount");
        run(mount.args(["-o", option]).arg(&self.mount)).unwrap();
    }

    /// Cuts the power: nothing more reaches the image, not even the journal in memory.
    pub fn cut(&self) -> Result<(), String> {
        run(Command::new("xfs_io")
            .args(["-x", "-c", "shutdown"])
            .arg(&self.mount))
    }

    /// Mounts it anew, as after a start of the machine.
    pub fn remount(&self) {
        run(Command::new("umount").arg(&self.mount)).unwrap();
        self.mount_it().unwrap();
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output();
    let output = output.map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
