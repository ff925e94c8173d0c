//! Several edits of one document: the text is parsed once before them and read back once after.
//!
//! Invariant: the value is at any time what the text will read back as.

use super::edit::{print, remove_value, set_value, tree};
use super::tree::Node;
use super::{Document, DocumentError, MAX_DOCUMENT, Path, read};
use jsonc_parser::cst::CstRootNode;
use serde_json::Value;

/// A document while it is edited.
pub struct Editing {
    /// Its value has the edits, its text has not.
    document: Document,
    edited: Option<Edited>,
}

/// The text, parsed, with the edits.
struct Edited {
    root: CstRootNode,
    top: Node,
    /// The path of the last edit.
    last: Path,
}

impl Editing {
    /// Begins; the text is parsed by the first edit.
    pub fn of(document: Document) -> Self {
        Self {
            document,
            edited: None,
        }
    }

    /// The whole value, with the edits.
    pub fn value(&self) -> &Value {
        self.document.value()
    }

    /// The value at a path, with the edits.
    pub fn get(&self, path: &Path) -> Option<&Value> {
        self.document.get(path)
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        self.document.name()
    }

    /// [`Document::set`].
    ///
    /// # Errors
    /// [`DocumentError::Blocked`] if something else than an object or array stands in the way.
    pub fn set(&mut self, path: &Path, value: Value) -> Result<(), DocumentError> {
        let blocked = || DocumentError::Blocked {
            file: self.document.name.clone(),
            path: path.clone(),
        };
        let done = top(&self.document, &mut self.edited, path)?.set(path.segments(), &value);
        done.ok_or_else(blocked)?;
        set_value(&mut self.document.value, path.segments(), value);
        Ok(())
    }

    /// [`Document::remove`].
    ///
    /// # Errors
    /// None that a valid document can cause.
    pub fn remove(&mut self, path: &Path) -> Result<bool, DocumentError> {
        if path.segments().is_empty() || self.get(path).is_none() {
            return Ok(false);
        }
        let done = top(&self.document, &mut self.edited, path)?.remove(path.segments());
        done.ok_or_else(|| failed(&self.document, path))?;
        remove_value(&mut self.document.value, path.segments());
        Ok(true)
    }

    /// The document with the edits so far, if it reads back as what it should be.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`]; [`DocumentError::Edit`] if the result is not what it should be.
    pub fn document(&self) -> Result<Document, DocumentError> {
        let mut document = self.document.clone();
        let Some(Edited { root, last, .. }) = &self.edited else {
            return Ok(document);
        };
        let text = print(root, &document);
        if text.len() > MAX_DOCUMENT {
            return Err(DocumentError::TooLarge {
                file: document.name,
                max: MAX_DOCUMENT,
            });
        }
        if read(&text, &document.name)? != document.value {
            return Err(failed(&document, last));
        }
        document.text = text;
        Ok(document)
    }
}

/// The parsed text, in which `path` is edited next.
fn top<'a>(
    document: &Document,
    edited: &'a mut Option<Edited>,
    path: &Path,
) -> Result<&'a mut Node, DocumentError> {
    if edited.is_none() {
        let root = tree(document).ok_or_else(|| failed(document, path))?;
        let top = root.value().ok_or_else(|| failed(document, path))?;
        *edited = Some(Edited {
            root,
            top: Node::of(top),
            last: Path::root(),
        });
    }
    let edited = edited.as_mut().ok_or_else(|| failed(document, path))?;
    edited.last.clone_from(path);
    Ok(&mut edited.top)
}

fn failed(document: &Document, path: &Path) -> DocumentError {
    DocumentError::Edit {
        file: document.name.clone(),
        path: path.clone(),
    }
}
