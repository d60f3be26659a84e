//! The bytes of a file, in pages that copies share.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 4096;

type Page = [u8; PAGE];

/// Sparse bytes. A clone costs a pointer a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes {
    pages: BTreeMap<u64, Arc<Page>>,
    size: u64,
}

impl Bytes {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// In units of 512 bytes, as stat(2) wants it.
    pub(super) fn blocks(&self) -> u64 {
        self.pages.len() as u64 * (PAGE as u64 / 512)
    }

    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let there = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(there)];
        let mut done = 0;
        while done < bytes.len() {
            let (page, start, count) = span(offset + done as u64, bytes.len() - done);
            if let Some(page) = self.pages.get(&page) {
                bytes[done..done + count].copy_from_slice(&page[start..start + count]);
            }
            done += count;
        }
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, start, count) = span(offset + done as u64, bytes.len() - done);
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        self.size = self.size.max(offset + bytes.len() as u64);
    }

    /// Zeros `length` bytes, without a change of size.
    pub(super) fn punch(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length).min(self.size);
        let mut at = offset;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let (page, start, count) = span(at, left);
            if count == PAGE {
                self.pages.remove(&page);
            } else if let Some(page) = self.pages.get_mut(&page) {
                Arc::make_mut(page)[start..start + count].fill(0);
            }
            at += count as u64;
        }
    }

    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.punch(size, self.size - size);
            self.pages.split_off(&size.div_ceil(PAGE as u64));
        }
        self.size = size;
    }

    /// `self` with those pages of `newer` that `keep` says yes to, and its size if `resized`.
    pub(super) fn torn(&self, newer: &Self, resized: bool, mut keep: impl FnMut() -> bool) -> Self {
        let mut torn = self.clone();
        if resized {
            torn.resize(newer.size);
        }
        for (number, page) in &newer.pages {
            let is_old = self.pages.get(number).is_some_and(|old| Arc::ptr_eq(old, page));
            if !is_old && *number < torn.size.div_ceil(PAGE as u64) && keep() {
                torn.pages.insert(*number, Arc::clone(page));
            }
        }
        torn
    }
}

/// The page of `offset`, where in it, and how many of `length` bytes are in it.
fn span(offset: u64, length: usize) -> (u64, usize, usize) {
    let start = usize::try_from(offset % PAGE as u64).unwrap_or(0);
    (offset / PAGE as u64, start, length.min(PAGE - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_a_vector_would_hold() {
        let (mut bytes, mut model) = (Bytes::default(), Vec::new());
        let mut state = 1_u64;
        for round in 0..2_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
            let (offset, length) = ((state >> 33) % 20_000, (state >> 13) % 9_000);
            let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
            match state >> 61 {
                0..=3 if length > 0 => {
                    let written = vec![u8::try_from(round % 251).unwrap(); end - start];
                    bytes.write(offset, &written);
                    model.resize(model.len().max(end), 0);
                    model[start..end].copy_from_slice(&written);
                }
                4 | 5 => {
                    bytes.resize(offset);
                    model.resize(start, 0);
                }
                6 => {
                    bytes.punch(offset, length);
                    let end = end.min(model.len());
                    model.get_mut(start..end).into_iter().for_each(|part| part.fill(0));
                }
                _ => {}
            }
            assert_eq!(bytes.size(), model.len() as u64);
            let end = end.min(model.len());
            assert!(
                bytes.read(offset, usize::try_from(length).unwrap()) == model.get(start..end).unwrap_or(&[])
            );
        }
    }
}
