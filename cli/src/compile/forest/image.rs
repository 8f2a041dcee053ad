//! Lays the trees out as one image.

use firewall_core::classify::image::{Block, HEADER_BLOCKS, MAGIC, Node, VERSION, checksum, header};
use firewall_core::classify::{RecordV4, RecordV6};

use super::{Entries, Planted};

/// Nodes and words of a block.
const WORDS: u32 = 8;
/// IPv4 records of a block.
const RECORDS_V4: u32 = 2;

pub(super) fn lay_out(entries: &Entries, v4: &Planted, v6: &Planted, worst_steps: [u32; 2]) -> Vec<Block> {
    // The roots are nodes too; an image without trees has none.
    let roots = [v4.trees.len() as u32, v6.trees.len() as u32];
    let first_root = HEADER_BLOCKS * WORDS;
    let first_v4 = first_root + roots[0] + roots[1];
    let first_v6 = first_v4 + v4.nodes.len() as u32;
    let records_v4 = (first_v6 + v6.nodes.len() as u32).div_ceil(WORDS) * RECORDS_V4;
    let records_v6 = (records_v4 + v4.records.len() as u32).div_ceil(RECORDS_V4);
    let total = records_v6 + v6.records.len() as u32;

    let mut blocks = vec![[0; 8]; total as usize];
    let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let words = blocks.as_flattened_mut();
    words[header::MAGIC] = MAGIC;
    words[header::SIZE] = both(VERSION, total);
    words[header::STEPS] = both(worst_steps[0], worst_steps[1]);
    words[header::DEFAULT] = u64::from(entries.default.0);
    words[header::ENTRIES] = both(entries.v4.len() as u32, entries.v6.len() as u32);
    words[header::NODES] = both(first_v6 + v6.nodes.len() as u32 - first_root, records_v4);
    words[header::RECORDS] = both(v4.records.len() as u32, v6.records.len() as u32);

    let mut root = first_root;
    for (block, planted, nodes, records) in [(1, v4, first_v4, records_v4), (2, v6, first_v6, records_v6)] {
        for (place, tree) in planted.trees.iter().enumerate() {
            words[block * WORDS as usize + place] = both(root, tree.best);
            words[root as usize] = moved(tree.root, nodes, records).0;
            root += 1;
        }
        for (place, node) in planted.nodes.iter().enumerate() {
            words[nodes as usize + place] = moved(*node, nodes, records).0;
        }
    }
    write_records(words, entries, v4, v6, (records_v4, records_v6));
    let sum = checksum(&blocks);
    blocks[0][header::CHECKSUM] = sum;
    blocks
}

/// A node whose children or records have found their place.
fn moved(node: Node, nodes: u32, records: u32) -> Node {
    match node {
        Node::EMPTY => node,
        cut if cut.is_cut() => Node(cut.0 + u64::from(nodes)),
        leaf => Node(leaf.0 + u64::from(records)),
    }
}

fn write_records(words: &mut [u64], entries: &Entries, v4: &Planted, v6: &Planted, (first_v4, first_v6): (u32, u32)) {
    let places = words[first_v4 as usize * 4..].chunks_exact_mut(4);
    for (place, entry) in places.zip(&v4.records) {
        let entry = &entries.v4[*entry as usize];
        let [source, destination] =
            [entry.source, entry.destination].map(|prefix| (prefix.first as u32, prefix.length.saturating_sub(96)));
        place.copy_from_slice(&RecordV4::new(source, destination, &entry.selector, entry.decision).0);
    }
    let places = words[first_v6 as usize * 8..].chunks_exact_mut(8);
    for (place, entry) in places.zip(&v6.records) {
        let entry = &entries.v6[*entry as usize];
        let [source, destination] = [entry.source, entry.destination].map(|prefix| (prefix.first, prefix.length));
        place.copy_from_slice(&RecordV6::new(source, destination, &entry.selector, entry.decision).0);
    }
}
