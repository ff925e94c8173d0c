//! The person at the terminal during a sign-in: what they are shown, what they paste.

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::input;
use crate::cli::output::Tone;
use crate::cli::when;
use crate::error::{Code, Failure};
use crate::net::qr;
use crate::oauth::callback::MAX_CALLBACK;
use crate::oauth::device::Prompt;
use crate::sign_in::{News, Pasted, Person};
use crate::sys::tty::{self, PromptError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::json;
use std::os::fd::{AsFd, BorrowedFd};

/// How often something pasted may be of another sign-in before the command gives up.
const MAX_PASTES: usize = 10;

/// The person who ran the command.
pub(in crate::cli) struct AtTerminal<'a> {
    pub(in crate::cli) context: &'a Context,
    /// What the provider is called.
    pub(in crate::cli) provider: &'a str,
    /// The address alone goes to stdout, for another program to open.
    pub(in crate::cli) address_to_stdout: bool,
    /// False where the terminal is somebody else's: then nobody is asked to paste.
    pub(in crate::cli) may_ask: bool,
    /// What is pasted comes through stdin.
    pub(in crate::cli) paste_from_stdin: bool,
    pasted: usize,
}

impl<'a> AtTerminal<'a> {
    pub(in crate::cli) fn new(context: &'a Context, provider: &'a str) -> Self {
        Self {
            context,
            provider,
            address_to_stdout: false,
            may_ask: true,
            paste_from_stdin: false,
            pasted: 0,
        }
    }

    /// One event of `--json`: a document on a line of its own.
    pub(in crate::cli) fn event(&self, event: &serde_json::Value) -> Result<(), Failure> {
        let text = event.to_string();
        self.context.out.data(&text).map_err(CliError::into_reason)
    }

    fn authorize(
        &self,
        url: &str,
        browser: Option<Result<&str, String>>,
        deaf: Option<&str>,
    ) -> Result<(), Failure> {
        let out = &self.context.out;
        if out.json {
            let listening = deaf.is_none();
            return self.event(&json!({"event": "authorize", "url": url, "listening": listening}));
        }
        match &browser {
            Some(Ok(program)) => out.explain(&format!(
                "Opening {} in your browser ({program}). If it does not show, open this page:",
                self.provider
            )),
            Some(Err(why)) => {
                out.detail(&format!("No browser was opened: {why}."));
                out.tell(&format!("Open this page to sign in to {}:", self.provider));
            }
            None => out.tell(&format!("Open this page to sign in to {}:", self.provider)),
        }
        if self.address_to_stdout {
            out.data(url).map_err(CliError::into_reason)?;
        } else {
            // Not folded: a terminal makes one link of it, and it can be copied whole.
            out.tell(&format!("\n{url}\n"));
        }
        match deaf {
            Some(why) => out.explain(&format!(
                "Nothing listens for the browser ({why}). After you agreed there, its page can't \
                 be shown: copy the address that it ended at."
            )),
            None => out.say("Waiting for the browser ..."),
        }
        Ok(())
    }

    fn code(&self, prompt: &Prompt) -> Result<(), Failure> {
        let out = &self.context.out;
        let (page, code) = (prompt.page.as_str(), prompt.user_code.as_str());
        if out.json {
            return self.event(&json!({
                "event": "deviceCode",
                "userCode": code,
                "verificationUri": page,
                "verificationUriComplete": prompt.complete.as_ref().map(|page| page.as_str()),
                "expiresIn": prompt.lifetime.as_secs(),
            }));
        }
        let complete = prompt.complete.as_ref().unwrap_or(&prompt.page);
        if tty::stderr_is_terminal()
            && let Some(picture) = qr::terminal(complete.as_str(), out.stderr_has_colour())
        {
            out.tell(picture.trim_end_matches('\n'));
        }
        out.tell(&format!("On any device, open {page}"));
        out.tell(&format!(
            "and enter the code  {}",
            out.paint_err(Tone::Strong, code)
        ));
        out.explain(&format!(
            "It is valid for {}. Enter it only if you started this sign-in yourself: a code that \
             somebody sends you signs them in, not you.",
            when::span(prompt.lifetime)
        ));
        out.say("Waiting ...");
        Ok(())
    }
}

impl Person for AtTerminal<'_> {
    fn tell(&mut self, news: News<'_>) -> Result<(), Failure> {
        let out = &self.context.out;
        match news {
            News::Discovering(issuer) => {
                out.progress(&format!("Asking {issuer} how to sign in ..."));
                Ok(())
            }
            News::Authorize {
                url, browser, deaf, ..
            } => self.authorize(url.as_str(), browser, deaf),
            News::Code(prompt) => self.code(prompt),
            News::NotOurs(error) => {
                self.pasted += 1;
                if self.pasted >= MAX_PASTES {
                    let text = format!("what was pasted can't be used: {error}");
                    return Err(Failure::new(Code::OAuthCallback, text));
                }
                out.warn(&format!("that can't be used: {error}"));
                Ok(())
            }
            News::Exchanging => {
                out.progress("Signing in ...");
                Ok(())
            }
        }
    }

    fn paste(&mut self, stop: BorrowedFd<'_>) -> Result<Pasted, Failure> {
        if self.paste_from_stdin {
            return from_stdin(stop);
        }
        if self.context.no_input || self.context.out.json || !self.may_ask {
            return Ok(Pasted::Unable);
        }
        let prompt = "Or paste the address that the browser ended at (hidden): ";
        match tty::read_hidden_until(prompt, stop) {
            Ok(Some(text)) => Ok(Pasted::Text(text)),
            Ok(None) => Ok(Pasted::Stopped),
            Err(PromptError::NoTerminal) => Ok(Pasted::Unable),
            Err(error) => Err(error.into()),
        }
    }
}

/// One line of stdin, unless `stop` is faster. At its end nobody can paste any more.
fn from_stdin(stop: BorrowedFd<'_>) -> Result<Pasted, Failure> {
    let stdin = std::io::stdin();
    let mut fds = [
        PollFd::from_borrowed_fd(stop, PollFlags::IN),
        PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
    ];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => {
                let text = format!("stdin: {error}");
                return Err(Failure::new(Code::FileIo, text));
            }
        }
    }
    if !fds[0].revents().is_empty() {
        return Ok(Pasted::Stopped);
    }
    let line = input::read_line(MAX_CALLBACK)?;
    Ok(line.map_or(Pasted::Unable, Pasted::Text))
}
