//! Bytes to operations, and back: how the pipeline's fuzz input is written.
//!
//! The first byte picks the policy. Each operation begins with a byte of [`flag`]s and an interface number, then what the
//! flags announce, then two bytes of length and the frame.

/// Bits of the first byte of an operation; the low three number the interface.
pub mod flag {
    /// Two bytes of tag control information follow: a tag beside the bytes.
    pub const TAG: u8 = 0x08;
    /// A byte follows: time passes before the frame, 2 to its power in nanoseconds.
    pub const TIME: u8 = 0x10;
    /// Lengths and checksums are made right first, so that changed frames get past them.
    pub const REPAIR: u8 = 0x20;
    /// Two bytes of segment size follow: a GSO super-packet.
    pub const GSO: u8 = 0x40;
    /// The neighbour table changes: the destination of the last frame that waited for one becomes known.
    pub const LEARN: u8 = 0x80;
}

/// The longest step of the clock: 2^46 ns are 19 hours, longer than any timeout that tests use.
const MAX_TIME: u8 = 46;
/// The longest frame.
const MAX_FRAME: usize = 4096;

/// One frame that comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Number of the interface; some are none of vfw's.
    pub interface: u8,
    /// A tag beside the bytes.
    pub tag: Option<u16>,
    /// Time that passes before, as a power of two.
    pub time: Option<u8>,
    /// Lengths and checksums are made right first.
    pub repair: bool,
    /// Segment size of a super-packet.
    pub gso: Option<u16>,
    /// A neighbour becomes known first.
    pub learn: bool,
    /// Its bytes.
    pub frame: Vec<u8>,
}

impl Operation {
    /// Nanoseconds that pass before.
    pub fn nanos(&self) -> u64 {
        self.time.map_or(1, |power| 1 << (power % (MAX_TIME + 1)))
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes, 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// The next operation; none at the end. A frame cut off by the end of the input is what is left.
fn next(bytes: &mut &[u8]) -> Option<Operation> {
    let flags = take(bytes, 1)?[0];
    let has = |flag: u8| flags & flag != 0;
    let tag = if has(flag::TAG) { Some(take_u16(bytes)?) } else { None };
    let time = if has(flag::TIME) { Some(take(bytes, 1)?[0]) } else { None };
    let gso = if has(flag::GSO) { Some(take_u16(bytes)?) } else { None };
    let length = usize::from(take_u16(bytes)?) % (MAX_FRAME + 1);
    let frame = take(bytes, length.min(bytes.len()))?.to_vec();
    Some(Operation { interface: flags & 7, tag, time, repair: has(flag::REPAIR), gso, learn: has(flag::LEARN), frame })
}

/// The number of the policy, and the operations.
pub fn decode(mut bytes: &[u8]) -> (u8, Vec<Operation>) {
    let policy = take(&mut bytes, 1).map_or(0, |byte| byte[0]);
    (policy, std::iter::from_fn(|| next(&mut bytes)).collect())
}

/// What [`decode`] reads.
pub fn encode(policy: u8, operations: &[Operation]) -> Vec<u8> {
    let mut bytes = vec![policy];
    for operation in operations {
        let flags = [
            (operation.tag.is_some(), flag::TAG),
            (operation.time.is_some(), flag::TIME),
            (operation.repair, flag::REPAIR),
            (operation.gso.is_some(), flag::GSO),
            (operation.learn, flag::LEARN),
        ];
        let set = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag);
        bytes.push(set.fold(operation.interface & 7, |all, flag| all | flag));
        bytes.extend(operation.tag.iter().flat_map(|tag| tag.to_le_bytes()));
        bytes.extend(operation.time);
        bytes.extend(operation.gso.iter().flat_map(|size| size.to_le_bytes()));
        let frame = &operation.frame[..operation.frame.len().min(MAX_FRAME)];
        bytes.extend((frame.len() as u16).to_le_bytes());
        bytes.extend(frame);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let plain = Operation { interface: 3, frame: vec![7; 60], ..Operation::default() };
        let full =
            Operation { tag: Some(10), time: Some(33), repair: true, gso: Some(1400), learn: true, ..plain.clone() };
        let all = [plain, full, Operation::default()];
        assert_eq!(decode(&encode(2, &all)), (2, all.to_vec()));
        assert_eq!(decode(&[]), (0, Vec::new()));
    }
}
