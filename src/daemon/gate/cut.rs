//! What of an answer is for the one who asked.

use super::judge::Judge;
use crate::grants::{Decision, Verb};
use crate::reference::SecretRef;
use crate::runtime::service::{RefReport, Reply, SnapshotStatus};

/// Takes from a reply what no grant is about. Replies to requests about records that were named
/// were judged by those names.
pub(super) fn to_granted(reply: &mut Reply, judge: &Judge<'_>) {
    let may = |verb, wanted: &SecretRef| matches!(judge.on(verb, wanted), Decision::Allowed(_));
    let named = |report: &RefReport| {
        let reference = report.reference.as_ref();
        reference.is_some_and(|reference| may(Verb::Use, reference))
    };
    match reply {
        Reply::Status(status) => {
            status.vault = None;
            hide(&mut status.snapshot);
        }
        Reply::Records(records) => {
            records.retain(|record| may(Verb::Read, &SecretRef::to_record(&record.name)));
        }
        Reply::Report(report) => {
            report.refs.retain(named);
            hide(&mut report.snapshot);
        }
        Reply::Value(_)
        | Reply::Token(_)
        | Reply::SignedOut(_)
        | Reply::Versions(_)
        | Reply::Committed(_)
        | Reply::Compared(_)
        | Reply::Resolved(_)
        | Reply::Verified(_)
        | Reply::Done => {}
    }
}

/// That there is a snapshot, and in which state, is all that others need to know.
fn hide(snapshot: &mut SnapshotStatus) {
    snapshot.generation = None;
    snapshot.refs = 0;
    snapshot.places = 0;
    snapshot.failures = Vec::new();
}
