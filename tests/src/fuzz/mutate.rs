//! A mutator without coverage, for runs on the stable compiler: seeds, changed a few times.

/// Changes seeds; the same seed number gives the same inputs.
pub struct Mutator {
    state: u64,
    pool: Vec<Vec<u8>>,
}

/// Inputs grow no longer than this.
const MAX_INPUT: usize = 16 << 10;

/// Values that sit at the edges of fields.
const EDGES: [u8; 12] = [0, 1, 4, 5, 0x0f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

impl Mutator {
    /// A mutator over these inputs.
    pub fn new(seed: u64, pool: Vec<Vec<u8>>) -> Self {
        Self { state: seed, pool }
    }

    /// The generator `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        (self.random() % end.max(1) as u64) as usize
    }

    /// The next input: some seed, changed one to eight times.
    pub fn input(&mut self) -> Vec<u8> {
        let at = self.below(self.pool.len());
        let mut bytes = self.pool.get(at).cloned().unwrap_or_default();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes);
        }
        bytes.truncate(MAX_INPUT);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(16)).min(bytes.len());
        match self.below(8) {
            0 | 1 => {
                let bit = self.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            2 => {
                let edge = EDGES[self.below(EDGES.len())];
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = edge);
            }
            3 => {
                let value = self.random() as u8;
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
            }
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let value = self.random() as u8;
                bytes.splice(at..at, [value]);
            }
            _ => self.splice(bytes, at),
        }
    }

    /// The head of these bytes and the tail of others.
    fn splice(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let other = self.below(self.pool.len());
        let Some(other) = self.pool.get(other).cloned() else { return };
        let from = self.below(other.len());
        bytes.truncate(at);
        bytes.extend(&other[from..]);
    }
}
