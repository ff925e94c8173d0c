//! Starting programs: what `execve` takes is made before the fork, nothing is allocated after it.
//!
//! Invariants: no descriptor but 0 to 2 reaches a program; no shell is involved, except for a
//! script without `#!` that a person named on the command line, as every shell runs it; the
//! environment is made at its final size and wiped when the start is over. Which program is fit to
//! be started is not decided here.

use crate::sys::fds::close_at_exec;
use crate::sys::harden;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use zeroize::Zeroizing;

/// The longest `NAME=VALUE` in bytes that the kernel passes on (`MAX_ARG_STRLEN`, with its NUL).
pub const MAX_VARIABLE: usize = (128 << 10) - 1;

/// An environment in one block: `NAME=VALUE`, each with its NUL. Not in the arena of locked memory:
/// its pages are wiped in a forked child, which has yet to hand them to the kernel.
pub struct Environment {
    bytes: Zeroizing<Vec<u8>>,
    starts: Vec<usize>,
}

/// One variable: its name, and the parts that make up its value.
pub type Variable<'a> = (&'a [u8], Vec<&'a [u8]>);

/// Why there is no environment. The number is the variable's place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The name or the value has a NUL byte, or the name is empty or has a `=`.
    Form(usize),
    /// Over [`MAX_VARIABLE`].
    TooLong(usize),
}

impl Environment {
    /// Lays out the variables in the order given.
    pub fn new(variables: &[Variable<'_>]) -> Result<Self, Unfit> {
        let mut total = 0;
        for (place, (name, parts)) in variables.iter().enumerate() {
            let nul = name.contains(&0) || parts.iter().any(|part| part.contains(&0));
            // Environments in the wild hold names that start with `=`; only ours are checked.
            if nul || name.is_empty() || name[1..].contains(&b'=') {
                return Err(Unfit::Form(place));
            }
            let len = name.len() + 1 + parts.iter().map(|part| part.len()).sum::<usize>();
            if len > MAX_VARIABLE {
                return Err(Unfit::TooLong(place));
            }
            total += len + 1;
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(total));
        let mut starts = Vec::with_capacity(variables.len());
        for (name, parts) in variables {
            starts.push(bytes.len());
            bytes.extend_from_slice(name);
            bytes.push(b'=');
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            bytes.push(0);
        }
        Ok(Self { bytes, starts })
    }
}

/// The file that is to be executed.
pub struct Program {
    path: CString,
    opened: Option<Opened>,
}

struct Opened {
    file: OwnedFd,
    device: u64,
    inode: u64,
}

impl Program {
    /// The file of this path at the time of the start.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: c_string(path.as_os_str().to_owned())?,
            opened: None,
        })
    }

    /// The file that was opened (`O_PATH` is enough) and checked by the caller. The kernel executes
    /// that very file. A script is the exception: its interpreter opens it by path, so the path is
    /// executed after a last look that it still leads to the opened file.
    pub fn opened(path: &Path, file: OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&file)?;
        let opened = Opened {
            file,
            device: stat.st_dev,
            inode: stat.st_ino,
        };
        Ok(Self {
            path: c_string(path.as_os_str().to_owned())?,
            opened: Some(opened),
        })
    }
}

/// A program with everything that `execve` takes.
pub struct Image {
    program: Program,
    /// Null-terminated, pointing into `_args`.
    argv: Vec<*const libc::c_char>,
    /// The same behind `/bin/sh`, for a script without `#!`.
    shell_argv: Vec<*const libc::c_char>,
    /// Null-terminated, pointing into `_env`.
    envp: Vec<*const libc::c_char>,
    _args: Vec<CString>,
    _env: Environment,
}

