//! Lays the trees out as one image.

use firewall_core::classify::image::{
    Block, HEADER_BLOCKS, MAGIC, Node, QUAD, VERSION, WORDS, WORDS_V4, checksum, header, tree,
};
use firewall_core::classify::{Decision, RecordV4, RecordV6};

use super::{Entry, Pending, Planted, Standing};

/// Word index of the first node.
pub(super) const FIRST_NODE: u32 = HEADER_BLOCKS * WORDS as u32;

/// Words of an image at most that are neither nodes nor records: the header, and what fills blocks up.
pub(super) const OTHER_WORDS: usize = FIRST_NODE as usize + 2 * WORDS;

/// An image of one tree alone, whose records have so many `words`.
pub(super) fn alone(tree: Standing, words: usize) -> Vec<Block> {
    let own = vec![tree];
    let families = if words == WORDS_V4 { [own, Vec::new()] } else { [Vec::new(), own] };
    lay_out(Decision(u32::MAX), &families, [0; 2])
}

/// An image of the trees of both families. The nodes of each tree follow those of the one before.
pub(super) fn lay_out(default: Decision, families: &[Vec<Standing>; 2], worst_steps: [u32; 2]) -> Vec<Block> {
    let [v4, v6] = families;
    let nodes = v4.iter().chain(v6).map(|tree| tree.planted.end()).max().unwrap_or(FIRST_NODE);
    let quads = |family: &[Standing]| family.iter().map(|tree| tree.planted.quads).sum::<u32>();
    let leaves_v4 = nodes.div_ceil(QUAD);
    let leaves_v6 = (leaves_v4 + quads(v4)).next_multiple_of(WORDS as u32 / QUAD);
    let total = (leaves_v6 + quads(v6)) * QUAD / WORDS as u32;

    let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let entries = |family: &[Standing]| family.iter().map(|tree| tree.entries.len() as u32).sum();
    let records = |family: &[Standing]| family.iter().map(|tree| tree.planted.records.len() as u32).sum();
    let mut words = Vec::with_capacity(total as usize * WORDS);
    words.resize(FIRST_NODE as usize, 0);
    words[header::MAGIC] = MAGIC;
    words[header::SIZE] = both(VERSION, total);
    words[header::STEPS] = both(worst_steps[0], worst_steps[1]);
    words[header::DEFAULT] = u64::from(default.0);
    words[header::ENTRIES] = both(entries(v4), entries(v6));
    words[header::NODES] = both(nodes - FIRST_NODE, leaves_v4);
    words[header::RECORDS] = both(records(v4), records(v6));
    for (family, place) in [(v4, header::TREES_V4), (v6, header::TREES_V6)] {
        for (number, word) in words[place..place + tree::COUNT].iter_mut().enumerate() {
            *word = family.get(number).map_or(Pending::NONE, |tree| tree.planted.tree).0;
        }
    }
    for (family, mut quad) in [(v4, leaves_v4), (v6, leaves_v6)] {
        for tree in family {
            words.resize(tree.planted.first as usize, 0);
            write_nodes(&mut words, tree.planted, quad);
            quad += tree.planted.quads;
        }
    }
    words.resize(words.len().next_multiple_of(WORDS_V4), 0);
    write_leaves(&mut words, v4, record_v4);
    words.resize(words.len().next_multiple_of(WORDS), 0);
    write_leaves(&mut words, v6, record_v6);
    let mut blocks: Vec<Block> = words.as_chunks().0.iter().map(|words| Block(*words)).collect();
    blocks[0].0[header::CHECKSUM] = checksum(&blocks);
    blocks
}

/// The nodes of a tree whose leaves begin at quad `quad`.
fn write_nodes(words: &mut Vec<u64>, planted: &Planted, quad: u32) {
    let mut rest = planted.words.as_slice();
    let mut start = 0;
    for pending in &planted.pending {
        // Two words that are no nodes.
        let (before, after) = rest.split_at(*pending as usize - start);
        words.extend(before.iter().map(|word| moved(*word, quad)));
        words.extend(&after[..2]);
        rest = &after[2..];
        start = *pending as usize + 2;
    }
    words.extend(rest.iter().map(|word| moved(*word, quad)));
}

/// A node whose leaf has found its place.
fn moved(word: u64, quad: u32) -> u64 {
    match Node(word) {
        Node::EMPTY => word,
        cut if cut.is_cut() => word,
        _ => word + u64::from(quad),
    }
}

fn write_leaves<const N: usize>(words: &mut Vec<u64>, family: &[Standing], record: impl Fn(&Entry) -> [u64; N]) {
    for tree in family {
        let (mut tables, mut records) = (tree.planted.tables.as_slice(), tree.planted.records.as_slice());
        for (words_of_tables, count) in &tree.planted.leaves {
            let (own, others) = tables.split_at(*words_of_tables as usize);
            words.extend(own);
            tables = others;
            let (own, others) = records.split_at(*count as usize);
            words.extend(own.iter().flat_map(|entry| record(&tree.entries[*entry as usize])));
            records = others;
        }
    }
}

fn record_v4(entry: &Entry) -> [u64; WORDS_V4] {
    let [source, destination] =
        [entry.source, entry.destination].map(|prefix| (prefix.first as u32, prefix.length.saturating_sub(96)));
    RecordV4::new(source, destination, &entry.selector, entry.decision).0
}

fn record_v6(entry: &Entry) -> [u64; WORDS] {
    let [source, destination] = [entry.source, entry.destination].map(|prefix| (prefix.first, prefix.length));
    RecordV6::new(source, destination, &entry.selector, entry.decision).0
}

#[cfg(test)]
mod tests {
    use firewall_core::classify::image::{Lanes, TABLES, Window};

    use super::*;

    #[test]
    fn a_leaf_of_one_record_is_not_taken_for_one_without() {
        // Where the tables of leaves without records are, five quads in, with no window: before its place is known, and then.
        let leaf = |quad: u32| Node::leaf(quad, Lanes::of(1), [Window::new(0, 0); TABLES as usize]);
        let own = Node::EMPTY.tables();
        assert_ne!(leaf(own), Node::EMPTY);
        assert_ne!(moved(leaf(0).0, own), Node::EMPTY.0);
        assert_eq!(moved(leaf(own).0, 7), leaf(own + 7).0);
        assert_eq!(moved(Node::EMPTY.0, 7), Node::EMPTY.0);
    }
}
