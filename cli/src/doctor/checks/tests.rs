#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod each;
mod made_up;

use super::*;
use crate::config::Mode;
use crate::doctor::change::Change;
use crate::doctor::facts::{
    Ability, ClockSource, Conntrack, Irq, Machine, Memlock, Missing, Napi, Platform, Program, Programs, Running,
    Settings, ZoneFacts,
};
use crate::doctor::finding::{Place, Severity};
use crate::doctor::possible;
use crate::interface::{Counts, Feature, Losses, Peer, XdpFeatures, XdpPlace};
use made_up::{VIRTIO, command, facts, found, interface, machine, told, virtio};

#[test]
fn nothing_is_said_of_machines_on_which_all_is_well() {
    let rows = [
        (Platform::Physical, interface("ixgbe")),
        (Platform::Physical, interface("mlx5_core")),
        (Platform::Qemu, virtio(Mode::Auto, VIRTIO)),
        (Platform::Physical, interface("veth")),
    ];
    for (platform, interface) in rows {
        let driver = interface.driver().to_owned();
        assert_eq!(told(&facts(machine(platform), interface)), [""; 0], "{driver}");
    }
}

#[test]
fn vmxnet3_leaks_no_tag() {
    let mut one = interface("vmxnet3");
    one.interface.features.rx_vlan_offload = Feature::On;
    one.offloads.insert("rx-vlan-hw-parse", Feature::On);
    one.offloads.insert("rx-lro", Feature::On);
    one.interface.features.lro = Feature::On;
    one.zones = vec![ZoneFacts { name: "app".to_owned(), vlan: Some(10) }];
    let mut facts = facts(machine(Platform::Vmware), one);
    // vfw turns the stripping off itself when it takes the interface.
    assert_eq!(told(&facts), ["note vlan-trunk", "note checksums", "error lro"]);
    assert_eq!(found(&facts, "lro").changes().next().unwrap().command(), "ethtool -K eth1 lro off");
    let trunk = found(&facts, "vlan-trunk");
    assert!(
        command(&trunk, Place::Esxi).starts_with("esxcli network vswitch")
            && command(&trunk, Place::Esxi).ends_with("4095")
    );

    facts.interfaces[0].programs.xdp = vec![(XdpPlace::Native, Program { name: "vfw_xdp".to_owned(), own: true })];
    facts.vfw_runs = true;
    facts.interfaces[0].running = Some(Running { state: "up".to_owned(), hook: Some("xdp".to_owned()), frames: None });
    let leak = found(&facts, "vlan-strip");
    assert_eq!((leak.severity, command(&leak, Place::Here)), (Severity::Error, "ethtool -K eth1 rxvlan off"));

    facts.interfaces[0].interface.xdp = Some(XdpFeatures::default());
    facts.interfaces[0].programs = Programs::default();
    assert_eq!(found(&facts, "nic-model").severity, Severity::Note, "before Linux 6.6");
}

#[test]
fn what_qemu_was_told_decides_over_xdp() {
    for (mode, severity) in [(Mode::Auto, Severity::Note), (Mode::Xdp, Severity::Error)] {
        let no_control = facts(machine(Platform::Qemu), virtio(mode, VIRTIO & !(1 << 2)));
        let finding = found(&no_control, "virtio-offloads");
        assert_eq!(finding.severity, severity);
        assert!(command(&finding, Place::Libvirt).contains("<guest csum='off' tso4='off'"));
        assert!(command(&finding, Place::Qemu).contains("mac=02:00:00:00:00:01,ctrl_guest_offloads=on"));
        let native = &possible(&no_control, &no_control.interfaces[0])[0];
        assert_eq!((native.hook, native.ability.can), ("native XDP", Some(false)));

        let no_merging = facts(machine(Platform::Qemu), virtio(mode, VIRTIO & !(1 << 15)));
        let finding = found(&no_merging, "virtio-buffers");
        assert_eq!(finding.severity, severity);
        assert_eq!(command(&finding, Place::Proxmox), "qm set VMID --args '-global virtio-net-pci.mrg_rxbuf=on'");
    }
    // Neither matters once the host leaves received frames as they are.
    let plain = facts(machine(Platform::Qemu), virtio(Mode::Xdp, 0));
    assert!(told(&plain).iter().all(|told| !told.contains("virtio")), "{:?}", told(&plain));
}

