use super::*;
use crate::reference::Defaults;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

/// Knows `vault:a`, `vault:b`, …: the value of each is `value-of-` and its id.
#[derive(Default)]
struct Known {
    asked: Vec<Vec<String>>,
}

impl Lookup for Known {
    fn resolve(
        &mut self,
        refs: &[SecretRef],
    ) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
        self.asked
            .push(refs.iter().map(ToString::to_string).collect());
        let answer = |reference: &SecretRef| match reference.id() {
            "absent" => Err(Failure::new(Code::RecordAbsent, "no such record")),
            "denied" => Err(Failure::new(Code::RefDenied, "not allowed")),
            "nul" => Ok(SecretValue::copy_of(b"a\0b")),
            id => Ok(SecretValue::copy_of(format!("value-of-{id}").as_bytes())),
        };
        Ok(refs.iter().map(answer).collect())
    }
}

/// Can't be asked anything.
struct Sealed;

impl Lookup for Sealed {
    fn resolve(&mut self, _: &[SecretRef]) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
        Err(Failure::new(Code::VaultSealed, "the vault is locked"))
    }
}

fn bindings(lines: &str) -> Vec<Binding> {
    let text = SecretValue::copy_of(lines.as_bytes());
    Binding::from_env_file("f.env", text, &Defaults::default()).unwrap()
}

fn failure(lines: &str, command: &[&str], lookup: &mut dyn Lookup) -> Failure {
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    let bindings = bindings(lines);
    let launch = Launch {
        command: &command,
        inherited: &[],
        bindings: &bindings,
        mask: false,
    };
    run(&launch, lookup).unwrap_err()
}

#[test]
fn all_failures_are_listed_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("started");
    let command = ["/usr/bin/touch", mark.to_str().unwrap()];
    let lines = "A=secretref:vault:absent\nB=secretref:vault:b\nC=secretref:vault:denied";
    let failed = failure(lines, &command, &mut Known::default());
    assert_eq!(failed.code, Code::RecordAbsent);
    let expected = "A: vault:absent: no such record; C: vault:denied: not allowed";
    assert_eq!(failed.message, expected);
    assert_eq!(
        failure("A=secretref:vault:a", &command, &mut Sealed).code,
        Code::VaultSealed
    );
    let nul = failure(
        "A=x{{secretref:vault:nul}}",
        &command,
        &mut Known::default(),
    );
    assert_eq!(
        nul.message,
        "the variable A has a NUL byte, which no environment can hold"
    );
    let many = "x".repeat(crate::sys::spawn::MAX_VARIABLE - 1);
    let long = failure(&format!("A={many}"), &command, &mut Known::default());
    assert_eq!((long.code, mark.exists()), (Code::InputInvalid, false));
}

#[test]
fn a_long_list_of_failures_is_cut() {
    let lines: String = (0..=MAX_LISTED)
        .map(|i| format!("V{i}=secretref:vault:absent\n"))
        .collect();
    let failed = failure(&lines, &["true"], &mut Known::default());
    assert_eq!(failed.message.matches("no such record").count(), MAX_LISTED);
    assert!(
        failed.message.ends_with("; and 1 more"),
        "{}",
        failed.message
    );
}

#[test]
fn each_ref_is_asked_for_once_and_only_if_it_is_used() {
    let mut known = Known::default();
    let lines = "A=secretref:vault:gone\nA=secretref:vault:a\nB={{secretref:vault:a}}-x\nC=text";
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/nonexistent/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    failure(lines, &[script.to_str().unwrap()], &mut known);
    assert_eq!(known.asked, [["vault:a"]]);
}

#[test]
fn a_program_that_is_not_found_is_an_error_before_anything_is_asked() {
    let mut known = Known::default();
    let failed = failure("A=secretref:vault:a", &["no-such-program"], &mut known);
    assert_eq!(failed.code, Code::ExecAbsent);
    assert_eq!(failed.message, "no-such-program: no such program in PATH");
    assert_eq!(failure("", &[""], &mut known).code, Code::ExecAbsent);
    for (path, code) in [
        ("/no/such/program", Code::ExecAbsent),
        ("/etc/passwd", Code::ExecFailed),
        ("/etc/", Code::ExecFailed),
    ] {
        let failed = failure("A=secretref:vault:a", &[path], &mut known);
        assert_eq!(failed.code, code, "{path}");
    }
    assert!(known.asked.is_empty());
    assert_eq!(failure("", &[], &mut known).code, Code::Usage);
}

