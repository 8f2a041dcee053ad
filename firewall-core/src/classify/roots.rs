//! The roots where a look-up begins.

use super::image::{Blocks, MAX_TUPLES, Root, Tuple};

/// Places of [`Roots`], a power of two.
const PLACES: usize = 2 * MAX_TUPLES as usize;
/// The place of the number of roots.
const NUMBER: usize = PLACES - 1;
/// Behind the rank of every root.
const NO_ROOT: u64 = 1 << 61;

/// Roots that a look-up has to visit, a stack on top of an empty one.
///
/// Its place is the caller's: an index that is only known at run time is no matter in a map of the kernel.
#[repr(transparent)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Roots([u64; PLACES]);

impl Roots {
    /// Finds the roots that may have rules for a packet: their number. The one that promises most is the last one.
    ///
    /// No load waits for another one, so they are all under way at once. Nobody could foretell which roots have rules, so
    /// no branch depends on it.
    #[inline(always)]
    pub(super) fn fill<B: Blocks + ?Sized, const N: usize>(
        &mut self,
        image: &B,
        mut tuples: u64,
        words: impl Fn() -> [u64; N],
    ) -> Option<usize> {
        self.0[0] = Root::EMPTY.0;
        let mut place = 1;
        let mut first = NO_ROOT;
        for _ in 0..MAX_TUPLES {
            if tuples >> 32 == 0 {
                break;
            }
            let tuple = Tuple(*image.block(tuples as u32)?);
            tuples = tuples.wrapping_add(1).wrapping_sub(1 << 32);
            let hash = tuple.hash(&words());
            let root = Root(image.word(tuple.root(hash))?);
            let has = root.has(Tuple::mark(hash));
            self.0[place % PLACES] = root.0;
            let rank = root.rank() << 32 | place as u64 | (has ^ 1) << 62;
            first = first.min(rank);
            place += has as usize;
        }
        // By way of memory: the verifier forgets what the number can be, so that all visits are one to it.
        self.0[NUMBER] = place as u64 - 1;
        self.0.swap(first as usize % PLACES, (place - 1) % PLACES);
        Some(self.0[NUMBER] as usize)
    }

    /// The root at a place: that below the first one is empty.
    #[inline(always)]
    pub(super) const fn at(&self, place: usize) -> Root {
        Root(self.0[place % PLACES])
    }
}