#[test]
fn xdp_sends_by_queues_of_its_own() {
    let counts = |receive, most| Some(Counts { receive, send: receive, most_receive: most, most_send: most });
    let verdict = |one: InterfaceFacts, queues| {
        let facts = facts(machine(Platform::Qemu), InterfaceFacts { queues, ..one });
        let finding = found(&facts, "queues-xdp");
        (finding.severity, finding.remedies.iter().map(|remedy| remedy.command.clone()).collect::<Vec<_>>())
    };
    let (severity, commands) = verdict(virtio(Mode::Xdp, VIRTIO), counts(4, 4));
    assert_eq!(severity, Severity::Warning);
    assert_eq!(commands[1], "qm set VMID --netN virtio=02:00:00:00:00:01,bridge=BRIDGE,queues=8");
    assert!(commands[0].contains("<driver name='vhost' queues='8'/>") && commands[2].contains("mq=on,vectors=18"));
    let (_, commands) = verdict(virtio(Mode::Xdp, VIRTIO), counts(4, 6));
    assert_eq!(commands[0], "ethtool -L eth1 combined 2");
    let (severity, commands) = verdict(interface("mlx5_core"), counts(2, 8));
    assert_eq!((severity, commands), (Severity::Error, vec!["ethtool -L eth1 combined 4".to_owned()]));
    assert_eq!(verdict(interface("i40e"), counts(2, 2)).0, Severity::Error);
    let (severity, commands) = verdict(interface("ena"), counts(4, 4));
    assert_eq!((severity, commands), (Severity::Error, vec!["ethtool -L eth1 combined 2".to_owned()]));
}

#[test]
fn ixgbe_has_its_traps() {
    let mut one = interface("ixgbe");
    one.offloads.insert("rx-lro", Feature::On);
    one.offloads.insert("rx-vlan-filter", Feature::On);
    one.zones = vec![ZoneFacts { name: "app".to_owned(), vlan: Some(10) }];
    one.virtual_functions = 2;
    one.queues = Some(Counts { receive: 1, send: 1, most_receive: 63, most_send: 63 });
    one.rings = Some(Counts { receive: 512, send: 512, most_receive: 8192, most_send: 8192 });
    one.link.losses = Losses { no_room: 7, ..Losses::default() };
    let mut facts = facts(machine(Platform::Physical), one);
    let expected = ["error sr-iov", "error lro", "warning queues", "warning rings", "note losses"];
    assert_eq!(told(&facts), expected);
    let lro = found(&facts, "lro");
    assert_eq!(lro.changes().count(), 0, "ixgbe resets for it");
    assert_eq!(lro.remedies[0].caution.as_deref(), Some("the link may go down for a moment"));
    assert_eq!(command(&found(&facts, "rings"), Place::Here), "ethtool -G eth1 rx 4096");
    // vfw sees to it when it takes the interface; someone has undone that.
    facts.vfw_runs = true;
    facts.interfaces[0].running = Some(Running { state: "up".to_owned(), hook: Some("xdp".to_owned()), frames: None });
    assert_eq!(command(&found(&facts, "vlan-filter"), Place::Here), "ip link set dev eth1 promisc on");
    facts.interfaces[0].link.promiscuous = true;
    assert!(!told(&facts).contains(&"error vlan-filter".to_owned()));
}

#[test]
fn a_veth_with_xdp_has_hazards_at_its_other_end() {
    let mut one = InterfaceFacts { mode: Mode::Xdp, ..interface("veth") };
    one.interface.xdp = one.interface.xdp.map(|xdp| XdpFeatures { ndo_xmit: false, ..xdp });
    let mut facts = facts(machine(Platform::Physical), one);
    assert_eq!(told(&facts), ["error hazards", "note hazards", "note hazards", "note checksums"]);
    let polls = found(&facts, "hazards");
    assert_eq!((command(&polls, Place::Peer), polls.changes().count()), ("ethtool -K PEER gro on", 0));
    let peer = |namespace: Option<&str>| Peer {
        name: "peer0".to_owned(),
        mtu: 1500,
        namespace: namespace.map(ToOwned::to_owned),
    };
    facts.interfaces[0].peer = Some(peer(Some("app")));
    let polls = found(&facts, "hazards");
    let expected = ("ip netns exec app ethtool -K peer0 gro on", 0);
    assert_eq!((command(&polls, Place::Peer), polls.changes().count()), expected, "another one's business");
    facts.interfaces[0].peer = Some(peer(None));
    assert_eq!(found(&facts, "hazards").changes().next().unwrap().command(), "ethtool -K peer0 gro on");
    facts.interfaces[0].zones[0].vlan = Some(10);
    let severities: Vec<_> = told(&facts).into_iter().filter(|told| told.ends_with("hazards")).collect();
    assert_eq!(severities, ["error hazards", "warning hazards", "note hazards"]);
}

#[test]
fn tc_wants_super_packets_whole() {
    let mut one = InterfaceFacts { mode: Mode::Tc, ..interface("ixgbe") };
    one.offloads.insert("rx-gro", Feature::Off);
    one.offloads.insert("tx-tcp-segmentation", Feature::Off);
    let facts = facts(machine(Platform::Physical), one);
    assert_eq!(told(&facts), ["warning gro", "warning segmentation"]);
    let changes: Vec<String> = find(&facts).iter().flat_map(Finding::changes).map(Change::command).collect();
    assert_eq!(changes, ["ethtool -K eth1 gro on", "ethtool -K eth1 tx-tcp-segmentation on"]);
}

