//! Whole frames out of a vault file, through one reused buffer.

use super::StoreError;
use super::disk::DiskFile;
use crate::vault::limits::MAX_FRAME;
use crate::vault::{FRAME_HEAD, FrameHead};
use std::path::Path;

/// How much is read ahead, in bytes; a larger frame makes the buffer grow to its size.
pub const READ_AHEAD: usize = 1 << 20;

/// Reads frame after frame, up to the length that the file had when the reading began.
pub struct Frames<'f> {
    file: &'f dyn DiskFile,
    path: &'f Path,
    buffer: Vec<u8>,
    /// The part of the buffer that holds bytes not handed out yet.
    start: usize,
    filled: usize,
    /// Where in the file the byte at `start` lies.
    offset: u64,
    end: u64,
}

impl<'f> Frames<'f> {
    pub(super) fn new(file: &'f dyn DiskFile, path: &'f Path, offset: u64, end: u64) -> Self {
        Self {
            file,
            path,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            offset,
            end,
        }
    }

    /// The next frame and its offset, or `None` if what is left is no whole frame: the end of the
    /// file, or a tail. Nothing is authenticated here.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file can't be read.
    pub fn next_frame(&mut self) -> Result<Option<(u64, &[u8])>, StoreError> {
        if !self.fill(FRAME_HEAD)? {
            return Ok(None);
        }
        let head = self.buffer[self.start..]
            .first_chunk()
            .map(FrameHead::parse);
        let Some(Ok(head)) = head else {
            return Ok(None);
        };
        let total = head.total_len();
        if total > MAX_FRAME || !self.fill(total)? {
            return Ok(None);
        }
        let (at, from) = (self.offset, self.start);
        self.start += total;
        self.offset += total as u64;
        Ok(Some((at, &self.buffer[from..from + total])))
    }

    /// Makes at least `need` bytes ready; false if the file does not hold so many.
    fn fill(&mut self, need: usize) -> Result<bool, StoreError> {
        let ready = self.filled - self.start;
        if ready >= need {
            return Ok(true);
        }
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        if left < need {
            return Ok(false);
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        self.start = 0;
        self.filled = ready;
        let target = need.max(READ_AHEAD).min(left);
        if self.buffer.len() < target {
            self.buffer.resize(target, 0);
        }
        let read = self
            .file
            .read_at(&mut self.buffer[ready..target], self.offset + ready as u64)
            .map_err(StoreError::io("read", self.path))?;
        self.filled += read;
        // Fewer bytes than the stat promised: somebody cut the file. What is left is a tail.
        Ok(self.filled >= need)
    }
}
