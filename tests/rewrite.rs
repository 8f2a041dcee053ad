//! What leaves is what came in, but for the link header, one TTL and checksums left to hardware.

use firewall_core::Verdict;
use proptest::prelude::*;
use vfw::backend::memory::MemoryFrame;
use vfw_tests::memory::MemoryBackend;
use vfw_tests::packet::{Ip, flag, number, routed};
use vfw_tests::scenario::{APP, DB, Family, GUEST, Host, LAB, Scenario, ZONES};

fn backend() -> MemoryBackend {
    let mut scenario = vfw_tests::scenario::scenarios().swap_remove(0);
    scenario.policy = format!("{ZONES}allow any -> any\n");
    MemoryBackend::new(&Scenario { tables: None, ..scenario })
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::V4, Family::V6])
}

fn forward(backend: &MemoryBackend, from: &Host, frame: &[u8]) -> Result<Vec<u8>, Verdict> {
    let mut sent = MemoryFrame::new(frame.to_vec());
    match backend.process(from.interface, &mut sent) {
        Verdict::Transmit(_) => Ok(sent.bytes),
        other => Err(other),
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..1_400)]
}

/// IPv4 options that are in order: NOPs and one of any other kind but source routes.
fn options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        (0usize..8, 2u8..20).prop_map(|(nops, size)| {
            let mut bytes = vec![1; nops];
            bytes.extend([7, size]);
            bytes.resize((nops + usize::from(size)).next_multiple_of(4), 0);
            bytes
        }),
    ]
}

fn packet(from: &Host, to: &Host, family: Family, ttl: u8, options: &[u8]) -> Ip {
    let ip = from.to(to, family).ttl(ttl);
    if family == Family::V4 { ip.options(options) } else { ip }
}

proptest! {
    #[test]
    fn routed_frames_are_as_the_standard_says(
        family in family(), ttl in 2u8.., options in options(), payload in payload(), protocol in 100u8..,
    ) {
        let backend = backend();
        let frame = packet(&LAB, &DB, family, ttl, &options).transport(protocol, &payload);
        prop_assert_eq!(forward(&backend, &LAB, &frame), Ok(routed(&frame, &DB.from_gateway())));
    }

    #[test]
    fn unfinished_checksums_are_finished(
        family in family(), options in options(), payload in payload(), ports: (u16, u16), sequence: u32,
    ) {
        let backend = backend();
        let ip = packet(&GUEST, &DB, family, 64, &options);
        let segment = ip.tcp(ports.0, ports.1).flags(flag::SYN).seq(sequence).payload(&payload);
        let finished = routed(&segment.clone().build(), &DB.from_gateway());
        prop_assert_eq!(forward(&backend, &GUEST, &segment.partial().build()), Ok(finished));
        let finished = routed(&ip.udp(ports.0, ports.1, &payload), &DB.from_gateway());
        prop_assert_eq!(forward(&backend, &GUEST, &ip.partial_udp(ports.0, ports.1, &payload)), Ok(finished));
    }

    /// Right or wrong, a checksum that is there stays.
    #[test]
    fn finished_checksums_stay(family in family(), payload in payload(), ports: (u16, u16), damage: u8) {
        let backend = backend();
        let ip = GUEST.to(&DB, family);
        let mut bytes = ip.udp_bytes(ports.0, ports.1, &payload);
        bytes[7] ^= damage;
        let unfinished = ip.partial_udp(ports.0, ports.1, &payload);
        let frame = ip.transport(number::UDP, &bytes);
        prop_assume!(frame != unfinished);
        prop_assert_eq!(forward(&backend, &GUEST, &frame), Ok(routed(&frame, &DB.from_gateway())));
    }

    /// Interfaces that cannot carry unfinished checksums do not pay for them, and nothing is changed.
    #[test]
    fn other_interfaces_leave_checksums_alone(family in family(), payload in payload()) {
        let backend = backend();
        let frame = APP.to(&DB, family).partial_udp(1, 2, &payload);
        prop_assert_eq!(forward(&backend, &APP, &frame), Ok(routed(&frame, &DB.from_gateway())));
    }
}

/// A finished checksum can have the value of an unfinished one by chance.
#[test]
fn a_checksum_that_looks_unfinished_comes_out_the_same() {
    let backend = backend();
    for family in [Family::V4, Family::V6] {
        let ip = GUEST.to(&DB, family);
        let alike =
            (0..=u16::MAX).map(u16::to_be_bytes).find(|payload| ip.udp(1, 2, payload) == ip.partial_udp(1, 2, payload));
        let frame = ip.udp(1, 2, &alike.expect("one of all payloads"));
        assert_eq!(forward(&backend, &GUEST, &frame), Ok(routed(&frame, &DB.from_gateway())));
    }
}

/// A computed UDP checksum of zero is sent as all ones (RFC 768).
#[test]
fn a_udp_checksum_is_never_zero() {
    let backend = backend();
    for family in [Family::V4, Family::V6] {
        let ip = GUEST.to(&DB, family);
        let ones =
            (0..=u16::MAX).map(u16::to_be_bytes).find(|payload| ip.udp_bytes(1, 2, payload)[6..8] == [0xff, 0xff]);
        let payload = ones.expect("one of all payloads");
        let sent = forward(&backend, &GUEST, &ip.partial_udp(1, 2, &payload));
        assert_eq!(sent, Ok(routed(&ip.udp(1, 2, &payload), &DB.from_gateway())));
    }
}
