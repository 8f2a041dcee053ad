//! The lab's virtual switch: access ports, each in one VLAN, and a trunk towards vfw, as a hypervisor's port groups are.
//!
//! Linux can do this with a VLAN-aware bridge, but only where the kernel was built with VLAN filtering (which needs 8021q).
//! The lab must also run where that is missing, so a port is a few eBPF instructions at tc ingress, and every kernel that
//! can run vfw has those. One host per VLAN makes it simpler than a bridge: nothing is learned, nothing is flooded.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use super::bpf_load::{Instruction, ProgramType, load};
use crate::interface::netlink::Netlink;

/// `ETH_P_8021Q` as it stands in the frame.
const TPID: i32 = u16::from_ne_bytes([0x81, 0x00]) as i32;
/// `ETH_P_ALL` as it stands in the frame.
const ALL_PROTOCOLS: u32 = u16::from_ne_bytes([0x00, 0x03]) as u32;
/// No VLAN id: they end at 4095.
const NO_TAG: i32 = 4096;
const TC_ACT_SHOT: i32 = 2;

// Offsets in `struct __sk_buff`
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
const VLAN_PROTO: i16 = 28;

// Helpers, as the kernel numbers them
const SKB_VLAN_PUSH: i32 = 18;
const SKB_VLAN_POP: i32 = 19;
const REDIRECT: i32 = 23;

/// A port of the switch that belongs to one VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccessPort {
    /// Its interface.
    pub(super) index: u32,
    /// Its VLAN; nothing for the trunk's untagged one.
    pub(super) vlan: Option<u16>,
}

/// Joins `ports` and `trunk`, all in the namespace of the calling thread: frames from a port leave the trunk with its tag,
/// frames from the trunk leave the port of their tag without it. A frame that has a tag on an access port, another kind of tag or
/// the tag of no port is dropped.
pub(super) fn join(trunk: u32, ports: &[AccessPort]) -> io::Result<()> {
    for port in ports {
        attach(port.index, &from_access(*port, trunk))?;
    }
    attach(trunk, &from_trunk(ports))
}

fn attach(index: u32, program: &[Instruction]) -> io::Result<()> {
    let program = load(ProgramType::Classifier, program)?;
    let mut netlink = Netlink::route()?;

    let mut qdisc = TcMessage::default();
    qdisc.header.index = index.cast_signed();
    qdisc.header.handle = TcHandle { major: 0xffff, minor: 0 };
    qdisc.header.parent = TcHandle::CLSACT;
    qdisc.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    match netlink.call(RouteNetlinkMessage::NewQueueDiscipline(qdisc), NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }

    let mut filter = TcMessage::default();
    filter.header.index = index.cast_signed();
    filter.header.parent = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };
    filter.header.info = 1 << 16 | ALL_PROTOCOLS;
    filter.attributes = vec![
        TcAttribute::Kind("bpf".to_owned()),
        TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_fd().as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName("vfw-lab-switch".to_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]),
    ];
    netlink.call(RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
}

/// From a host to the trunk: add the tag.
fn from_access(port: AccessPort, trunk: u32) -> Vec<Instruction> {
    let mut code = vec![copy(6, 1), load_word(7, 6, VLAN_PRESENT), jump_if_equal(7, 0, 2)];
    code.extend(drop_frame());
    if let Some(vlan) = port.vlan {
        code.extend([copy(1, 6), set(2, TPID), set(3, i32::from(vlan)), call(SKB_VLAN_PUSH)]);
    }
    code.extend(redirect(trunk));
    code
}

/// From the trunk to the host of the tag: remove it.
fn from_trunk(ports: &[AccessPort]) -> Vec<Instruction> {
    let mut code = vec![
        copy(6, 1),
        set(8, NO_TAG),
        load_word(7, 6, VLAN_PRESENT),
        jump_if_equal(7, 0, 6),
        load_word(8, 6, VLAN_TCI),
        and(8, 0xfff),
        load_word(7, 6, VLAN_PROTO),
        jump_if_equal(7, TPID, 2),
    ];
    code.extend(drop_frame());
    for port in ports {
        match port.vlan {
            Some(vlan) => code.extend([jump_if_not_equal(8, i32::from(vlan), 6), copy(1, 6), call(SKB_VLAN_POP)]),
            None => code.push(jump_if_not_equal(8, NO_TAG, 4)),
        }
        code.extend(redirect(port.index));
    }
    code.extend(drop_frame());
    code
}

fn redirect(index: u32) -> [Instruction; 4] {
    [set(1, index.cast_signed()), set(2, 0), call(REDIRECT), exit()]
}

fn drop_frame() -> [Instruction; 2] {
    [set(0, TC_ACT_SHOT), exit()]
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to | from << 4, 0, 0)
}

const fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb7, to, 0, value)
}

const fn and(to: u8, value: i32) -> Instruction {
    instruction(0x57, to, 0, value)
}

const fn load_word(to: u8, from: u8, offset: i16) -> Instruction {
    instruction(0x61, to | from << 4, offset, 0)
}

const fn jump_if_equal(register: u8, value: i32, distance: i16) -> Instruction {
    instruction(0x15, register, distance, value)
}

const fn jump_if_not_equal(register: u8, value: i32, distance: i16) -> Instruction {
    instruction(0x55, register, distance, value)
}

const fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, helper)
}

const fn exit() -> Instruction {
    instruction(0x95, 0, 0, 0)
}
