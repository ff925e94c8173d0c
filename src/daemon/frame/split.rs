//! Messages of several frames: a list that is too long for one frame is cut, and put together
//! again by the reader.
//!
//! Every frame but the last says `"more": true` and is a complete message of the same form with
//! part of the list, so that a reader checks each one by itself. What has no list is never cut.

use super::{Ask, Frame, FrameError, Told, encode_ask, encode_told};
use crate::runtime::service::{
    Answer, MAX_RESOLVE_REFS, Outcome, Reply, Report, Request, SnapshotStatus,
};
use crate::secret::SecretValue;

/// The most frames of one request.
pub const MAX_REQUEST_FRAMES: usize = 32;
/// The most frames of one answer.
pub const MAX_ANSWER_FRAMES: usize = 2 * MAX_RESOLVE_REFS;

/// The frames of a request.
pub fn request_frames(ask: Ask, secrets: &[SecretValue]) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    push_request(ask, secrets, false, &mut frames)?;
    if frames.len() > MAX_REQUEST_FRAMES {
        return Err(FrameError::TooLarge);
    }
    Ok(frames)
}

fn push_request(
    mut ask: Ask,
    secrets: &[SecretValue],
    more: bool,
    out: &mut Vec<Frame>,
) -> Result<(), FrameError> {
    match encode_ask(&ask, secrets, more) {
        Err(FrameError::TooLarge) => {
            let Ask::Request(Request::Resolve { refs }) = &mut ask else {
                return Err(FrameError::TooLarge);
            };
            let tail = tail_of(refs).ok_or(FrameError::TooLarge)?;
            push_request(ask, secrets, true, out)?;
            let rest = Ask::Request(Request::Resolve { refs: tail });
            push_request(rest, &[], more, out)
        }
        other => other.map(|frame| out.push(frame)),
    }
}

/// Adds the next part of a request to what came before.
pub fn merge_request(whole: &mut Ask, next: Ask) -> Result<(), FrameError> {
    match (whole, next) {
        (
            Ask::Request(Request::Resolve { refs }),
            Ask::Request(Request::Resolve { refs: more }),
        ) => {
            if refs.len() + more.len() > MAX_RESOLVE_REFS {
                return Err(FrameError::TooLarge);
            }
            extend(refs, more)
        }
        _ => Err(FrameError::Continuation),
    }
}

/// The frames of an answer.
pub fn answer_frames(
    told: Result<Answer, crate::error::Failure>,
) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    match told {
        Ok(Answer { reply, secrets }) => push_answer(Ok(reply), secrets, false, &mut frames)?,
        Err(failure) => push_answer(Err(failure), Vec::new(), false, &mut frames)?,
    }
    Ok(frames)
}

fn push_answer(
    mut told: Told,
    mut secrets: Vec<SecretValue>,
    more: bool,
    out: &mut Vec<Frame>,
) -> Result<(), FrameError> {
    match encode_told(&told, &secrets, more) {
        Err(FrameError::TooLarge) => {
            let reply = told.as_mut().map_err(|_| FrameError::TooLarge)?;
            let (rest, values) = halve(reply, &mut secrets).ok_or(FrameError::TooLarge)?;
            push_answer(told, secrets, true, out)?;
            push_answer(Ok(rest), values, more, out)
        }
        other => other.map(|frame| out.push(frame)),
    }
}

/// Takes the second half of the reply's list away, with the values that belong to it.
fn halve(reply: &mut Reply, secrets: &mut Vec<SecretValue>) -> Option<(Reply, Vec<SecretValue>)> {
    let rest = match reply {
        Reply::Records(list) => Reply::Records(tail_of(list)?),
        Reply::Versions(list) => Reply::Versions(tail_of(list)?),
        Reply::Resolved(list) => {
            let tail = tail_of(list)?;
            let kept = list.iter().filter(|o| **o == Outcome::Ok).count();
            let values = secrets.split_off(kept.min(secrets.len()));
            return Some((Reply::Resolved(tail), values));
        }
        Reply::Report(report) => Reply::Report(halve_report(report)?),
        Reply::Status(status) => {
            let snapshot = halve_snapshot(&mut status.snapshot)?;
            let mut rest = status.clone();
            rest.snapshot = snapshot;
            Reply::Status(rest)
        }
        Reply::Value(_)
        | Reply::Token(_)
        | Reply::SignedOut(_)
        | Reply::Committed(_)
        | Reply::Compared(_)
        | Reply::Verified(_)
        | Reply::Done => return None,
    };
    Some((rest, Vec::new()))
}

fn halve_report(report: &mut Report) -> Option<Report> {
    if let Some(refs) = tail_of(&mut report.refs) {
        let failures = std::mem::take(&mut report.snapshot.failures);
        let snapshot = report.snapshot.clone();
        report.snapshot.failures = failures;
        return Some(Report { snapshot, refs });
    }
    halve_snapshot(&mut report.snapshot).map(|snapshot| Report {
        snapshot,
        refs: Vec::new(),
    })
}

fn halve_snapshot(snapshot: &mut SnapshotStatus) -> Option<SnapshotStatus> {
    let failures = tail_of(&mut snapshot.failures)?;
    let kept = std::mem::take(&mut snapshot.failures);
    let mut rest = snapshot.clone();
    snapshot.failures = kept;
    rest.failures = failures;
    Some(rest)
}

/// Adds the next part of an answer to what came before.
pub fn merge_answer(whole: &mut Reply, next: Reply) -> Result<(), FrameError> {
    match (whole, next) {
        (Reply::Records(list), Reply::Records(more)) => extend(list, more),
        (Reply::Versions(list), Reply::Versions(more)) => extend(list, more),
        (Reply::Resolved(list), Reply::Resolved(more)) => extend(list, more),
        (Reply::Report(report), Reply::Report(more)) => {
            if more.refs.is_empty() {
                return extend(&mut report.snapshot.failures, more.snapshot.failures);
            }
            report.snapshot.failures.extend(more.snapshot.failures);
            extend(&mut report.refs, more.refs)
        }
        (Reply::Status(status), Reply::Status(more)) => {
            extend(&mut status.snapshot.failures, more.snapshot.failures)
        }
        _ => Err(FrameError::Continuation),
    }
}

/// A part that adds nothing is refused: it could come for ever.
fn extend<T>(list: &mut Vec<T>, more: Vec<T>) -> Result<(), FrameError> {
    if more.is_empty() {
        return Err(FrameError::Continuation);
    }
    list.extend(more);
    Ok(())
}

fn tail_of<T>(list: &mut Vec<T>) -> Option<Vec<T>> {
    (list.len() > 1).then(|| list.split_off(list.len().div_ceil(2)))
}
