//! Fields of records that several CPUs load and store without a lock.
//!
//! Each load and each store is whole, and nothing orders them: what plain loads and stores do on the BPF target, whose atomics
//! have 64 bits only, and what relaxed atomics do elsewhere, at the price of plain ones. [`exchange`] is dearer, for what must
//! not get lost between two CPUs.

#[cfg(target_arch = "bpf")]
pub use bpf_exchange::exchange;
#[cfg(target_arch = "bpf")]
pub use core::cell::Cell as Shared;
#[cfg(not(target_arch = "bpf"))]
pub use host::{Shared, exchange};

#[cfg(not(target_arch = "bpf"))]
mod host {
    use core::fmt::{Debug, Formatter, Result};
    use core::sync::atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

    /// A number that fits a machine word, and its atomic form.
    pub trait Number: Copy + Default + Debug + PartialEq {
        /// The form in memory.
        type Word: Default;
        /// Reads it.
        fn load(word: &Self::Word) -> Self;
        /// Writes it.
        fn store(self, word: &Self::Word);
    }

    macro_rules! numbers {
        ($($number:ty: $word:ty),+) => {
            $(impl Number for $number {
                type Word = $word;
                #[inline]
                fn load(word: &$word) -> Self {
                    word.load(Ordering::Relaxed)
                }
                #[inline]
                fn store(self, word: &$word) {
                    word.store(self, Ordering::Relaxed);
                }
            })+
        };
    }

    numbers!(u8: AtomicU8, u16: AtomicU16, u32: AtomicU32, u64: AtomicU64, i64: AtomicI64);

    /// A number that several threads load and store whole.
    #[repr(transparent)]
    #[derive(Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)]
    pub struct Shared<T: Number>(T::Word);

    impl<T: Number> Shared<T> {
        /// With this value.
        pub fn new(value: T) -> Self {
            let shared = Self::default();
            shared.set(value);
            shared
        }

        /// The value.
        #[inline]
        pub fn get(&self) -> T {
            T::load(&self.0)
        }

        /// Changes the value.
        #[inline]
        pub fn set(&self, value: T) {
            value.store(&self.0);
        }
    }

    /// Stores `new` if the word still holds `known`; returns what it held.
    #[inline]
    #[must_use]
    pub fn exchange(word: &Shared<u64>, known: u64, new: u64) -> u64 {
        match word.0.compare_exchange(known, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(found) | Err(found) => found,
        }
    }

    impl<T: Number> Clone for Shared<T> {
        fn clone(&self) -> Self {
            Self::new(self.get())
        }
    }

    impl<T: Number> PartialEq for Shared<T> {
        fn eq(&self, other: &Self) -> bool {
            self.get() == other.get()
        }
    }

    impl<T: Number + Eq> Eq for Shared<T> {}

    impl<T: Number> Debug for Shared<T> {
        fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
            self.get().fmt(formatter)
        }
    }
}