#[test]
fn bindings_from_the_command_line() {
    let parse = |text: &str| Binding::parse(text, &Defaults::default());
    let shown = |text: &str| {
        let binding = parse(text).unwrap();
        let refs: Vec<String> = binding.refs().map(ToString::to_string).collect();
        format!("{} {}", binding.name(), refs.join(" "))
    };
    assert_eq!(shown("A=vault:a/b"), "A vault:a/b");
    assert_eq!(shown("_a1=secretref:exec@op:x"), "_a1 exec@op:x");
    for text in [
        "A",
        "=vault:a",
        "1A=vault:a",
        "A-B=vault:a",
        "A=",
        "A=canary-plaintext",
    ] {
        let failed = parse(text).unwrap_err();
        assert_eq!(failed.kind(), crate::error::Kind::Invalid, "{text}");
        assert!(!failed.message.contains("canary"), "{}", failed.message);
    }
}

#[test]
fn errors_of_env_files_and_templates_name_the_line_and_no_content() {
    let env = |bytes: &[u8]| {
        let text = SecretValue::copy_of(bytes);
        Binding::from_env_file("f.env", text, &Defaults::default()).unwrap_err()
    };
    let failed = env(b"A=1\n\n\"canary\n");
    assert!(
        failed.message.starts_with("f.env: line 3"),
        "{}",
        failed.message
    );
    assert!(!failed.message.contains("canary"));
    assert_eq!(env(b"A=1\nB=\xff\n").message, "f.env: line 2: not UTF-8");
    let text = |bytes: &[u8]| {
        let template = SecretValue::copy_of(bytes);
        let mut known = Known::default();
        inject("t", &template, &Defaults::default(), &mut known).unwrap_err()
    };
    assert!(
        text(b"\n{{ secretref:nonsense }}")
            .message
            .starts_with("t: line 2")
    );
    assert_eq!(text(b"a\n\n\xff").message, "t: line 3: not UTF-8");
    let failed =
        text(b"{{ secretref:vault:a }}\n{{secretref:vault:absent}} {{secretref:vault:denied}}");
    let expected = "t: line 2: vault:absent: no such record; t: line 2: vault:denied: not allowed";
    assert_eq!(
        (failed.code, failed.message.as_str()),
        (Code::RecordAbsent, expected)
    );
}

#[test]
fn templates_are_filled_and_all_else_stays() {
    let filled = |text: &str| {
        let template = SecretValue::copy_of(text.as_bytes());
        let filled = inject("t", &template, &Defaults::default(), &mut Known::default()).unwrap();
        String::from_utf8(filled.expose().to_vec()).unwrap()
    };
    let text = "a: {{ secretref:vault:a }}\r\nb: {{secretref:vault:b}}{{ other }} {{ä}}";
    assert_eq!(
        filled(text),
        "a: value-of-a\r\nb: value-of-b{{ other }} {{ä}}"
    );
    assert_eq!(filled(""), "");
}

#[test]
fn a_filled_template_is_written_private_whatever_was_there() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let check = |content: &[u8]| {
        write_private(&out, &SecretValue::copy_of(content)).unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), content);
        assert_eq!(
            std::fs::metadata(&out).unwrap().permissions().mode() & 0o777,
            0o600
        );
    };
    check(b"first");
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o644)).unwrap();
    check(b"second");
    let missing = folder.path().join("no/such/folder");
    assert!(write_private(&missing, &SecretValue::copy_of(b"x")).is_err());
}

const ROLE: &str = "RESEAL_TEST_LAUNCH";

/// The test runs itself again as a process that becomes, or runs, the program. `None` means that
/// this is that process, and the launch has failed.
fn launched(test: &str, mask: bool, lines: &str, script: &str) -> Option<Command> {
    if std::env::var_os(ROLE).is_none() {
        let name = format!("launch::tests::{test}");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", &name, "--nocapture", "--test-threads=1"])
            .env(ROLE, "1");
        return Some(command);
    }
    let command: Vec<OsString> = ["sh", "-c", script].iter().map(OsString::from).collect();
    let inherited: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let bindings = bindings(lines);
    let launch = Launch {
        command: &command,
        inherited: &inherited,
        bindings: &bindings,
        mask,
    };
    match run(&launch, &mut Known::default()) {
        Ok(code) => std::process::exit(code.into()),
        Err(failure) => panic!("{failure}"),
    }
}

/// What the program wrote: the test's own header ends with the first line that holds the mark.
fn after_mark(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.split_once("mark\n")
        .unwrap_or_else(|| panic!("{output:?}"))
        .1
        .to_owned()
}