// SAFETY: the pointers lead into heap blocks that the image owns and never changes.
unsafe impl Send for Image {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for Image {}

const SHELL: &CStr = c"/bin/sh";

impl Image {
    /// Puts together program, arguments (the first is the program's own name) and environment.
    pub fn new(program: Program, args: &[OsString], env: Environment) -> io::Result<Self> {
        let args: Vec<CString> = args
            .iter()
            .cloned()
            .map(c_string)
            .collect::<io::Result<_>>()?;
        let end = std::iter::once(std::ptr::null());
        let argv = args
            .iter()
            .map(|arg| arg.as_ptr())
            .chain(end.clone())
            .collect();
        let shell_argv = [SHELL.as_ptr(), program.path.as_ptr()]
            .into_iter()
            .chain(args.iter().skip(1).map(|arg| arg.as_ptr()))
            .chain(end.clone())
            .collect();
        let block = env.bytes.as_slice();
        let envp = env
            .starts
            .iter()
            .map(|start| block[*start..].as_ptr().cast())
            .chain(end)
            .collect();
        Ok(Self {
            program,
            argv,
            shell_argv,
            envp,
            _args: args,
            _env: env,
        })
    }

    /// Becomes the program. Returns only if the kernel refused.
    fn execute(&self) -> io::Error {
        let Some(opened) = &self.program.opened else {
            let refused = self.execute_path();
            if refused.raw_os_error() != Some(libc::ENOEXEC) {
                return refused;
            }
            // SAFETY: as in `execute_path`; `SHELL` is a literal with its NUL.
            unsafe { libc::execve(SHELL.as_ptr(), self.shell_argv.as_ptr(), self.envp.as_ptr()) };
            return io::Error::last_os_error();
        };
        // SAFETY: the descriptor is open, the empty path is a literal, the vectors are
        // null-terminated and point into blocks that `self` owns.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                opened.file.as_raw_fd(),
                c"".as_ptr(),
                self.argv.as_ptr(),
                self.envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        let refused = io::Error::last_os_error();
        // The kernel's answer for a script whose descriptor closes on exec.
        if refused.raw_os_error() != Some(libc::ENOENT) {
            return refused;
        }
        match opened.still_at(&self.program.path) {
            true => self.execute_path(),
            false => io::Error::from_raw_os_error(libc::ESTALE),
        }
    }

