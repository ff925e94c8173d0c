//! The line of every value of a document, found in one pass over its text.

use super::{BOM, Document, Path, collect, options};
use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::parse_to_ast;
use std::collections::HashMap;

/// The lines of a value and of all that it holds.
#[derive(Debug, Default)]
pub struct Lines {
    line: Option<usize>,
    members: HashMap<String, Lines>,
    elements: Vec<Lines>,
}

impl Lines {
    /// The lines of a document as it stands.
    pub fn of(document: &Document) -> Self {
        let text = document.text.strip_prefix(BOM).unwrap_or(&document.text);
        let root = super::parsing(text, |text| parse_to_ast(text, &collect(), &options()));
        let root = root.ok().and_then(|parsed| parsed.value);
        let mut count = Count {
            text,
            at: 0,
            line: 1,
        };
        root.map(|root| count.lines(&root)).unwrap_or_default()
    }

    /// The line on which the value at a path stands, from 1.
    pub fn get(&self, path: &Path) -> Option<usize> {
        let mut segments = path.segments().iter();
        let found = segments.try_fold(self, |lines, segment| {
            let member = segment.as_key().and_then(|key| lines.members.get(key));
            member.or_else(|| lines.elements.get(segment.as_index()?))
        });
        found?.line
    }
}

/// Lines are counted on from value to value.
struct Count<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Count<'_> {
    fn lines(&mut self, node: &ast::Value<'_>) -> Lines {
        let start = node.range().start;
        let passed = self.text.as_bytes().get(self.at..start).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.at = start;
        let mut lines = Lines {
            line: Some(self.line),
            ..Lines::default()
        };
        match node {
            ast::Value::Object(object) => {
                for property in &object.properties {
                    let inner = self.lines(&property.value);
                    lines
                        .members
                        .insert(property.name.as_str().to_owned(), inner);
                }
            }
            ast::Value::Array(array) => {
                lines.elements = array
                    .elements
                    .iter()
                    .map(|element| self.lines(element))
                    .collect();
            }
            _ => {}
        }
        lines
    }
}
