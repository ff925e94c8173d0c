//! Whether a person can be asked where a grant wants that.

use super::{Findings, Severity};
use crate::cli::context::Context;
use crate::daemon::gate::load;
use crate::error::Code;
use crate::source::exec;

const CHECK: &str = "confirm";

/// Looks at the config in which the grants stand. Where no grant wants a person, there is nothing
/// to tell.
pub(super) fn check(context: &Context, findings: &mut Findings) {
    let path = context.state.config();
    let rules = match load::read(&path) {
        Ok(rules) => rules,
        Err(failure) if failure.code == Code::FilePermission => {
            let message = format!("nothing is granted to others: {}", failure.message);
            let remedy = "mend the config: only its owner and root may be able to change it";
            findings.bad("grants", Severity::Warning, message, remedy);
            return;
        }
        // Whoever reads the rest of the config says it.
        Err(_) => return,
    };
    let grants = rules.policy.grants.iter().filter(|grant| grant.confirm);
    let names: Vec<&str> = grants.map(|grant| grant.name.as_str()).collect();
    if names.is_empty() {
        return;
    }
    let names = names.join(", ");
    let Some(asks) = rules.confirm else {
        let message = format!("refused always, for no program asks a person: {names}");
        let remedy = format!("name one as daemon.confirm in {}", path.display());
        findings.bad(CHECK, Severity::Warning, message, remedy);
        return;
    };
    let program = asks.command.display();
    match exec::unfit(&asks) {
        Some(problem) => {
            let message = format!("refused always: {names}. {program} {problem}");
            let remedy = "name another program as daemon.confirm, or mend this one";
            findings.bad(CHECK, Severity::Warning, message, remedy);
        }
        None => findings.ok(CHECK, format!("{program} asks a person, for {names}")),
    }
}
