//! The rows of databases (eras C and D) in which the other runtime keeps its profiles.
//!
//! Each is a store of its agent like `auth-profiles.json`, and comes before that file, which newer
//! versions only import; the shared one is taken for that of `main`, from which others inherit. A
//! database that can't be read, or has no write-ahead log, stays and is listed.

use super::theirs::Theirs;
use super::{Work, is_store};
use crate::apply::row::{self, Table};
use crate::error::Failure;
use crate::family::{Place, PlaceKind};
use crate::name::AgentId;
use std::path::PathBuf;

/// A store of an agent's profiles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shelf {
    pub(super) agent: AgentId,
    /// The row; `None`: the file.
    pub(super) row: Option<(Table, PathBuf)>,
}

impl Shelf {
    pub(super) fn file(agent: &AgentId) -> Self {
        Self {
            agent: agent.clone(),
            row: None,
        }
    }
}

impl Work<'_> {
    /// Takes the rows in.
    pub(super) fn rows(
        &mut self,
        theirs: &mut Theirs<'_>,
        places: &[Place],
    ) -> Result<(), Failure> {
        for place in places.iter().filter(|place| is_store(place)) {
            if let Err(why) = self.row(theirs, place)? {
                self.leave(place.path.display().to_string(), why);
            }
        }
        Ok(())
    }

    /// Takes a row in; why its database stays if it does.
    fn row(
        &mut self,
        theirs: &mut Theirs<'_>,
        place: &Place,
    ) -> Result<Result<(), String>, Failure> {
        if place.backup {
            return Ok(Err("a copy of a database, which is not changed".to_owned()));
        }
        let (table, agent) = match (place.kind, &place.agent) {
            (PlaceKind::SharedDatabase, _) => (Table::Shared, AgentId::main()),
            (_, Some(agent)) => match agent.parse() {
                Ok(agent) => (Table::Agent, agent),
                Err(_) => return Ok(Err("its folder is that of no agent".to_owned())),
            },
            (_, None) => (Table::Agent, AgentId::main()),
        };
        let row = match row::read(&place.path, table) {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(Ok(())),
            Err(failure) => return Ok(Err(failure.message)),
        };
        if !row.writes_ahead {
            let why = "a database without a write-ahead log, which is not changed; credentials in \
                       it are not moved";
            return Ok(Err(why.to_owned()));
        }
        let shelf = Shelf {
            agent: theirs.holder(&agent).clone(),
            row: Some((table, place.path.clone())),
        };
        theirs.add_row(shelf.clone(), row)?;
        for ignored in theirs.store(&shelf, &self.config)?.ignored() {
            let why = format!("it is no profile ({})", ignored.reason.as_str());
            self.leave(format!("{}: {}", shelf.agent, ignored.id), why);
        }
        Ok(Ok(()))
    }
}
