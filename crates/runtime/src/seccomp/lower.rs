//! From 64-bit conditions to tests of 32-bit words, which is all that BPF can look at.
//!
//! For `>` and `>=` on a 64-bit argument (`<=` and `<` are the same with the outcomes swapped):
//!
//! ```text
//!     high > value's high ──yes──► holds
//!        │no
//!     high == value's high ──no──► fails
//!        │yes
//!     low > (>=) value's low ──► holds or fails
//! ```

use super::arch::{Endian, Width};
use super::graph::{Comparison, Word};
use super::profile::{Condition, Operator};

/// Where `seccomp_data.args` starts.
const ARGUMENTS_OFFSET: u8 = 16;

/// What follows a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The test of this index.
    Test(usize),
    /// The condition holds.
    Hold,
    /// It does not.
    Fail,
}

/// A look at one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) word: Word,
    pub(super) comparison: Comparison,
    pub(super) then: Next,
    pub(super) otherwise: Next,
}

/// A condition as tests; it starts at `start`, which is not a test if the condition always or never holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lowered {
    pub(super) start: Next,
    pub(super) tests: Vec<Test>,
}

/// Lowers `condition` for an ABI.
pub(super) fn lower(condition: &Condition, width: Width, endian: Endian) -> Lowered {
    let mut lowered = Lowered { start: Next::Hold, tests: Vec::with_capacity(3) };
    let half = |high: bool| {
        let second = high == (endian == Endian::Little);
        ARGUMENTS_OFFSET + condition.argument * 8 + if second { 4 } else { 0 }
    };
    let (low, high) = (half(false), half(true));
    let value = condition.value;
    // The complement of each operator is the operator with its outcomes swapped.
    let (hold, fail) = match condition.operator {
        Operator::NotEqual | Operator::Less | Operator::LessEqual => (Next::Fail, Next::Hold),
        _ => (Next::Hold, Next::Fail),
    };
    lowered.start = match (condition.operator, width) {
        (Operator::Equal | Operator::NotEqual | Operator::MaskedEqual, Width::Bits32) => {
            lowered.equal(low, condition.mask as u32, value as u32, hold, fail)
        }
        (Operator::Equal | Operator::NotEqual | Operator::MaskedEqual, Width::Bits64) => {
            let low = lowered.equal(low, condition.mask as u32, value as u32, hold, fail);
            lowered.equal(high, (condition.mask >> 32) as u32, (value >> 32) as u32, low, fail)
        }
        (Operator::Greater | Operator::LessEqual, Width::Bits32) => {
            lowered.greater(low, value as u32, hold, fail)
        }
        (Operator::GreaterEqual | Operator::Less, Width::Bits32) => {
            lowered.greater_equal(low, value as u32, hold, fail)
        }
        (operator, Width::Bits64) => {
            let low = match operator {
                Operator::Greater | Operator::LessEqual => lowered.greater(low, value as u32, hold, fail),
                _ => lowered.greater_equal(low, value as u32, hold, fail),
            };
            lowered.high_half(high, (value >> 32) as u32, low, hold, fail)
        }
    };
    lowered
}

impl Lowered {
    /// `word & mask == value`.
    fn equal(&mut self, offset: u8, mask: u32, value: u32, then: Next, otherwise: Next) -> Next {
        let whole = Word { offset, mask: u32::MAX };
        let value = value & mask;
        if mask == 0 {
            then
        } else if mask == u32::MAX {
            self.test(whole, Comparison::Equal(value), then, otherwise)
        } else if value == 0 {
            // One instruction less than masking the word.
            self.test(whole, Comparison::AnyBit(mask), otherwise, then)
        } else if mask.is_power_of_two() {
            self.test(whole, Comparison::AnyBit(mask), then, otherwise)
        } else {
            self.test(Word { offset, mask }, Comparison::Equal(value), then, otherwise)
        }
    }

    fn greater(&mut self, offset: u8, value: u32, then: Next, otherwise: Next) -> Next {
        if value == u32::MAX {
            return otherwise;
        }
        self.test(Word { offset, mask: u32::MAX }, Comparison::Greater(value), then, otherwise)
    }

    fn greater_equal(&mut self, offset: u8, value: u32, then: Next, otherwise: Next) -> Next {
        if value == 0 {
            return then;
        }
        self.test(Word { offset, mask: u32::MAX }, Comparison::GreaterEqual(value), then, otherwise)
    }

    /// The first half of an ordered comparison, with what follows if this half is equal, greater, or less.
    fn high_half(&mut self, offset: u8, value: u32, equal: Next, greater: Next, less: Next) -> Next {
        let word = Word { offset, mask: u32::MAX };
        if equal == greater {
            return self.greater_equal(offset, value, greater, less);
        }
        if equal == less {
            return self.greater(offset, value, greater, less);
        }
        if value == 0 {
            return self.test(word, Comparison::Equal(0), equal, greater);
        }
        let equal = self.test(word, Comparison::Equal(value), equal, less);
        if value == u32::MAX {
            return equal;
        }
        self.test(word, Comparison::Greater(value), greater, equal)
    }

    fn test(&mut self, word: Word, comparison: Comparison, then: Next, otherwise: Next) -> Next {
        self.tests.push(Test { word, comparison, then, otherwise });
        Next::Test(self.tests.len() - 1)
    }
}
