//! TCP flags, as pf and tcpdump write them: a letter each, those that are set before the slash, those that count behind it.

use std::fmt;

/// SYN, which begins a flow.
pub const SYN: u8 = 0x02;

/// Each flag's letter and its bit in the header (RFC 9293 section 3.1).
pub const LETTERS: [(char, u8); 8] =
    [('F', 0x01), ('S', SYN), ('R', 0x04), ('P', 0x08), ('A', 0x10), ('U', 0x20), ('E', 0x40), ('W', 0x80)];

/// What the flags of a segment have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Those that are set. All of them count.
    pub set: u8,
    /// Those that count; at least one.
    pub counted: u8,
}

impl TcpFlags {
    /// Reads `S/SE`: of these two flags, only the first is set. Without a slash, those that are named are set, and others do not
    /// count.
    pub fn parse(text: &str) -> Option<Self> {
        let (set, counted) = text.split_once('/').unwrap_or((text, text));
        let (set, counted) = (bits(set)?, bits(counted)?);
        (counted != 0 && set & !counted == 0).then_some(Self { set, counted })
    }

    /// Whether a segment with these flags is meant.
    pub const fn matches(self, flags: u8) -> bool {
        flags & self.counted == self.set
    }

    /// Whether everything that `other` matches is matched.
    pub const fn covers(self, other: Self) -> bool {
        other.counted & self.counted == self.counted && other.set & self.counted == self.set
    }

    /// Whether it matches a segment that may begin a flow: SYN without ACK, RST and FIN.
    pub const fn may_begin(self) -> bool {
        let opening = SYN | ACK | RST | FIN;
        self.set & opening == SYN & self.counted
    }
}

const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The bits of letters, each named once.
fn bits(letters: &str) -> Option<u8> {
    letters.chars().try_fold(0, |bits, letter| {
        let (_, bit) = LETTERS.into_iter().find(|(known, _)| *known == letter)?;
        (bits & bit == 0).then_some(bits | bit)
    })
}

/// The letters of these flags.
pub fn letters(flags: u8) -> String {
    LETTERS.into_iter().filter(|(_, bit)| flags & bit != 0).map(|(letter, _)| letter).collect()
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", letters(self.set), letters(self.counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> TcpFlags {
        TcpFlags::parse(text).expect("flags")
    }

    #[test]
    fn flags_are_read_and_written() {
        assert_eq!(flags("S/SE"), TcpFlags { set: 0x02, counted: 0x42 });
        assert_eq!(flags("EW").to_string(), "EW/EW");
        assert_eq!(flags("/FPU").to_string(), "/FPU");
        for wrong in ["", "/", "S/", "S/A", "SS/S", "s/sa", "X/X", "S/SA/S", "SYN"] {
            assert_eq!(TcpFlags::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn flags_match_and_cover() {
        assert!(flags("S/SE").matches(0x82) && !flags("S/SE").matches(0x42));
        assert!(flags("S/S").covers(flags("SE/SE")) && !flags("SE/SE").covers(flags("S/S")));
        assert!(flags("SE/SE").may_begin() && flags("P").may_begin() && flags("/AF").may_begin());
        assert!(!flags("SA/SA").may_begin() && !flags("/S").may_begin() && !flags("F").may_begin());
    }
}
