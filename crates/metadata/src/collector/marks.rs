//! What a walk has reached: two bits for each record, in pages, as row ids lie close together.

use std::collections::BTreeMap;

use crate::node::{Kind, Node};

/// How far references count from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// A flat lease's: the thing itself, the target of an image, the parents of a snapshot.
    Flat,
    /// All that it refers to.
    Full,
}

const WORDS: usize = 64;
const PAGE: i64 = (WORDS * 64) as i64;

#[derive(Debug)]
struct Page {
    reached: [u64; WORDS],
    full: [u64; WORDS],
}

/// What was reached.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pages: BTreeMap<(Kind, i64), Box<Page>>,
    count: u64,
}

/// The page of a row, its word there, and its bit there.
fn place(node: Node) -> ((Kind, i64), usize, u64) {
    let within = node.id.rem_euclid(PAGE).unsigned_abs() as usize;
    ((node.kind, node.id.div_euclid(PAGE)), within / 64, 1 << (within % 64))
}

impl Marks {
    pub(super) fn contains(&self, node: Node) -> bool {
        let (page, word, bit) = place(node);
        self.pages.get(&page).is_some_and(|page| page.reached[word] & bit != 0)
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Node> {
        self.pages.iter().flat_map(|((kind, number), page)| {
            let ids = number * PAGE..(number + 1) * PAGE;
            let nodes = ids.map(|id| Node::new(*kind, id));
            nodes.filter(|node| {
                let (_, word, bit) = place(*node);
                page.reached[word] & bit != 0
            })
        })
    }

    /// Marks `node`. Says whether that is news.
    pub(super) fn insert(&mut self, node: Node, depth: Depth) -> bool {
        let (page, word, bit) = place(node);
        let empty = || Box::new(Page { reached: [0; WORDS], full: [0; WORDS] });
        let page = self.pages.entry(page).or_insert_with(empty);
        let first = page.reached[word] & bit == 0;
        let deeper = depth == Depth::Full && page.full[word] & bit == 0;
        page.reached[word] |= bit;
        if deeper {
            page.full[word] |= bit;
        }
        self.count += u64::from(first);
        first || deeper
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_news_once_for_each_depth() {
        let mut marks = Marks::default();
        let nodes = [0, 1, 63, 64, PAGE - 1, PAGE, i64::MAX - PAGE].map(|id| Node::new(Kind::Content, id));
        for node in nodes {
            assert!(!marks.contains(node));
            assert!(marks.insert(node, Depth::Flat));
            assert!(!marks.insert(node, Depth::Flat));
            assert!(marks.insert(node, Depth::Full));
            assert!(!marks.insert(node, Depth::Full) && !marks.insert(node, Depth::Flat));
            assert!(marks.contains(node));
            assert!(!marks.contains(Node::new(Kind::Snapshot, node.id)));
        }
        assert_eq!(marks.iter().collect::<Vec<_>>(), nodes);
        assert_eq!(marks.len(), nodes.len() as u64);
    }
}