    fn execute_path(&self) -> io::Error {
        // SAFETY: the path is NUL-terminated, the vectors are null-terminated and point into blocks
        // that `self` owns.
        unsafe {
            libc::execve(
                self.program.path.as_ptr(),
                self.argv.as_ptr(),
                self.envp.as_ptr(),
            )
        };
        io::Error::last_os_error()
    }
}

impl Opened {
    fn still_at(&self, path: &CStr) -> bool {
        rustix::fs::lstat(path)
            .is_ok_and(|now| now.st_dev == self.device && now.st_ino == self.inode)
    }
}

/// Where the three standard descriptors of a started program lead, and what surrounds it.
pub struct Setup {
    /// The working folder; `None` keeps ours.
    pub folder: Option<PathBuf>,
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
    /// Starts a new session, hence a new process group, without a controlling terminal.
    pub session: bool,
    /// Kills the program when the thread that started it ends.
    pub bound: bool,
}

/// Starts a program as a child. Returns once the kernel has accepted or refused it. The caller
/// reaps the child.
pub fn start(image: Image, setup: Setup) -> io::Result<Child> {
    // The name is only for the process list: the hook below never returns to the library's exec.
    let mut command = Command::new("/proc/self/exe");
    let [stdin, stdout, stderr] = setup.stdio;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    if let Some(folder) = setup.folder {
        command.current_dir(folder);
    }
    let Setup { session, bound, .. } = setup;
    let enter = move || {
        if bound {
            let signal = Some(rustix::process::Signal::KILL);
            rustix::process::set_parent_process_death_signal(signal)?;
        }
        if session {
            rustix::process::setsid()?;
        }
        close_at_exec()?;
        harden::release();
        Err(image.execute())
    };
    // SAFETY: the hook runs between fork and exec and makes only system calls: nothing in it
    // allocates, locks or unwinds; everything it reads was made before the fork.
    unsafe { command.pre_exec(enter) };
    command.spawn()
}

/// Becomes the program: same process id, nothing of this one left. Returns only on failure.
pub fn replace(image: &Image) -> io::Error {
    if let Err(error) = close_at_exec() {
        return error;
    }
    harden::release();
    // SAFETY: sets a disposition to the default; the Rust runtime ignores the signal, programs
    // expect not to inherit that.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let refused = image.execute();
    // SAFETY: puts the disposition back that was there before.
    unsafe { libc::signal(libc::SIGPIPE, before) };
    refused
}

fn c_string(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_are_laid_out_in_order() {
        let env = Environment::new(&[(b"A", vec![b"x", b"", b"yz"]), (b"B", vec![])]).unwrap();
        assert_eq!(env.bytes.as_slice(), b"A=xyz\0B=\0");
        assert_eq!(env.starts, [0, 6]);
    }

    #[test]
    fn variables_that_are_refused() {
        let check = |name: &[u8], value: &[u8]| {
            Environment::new(&[(b"A", vec![]), (name, vec![value])]).err()
        };
        assert_eq!(check(b"B", b"a\0b"), Some(Unfit::Form(1)));
        assert_eq!(check(b"B\0", b""), Some(Unfit::Form(1)));
        assert_eq!(check(b"B=C", b""), Some(Unfit::Form(1)));
        assert_eq!(check(b"", b""), Some(Unfit::Form(1)));
        assert_eq!(check(b"=X", b""), None);
        assert_eq!(check(b"B", &vec![b'x'; MAX_VARIABLE - 2]), None);
        assert_eq!(
            check(b"B", &vec![b'x'; MAX_VARIABLE - 1]),
            Some(Unfit::TooLong(1))
        );
    }

    #[test]
    fn the_kernel_takes_a_variable_of_the_greatest_length() {
        let value = vec![b'x'; MAX_VARIABLE - 2];
        let env = Environment::new(&[(b"B", vec![&value])]).unwrap();
        let program = Program::at(Path::new("/bin/true")).unwrap();
        let image = Image::new(program, &["true".into()], env).unwrap();
        let setup = Setup {
            folder: None,
            stdio: [Stdio::null(), Stdio::null(), Stdio::null()],
            session: true,
            bound: false,
        };
        assert!(start(image, setup).unwrap().wait().unwrap().success());
    }

    /// Copied by another process: a descriptor open for writing in this one could reach a child of
    /// another test, and the kernel refuses to run a file that is open for writing.
    fn copy(from: &str, to: &Path) {
        let copied = Command::new("/bin/cp").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    }

    fn run_opened(path: &Path, swap: &dyn Fn()) -> io::Result<bool> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
        let program = Program::opened(path, file)?;
        swap();
        let image = Image::new(program, &["p".into()], Environment::new(&[]).unwrap())?;
        let stdio = [Stdio::null(), Stdio::null(), Stdio::null()];
        let mut child = start(
            image,
            Setup {
                folder: None,
                stdio,
                session: false,
                bound: false,
            },
        )?;
        Ok(child.wait()?.success())
    }

    #[test]
    fn the_opened_file_runs_whatever_its_name_means_by_then() {
        let place = tempfile::tempdir().unwrap();
        let (path, other) = (place.path().join("p"), place.path().join("q"));
        copy("/bin/true", &path);
        copy("/bin/false", &other);
        let swap = || std::fs::rename(&other, &path).unwrap();
        assert!(run_opened(&path, &swap).unwrap());
        assert!(!run_opened(&path, &|| ()).unwrap());
    }

    #[test]
    fn a_script_runs_only_while_its_name_means_the_opened_file() {
        let place = tempfile::tempdir().unwrap();
        let (path, other) = (place.path().join("p"), place.path().join("q"));
        let write = |path: &Path, code: &str| {
            let script = format!("printf '#!/bin/sh\nexit {code}\n' > \"$0\"; chmod 700 \"$0\"");
            let written = Command::new("/bin/sh")
                .arg("-c")
                .arg(script)
                .arg(path)
                .status();
            assert!(written.unwrap().success());
        };
        write(&path, "0");
        write(&other, "1");
        assert!(run_opened(&path, &|| ()).unwrap());
        let swap = || std::fs::rename(&other, &path).unwrap();
        let refused = run_opened(&path, &swap).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ESTALE));
    }
}
