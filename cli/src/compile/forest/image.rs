//! Lays the trees out as one image.

use firewall_core::classify::image::{Block, HEADER_BLOCKS, MAGIC, Node, VERSION, WORDS, WORDS_V4, checksum, header};
use firewall_core::classify::{RecordV4, RecordV6};

use super::{Entries, Planted};

/// Word index of the first node.
pub(super) const FIRST_NODE: u32 = HEADER_BLOCKS * WORDS as u32;

/// Words of an image at most that are neither nodes nor records: the header, and what fills blocks up.
pub(super) const OTHER_WORDS: usize = FIRST_NODE as usize + 2 * WORDS;

/// An image of two trees. The nodes of the second one follow those of the first.
pub(super) fn lay_out(entries: &Entries, v4: &Planted, v6: &Planted) -> Vec<Block> {
    let nodes = v6.end();
    let records_v4 = nodes.div_ceil(WORDS_V4 as u32);
    let records_v6 = (records_v4 + v4.records.len() as u32).div_ceil((WORDS / WORDS_V4) as u32);
    let total = records_v6 + v6.records.len() as u32;

    let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let mut words = Vec::with_capacity(total as usize * WORDS);
    words.resize(FIRST_NODE as usize, 0);
    words[header::MAGIC] = MAGIC;
    words[header::SIZE] = both(VERSION, total);
    words[header::STEPS] = both(v4.worst_steps, v6.worst_steps);
    words[header::DEFAULT] = u64::from(entries.default.0);
    words[header::ENTRIES] = both(entries.v4.len() as u32, entries.v6.len() as u32);
    words[header::NODES] = both(nodes - FIRST_NODE, records_v4);
    words[header::RECORDS] = both(v4.records.len() as u32, v6.records.len() as u32);
    words[header::TREE_V4] = v4.tree.0;
    words[header::TREE_V6] = v6.tree.0;
    for (planted, records) in [(v4, records_v4), (v6, records_v6)] {
        let mut rest = planted.words.as_slice();
        let mut start = 0;
        for pending in &planted.pending {
            // Two words that are no nodes.
            let (before, after) = rest.split_at(*pending as usize - start);
            words.extend(before.iter().map(|word| moved(*word, records)));
            words.extend(&after[..2]);
            rest = &after[2..];
            start = *pending as usize + 2;
        }
        words.extend(rest.iter().map(|word| moved(*word, records)));
    }
    words.resize(words.len().next_multiple_of(WORDS_V4), 0);
    write_records(&mut words, entries, v4, v6);
    let mut blocks: Vec<Block> = words.as_chunks().0.iter().map(|words| Block(*words)).collect();
    blocks[0].0[header::CHECKSUM] = checksum(&blocks);
    blocks
}

/// A node whose records have found their place.
fn moved(word: u64, records: u32) -> u64 {
    match Node(word) {
        Node::EMPTY => word,
        cut if cut.is_cut() => word,
        _ => word + u64::from(records),
    }
}

fn write_records(words: &mut Vec<u64>, entries: &Entries, v4: &Planted, v6: &Planted) {
    for entry in &v4.records {
        let entry = &entries.v4[*entry as usize];
        let [source, destination] =
            [entry.source, entry.destination].map(|prefix| (prefix.first as u32, prefix.length.saturating_sub(96)));
        words.extend(RecordV4::new(source, destination, &entry.selector, entry.decision).0);
    }
    words.resize(words.len().next_multiple_of(WORDS), 0);
    for entry in &v6.records {
        let entry = &entries.v6[*entry as usize];
        let [source, destination] = [entry.source, entry.destination].map(|prefix| (prefix.first, prefix.length));
        words.extend(RecordV6::new(source, destination, &entry.selector, entry.decision).0);
    }
}