#[test]
fn programs_of_others_are_named() {
    let other = |name: &str| Program { name: name.to_owned(), own: false };
    let mut facts = facts(machine(Platform::Physical), interface("ixgbe"));
    facts.interfaces[0].programs.xdp = vec![(XdpPlace::Generic, other("cil_xdp"))];
    let finding = found(&facts, "others");
    assert_eq!(
        (finding.severity, command(&finding, Place::Here)),
        (Severity::Error, "ip link set dev eth1 xdpgeneric off")
    );
    let own = Program { name: "vfw_tc".to_owned(), own: true };
    facts.interfaces[0].programs = Programs { tcx: vec![own.clone(), other("late")], ..Programs::default() };
    assert_eq!(told(&facts), ["warning in-use"], "what comes after vfw does not matter; no vfw runs");
    facts.interfaces[0].programs.tcx = vec![other("early"), own];
    assert_eq!(found(&facts, "others").severity, Severity::Warning);
    facts.interfaces[0].programs = Programs { egress: vec![other("late")], ..Programs::default() };
    assert_eq!(told(&facts), [""; 0], "XDP sends past it");
    facts.interfaces[0].mode = Mode::Tc;
    assert_eq!(told(&facts), ["note others"]);
}

#[test]
fn the_running_vfw_and_the_kernel_are_compared() {
    let running = |state: &str| Some(Running { state: state.to_owned(), hook: Some("xdp".to_owned()), frames: None });
    let mut facts = facts(machine(Platform::Physical), InterfaceFacts { running: running("up"), ..interface("ixgbe") });
    facts.vfw_runs = true;
    assert_eq!(told(&facts), ["error in-use"]);
    facts.interfaces[0].running = running("down");
    assert_eq!(told(&facts), ["warning in-use"]);
}

#[test]
fn zones_and_the_kernels_own_stack() {
    let mut facts = facts(machine(Platform::Physical), interface("ixgbe"));
    let mut second = interface("ixgbe");
    second.interface.name = "eth2".to_owned();
    second.interface.mtu = 1400;
    second.interface.addresses = vec!["192.0.2.1/24".parse().unwrap()];
    second.interface.controller = Some(9);
    second.settings = Settings { forwarding_v4: true, forwarding_v6: true, rp_filter: 2 };
    facts.interfaces.push(second);
    facts.missing.push(Missing { name: "eth3".to_owned(), reason: "there is no interface `eth3`".to_owned() });
    let expected = ["error missing", "error own", "error own", "warning mtu", "warning forwarding", "note rp-filter"];
    assert_eq!(told(&facts), expected);
    assert_eq!(command(&found(&facts, "mtu"), Place::Here), "ip link set dev eth2 mtu 1500");
    let off: Vec<String> = found(&facts, "forwarding").changes().map(Change::command).collect();
    assert_eq!(off, ["sysctl -w net.ipv4.conf.eth2.forwarding=0", "sysctl -w net.ipv6.conf.eth2.forwarding=0"]);
    // What no rule names is nobody's business.
    facts.interfaces[1].zones.clear();
    assert_eq!(told(&facts), ["error missing"]);
}

#[test]
fn interrupts_on_one_cpu_are_spread() {
    let irq = |number: u32| Irq { number, name: format!("eth1-TxRx-{number}"), cpus: "0".to_owned() };
    let mut facts = facts(machine(Platform::Physical), interface("ixgbe"));
    facts.interfaces[0].irqs = vec![irq(40), irq(41), irq(42)];
    let finding = found(&facts, "irq");
    let commands: Vec<String> = finding.changes().map(Change::command).collect();
    assert_eq!(commands[1], "echo 1 > /proc/irq/41/smp_affinity_list");
    // Not to CPUs that are kept free.
    facts.machine.isolated = vec![1, 2];
    let kept: Vec<String> = found(&facts, "irq").changes().map(Change::command).collect();
    assert_eq!(kept[1], "echo 3 > /proc/irq/41/smp_affinity_list");
    facts.machine.isolated.clear();
    facts.interfaces[0].irqs[1].cpus = "1".to_owned();
    facts.interfaces[0].napi = Some(Napi { threaded: true, flush_timeout: 200_000, defer_hard_irqs: 2 });
    assert_eq!(told(&facts), ["warning napi", "note napi"]);
    assert!(found(&facts, "napi").reason.contains("200 us"));

    // Two interfaces with one queue each.
    facts.interfaces[0].napi = None;
    facts.interfaces[0].irqs.truncate(1);
    let mut second = facts.interfaces[0].clone();
    second.interface.name = "eth2".to_owned();
    second.irqs[0].number = 50;
    facts.interfaces.push(second);
    let finding = found(&facts, "irq");
    let commands: Vec<String> = finding.changes().map(Change::command).collect();
    assert_eq!(
        (finding.interface.as_deref(), commands),
        (Some("eth2"), vec!["echo 1 > /proc/irq/50/smp_affinity_list".to_owned()])
    );
}