#[test]
fn the_program_gets_the_values_and_replaces_us() {
    let lines = "A=secretref:vault:a\nexport B='$x'\nC=\"u:{{secretref:vault:b}}@h\" # c\nHOME=/h";
    let script = "echo mark; echo $$; echo \"$A|$B|$C|$HOME|$KEPT|$A\"; exit 7";
    let test = "the_program_gets_the_values_and_replaces_us";
    let Some(mut command) = launched(test, false, lines, script) else {
        return;
    };
    let child = command
        .env("KEPT", "kept")
        .env("A", "old")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let expected = format!("{pid}\nvalue-of-a|$x|u:value-of-b@h|/h|kept|value-of-a\n");
    assert_eq!(
        (after_mark(&output), output.status.code()),
        (expected, Some(7))
    );
}

#[test]
fn a_script_without_a_first_line_runs_as_in_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    let write = "printf 'echo mark\\necho \"$1 $A\"\\n' > \"$0\"; chmod 700 \"$0\"";
    assert!(
        Command::new("/bin/sh")
            .args(["-c", write])
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let test = "a_script_without_a_first_line_runs_as_in_every_shell";
    if std::env::var_os(ROLE).is_none() {
        let output = launched(test, false, "", "").unwrap().output().unwrap();
        assert_eq!(after_mark(&output), "x value-of-a\n");
        return;
    }
    let command = [path.into_os_string(), "x".into()];
    let bindings = bindings("A=secretref:vault:a");
    let launch = Launch {
        command: &command,
        inherited: &[],
        bindings: &bindings,
        mask: false,
    };
    panic!("{:?}", run(&launch, &mut Known::default()));
}

#[test]
fn masked_output_shows_no_value_in_either_stream() {
    let script = "echo mark; printf 'a value-of-'; printf 'a b'; echo; echo \"err $A\" >&2
        printf '%s' \"$A\" | base64; printf value-of; exit 9";
    let test = "masked_output_shows_no_value_in_either_stream";
    let Some(mut command) = launched(test, true, "A=secretref:vault:a", script) else {
        return;
    };
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(after_mark(&output), "a [redacted] b\n[redacted]\nvalue-of");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("err [redacted]\n"), "{stderr}");
    assert_eq!(output.status.code(), Some(9));
}

#[test]
fn a_masked_program_gets_our_signals_and_its_end_is_ours() {
    // `wait` is what a signal interrupts at once; left alone, everything ends by itself.
    let script = "trap 'echo got TERM; kill $!; exit 5' TERM
        /bin/sleep 60 & echo mark; wait; exit 6";
    let test = "a_masked_program_gets_our_signals_and_its_end_is_ours";
    let Some(mut command) = launched(test, true, "", script) else {
        return;
    };
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.ends_with("mark\n") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(
        (rest.as_str(), child.wait().unwrap().code()),
        ("got TERM\n", Some(5))
    );
}

#[test]
fn the_signal_that_ends_a_masked_program_is_in_our_exit_code() {
    let test = "the_signal_that_ends_a_masked_program_is_in_our_exit_code";
    let Some(mut command) = launched(test, true, "", "kill -KILL $$") else {
        return;
    };
    assert_eq!(command.output().unwrap().status.code(), Some(128 + 9));
}

#[test]
fn a_descendant_of_a_masked_program_does_not_hold_us() {
    let test = "a_descendant_of_a_masked_program_does_not_hold_us";
    let script = "/bin/sleep 600 & echo mark; echo $!";
    let Some(mut command) = launched(test, true, "", script) else {
        return;
    };
    let output = command.output().unwrap();
    let pid = after_mark(&output).trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn nobody_reading_a_masked_program_is_told_to_it() {
    let test = "nobody_reading_a_masked_program_is_told_to_it";
    let Some(mut command) = launched(test, true, "", "exec yes") else {
        return;
    };
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 64]).unwrap();
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
}

#[test]
fn neither_a_folder_nor_a_plain_file_in_path_is_a_program() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::fs::write(folder.path().join("plain"), "").unwrap();
    let inherited = [("PATH".into(), folder.path().as_os_str().to_owned())];
    for name in ["folder", "plain"] {
        let command = [OsString::from(name)];
        let launch = Launch {
            command: &command,
            inherited: &inherited,
            bindings: &[],
            mask: false,
        };
        let failed = run(&launch, &mut Known::default()).unwrap_err();
        assert_eq!(failed.code, Code::ExecFailed, "{failed}");
    }
}