#[test]
fn a_machine_that_is_slow_or_old_is_told_why() {
    let slow = Machine {
        version: Some((6, 1)),
        btf: false,
        jit: Some(0),
        jit_harden: Some(2),
        bpf_stats: Some(1),
        programs: Ability::no("the verifier says no"),
        governors: vec!["powersave".to_owned()],
        irqbalance: true,
        spectre_v2: Some("Mitigation: Retpolines; STIBP: disabled".to_owned()),
        clock: Some(ClockSource { current: "hpet".to_owned(), available: vec!["hpet".to_owned(), "tsc".to_owned()] }),
        clock_follows: Some(false),
        conntrack: Some(Conntrack { entries: 0, is_module: true, users: Vec::new() }),
        backlog_dropped: 3,
        ..machine(Platform::Physical)
    };
    let facts = Facts { machine: slow, ..Facts::default() };
    let expected = [
        "note kernel",
        "error programs",
        "note btf",
        "error jit",
        "warning jit",
        "warning bpf-stats",
        "warning governor",
        "warning irqbalance",
        "note mitigations",
        "warning clock",
        "note time",
        "note conntrack",
        "note backlog",
    ];
    assert_eq!(told(&facts), expected);
    let changes: Vec<String> = find(&facts).iter().flat_map(Finding::changes).map(Change::command).collect();
    assert_eq!(
        changes,
        [
            "sysctl -w net.core.bpf_jit_enable=1",
            "sysctl -w kernel.bpf_stats_enabled=0",
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        ]
    );
    assert_eq!(command(&found(&facts, "conntrack"), Place::Here), "modprobe -r nf_conntrack");
}

#[test]
fn locked_memory_counts_where_it_is_limited() {
    let mut facts = facts(machine(Platform::Physical), InterfaceFacts { mode: Mode::Afxdp, ..interface("ixgbe") });
    facts.machine.memlock = Memlock { limit: Some(8 << 20), exempt: false };
    assert_eq!(found(&facts, "memlock").severity, Severity::Error, "four queues of 24 MiB");
    facts.machine.memlock.limit = Some((96 << 20) - 1);
    assert_eq!(found(&facts, "memlock").severity, Severity::Error);
    facts.machine.memlock.limit = Some(96 << 20);
    assert!(!told(&facts).contains(&"error memlock".to_owned()));
    facts.interfaces[0].interface.mtu = 9000;
    assert_eq!(found(&facts, "memlock").severity, Severity::Error, "twice as much for large frames");
}

#[test]
fn zero_copy_is_told_or_inferred() {
    let answer = |change: fn(&mut InterfaceFacts)| {
        let mut facts = facts(machine(Platform::Physical), interface("ixgbe"));
        change(&mut facts.interfaces[0]);
        let hooks = possible(&facts, &facts.interfaces[0]);
        let found = hooks.into_iter().find(|possible| possible.hook == "AF_XDP zero-copy").unwrap().ability;
        (found.can, found.because)
    };
    assert_eq!(answer(|_| {}).0, Some(false));
    assert_eq!(answer(|one| one.interface.xdp.as_mut().unwrap().zero_copy = true).0, Some(true));
    let (can, because) = answer(|one| one.interface.xdp = None);
    assert_eq!((can, because.as_str()), (Some(true), "inferred from the driver `ixgbe`"));
    let (can, because) = answer(|one| {
        *one = virtio(Mode::Auto, VIRTIO);
        one.interface.xdp.as_mut().unwrap().zero_copy = true;
    });
    assert!(can == Some(false) && because.contains("iommu_platform=on"), "{because}");
    let running = |frames: &str| Some(Running { state: "up".to_owned(), hook: None, frames: Some(frames.to_owned()) });
    let one = InterfaceFacts { running: running("copy"), ..interface("ixgbe") };
    let tried = possible(&Facts::default(), &one);
    assert!(tried.iter().all(|possible| possible.ability.can != Some(true) || !possible.hook.contains("zero")));
    let (can, because) = answer(|one| {
        let running = Running { state: "up".to_owned(), hook: None, frames: Some("copy".to_owned()) };
        *one = InterfaceFacts { running: Some(running), ..virtio(Mode::Auto, VIRTIO) };
    });
    assert!(can == Some(false) && because.contains("loses what vfw answers"), "not tried: {because}");
}
