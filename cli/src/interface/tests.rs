#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::config::Mode;

/// Runs `check` on a thread that has a network namespace of its own, set up by the lines of `batch` (`ip -batch`).
fn in_own_namespace(batch: &'static str, check: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        run_batch(batch);
        check();
    });
    thread.join().unwrap();
}

fn run_batch(batch: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "ip -batch failed:\n{batch}");
}

const PAIR: &str = "link add vfw0 mtu 1400 address 02:00:00:00:00:01 type veth peer name peer0\n";

#[test]
fn a_veth_is_known_in_the_namespace_of_the_thread_and_nowhere_else() {
    in_own_namespace(PAIR, || {
        run_batch("address add 10.1.2.3/24 dev vfw0\naddress add fd00::3/64 dev vfw0 nodad\nlink set vfw0 up\n");
        let found = inspect("vfw0").unwrap();
        let peer = inspect("peer0").unwrap();
        assert_eq!(found.mac, [2, 0, 0, 0, 0, 1]);
        assert_eq!((found.mtu, found.up, peer.up), (1400, true, false));
        assert_eq!((found.driver.as_str(), found.is_veth()), ("veth", true));
        assert_eq!((found.peer_index, peer.peer_index), (Some(peer.index), Some(found.index)));
        let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.1.2.3/24", "fd00::3/64"]);
        assert_eq!(found.features.rx_vlan_offload, Feature::On);
        assert_eq!(found.features.tx_checksum, Feature::On);
        assert_eq!((found.features.tso, found.features.gso), (Feature::On, Feature::On));
        assert_eq!((found.features.gro, found.features.lro), (Feature::Off, Feature::FixedOff));
        assert!(found.may_carry_partial_checksum() && found.carries_super_packets());
        let names: Vec<String> = list().unwrap().into_iter().map(|interface| interface.name).collect();
        assert_eq!(names, ["lo", "peer0", "vfw0"]);
    });
}

#[test]
fn xdp_abilities_are_those_of_the_kernel() {
    in_own_namespace(PAIR, || {
        let Some(before) = inspect("vfw0").unwrap().xdp else {
            eprintln!("SKIPPED: this kernel does not tell XDP abilities");
            return;
        };
        assert!(before.basic && before.redirect && before.rx_sg && !before.ndo_xmit);
        run_batch("link set vfw0 up\nlink set peer0 up\n");
        set_feature("peer0", "rx-gro", true).unwrap();
        assert!(inspect("vfw0").unwrap().xdp.unwrap().ndo_xmit, "gro at the peer lets redirected frames through");
        assert_eq!(inspect("lo").unwrap().xdp, Some(XdpFeatures::default()));
    });
}

#[test]
fn vlan_stripping_is_turned_off_and_read_back() {
    in_own_namespace(
        "link add vfw0 type veth peer name peer0\nlink add br0 type bridge\ntuntap add tap0 mode tap\n",
        || {
            let state = |name: &str| inspect(name).unwrap().features.rx_vlan_offload;
            // One of the two was off before vfw came, and stays off.
            set_feature("vfw0", "rx-vlan-stag-hw-parse", false).unwrap();
            let index = inspect("vfw0").unwrap().index;
            let mut changes = Changes::default();
            turn_off_rx_vlan_offload("vfw0", &mut changes).unwrap();
            assert_eq!(state("vfw0"), Feature::Off);
            let mut nothing = Changes::default();
            turn_off_rx_vlan_offload("vfw0", &mut nothing).unwrap();
            assert_eq!(nothing, Changes::default());
            nothing.give_back(index);
            assert_eq!(state("vfw0"), Feature::Off, "it was off, so it stays off");
            changes.give_back(index);
            assert_eq!(state("vfw0"), Feature::On, "given back as it was found");
            assert!(!read_features("vfw0", index).unwrap().state("rx-vlan-stag-hw-parse").is_on());

            let tap = inspect("tap0").unwrap();
            assert_eq!((tap.driver.as_str(), tap.features.rx_vlan_offload), ("tun", Feature::FixedOff));
            turn_off_rx_vlan_offload("tap0", &mut nothing).unwrap();
            let error = set_feature("tap0", "rx-vlan-hw-parse", true).unwrap_err().to_string();
            assert!(error.contains("`tap0`: the driver has rx-vlan-hw-parse fixed off"), "{error}");
            assert_eq!(inspect("br0").unwrap().driver, "bridge");
        },
    );
}

#[test]
fn a_missing_interface_is_named_with_those_that_exist() {
    in_own_namespace(PAIR, || {
        let error = inspect("vfw1").unwrap_err().to_string();
        assert_eq!(error, "there is no interface `vfw1`; there are: peer0, vfw0");
        let missing = prepare("a-name-that-no-interface-can-have", &mut Changes::default());
        assert!(matches!(missing, Err(InterfaceError::NotFound { .. })));
    });
}

fn receives_all_multicast(name: &str) -> bool {
    let output = Command::new("ip").args(["link", "show", name]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("ALLMULTI")
}

fn ipv6_disabled(name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")).unwrap().trim() == "1"
}

#[test]
fn a_prepared_interface_is_up_and_silent_and_is_given_back() {
    in_own_namespace(PAIR, || {
        run_batch("link set peer0 up\n");
        assert!(!ipv6_disabled("vfw0"));
        let mut changes = Changes::default();
        prepare("vfw0", &mut changes).unwrap();
        assert!(inspect("vfw0").unwrap().up && ipv6_disabled("vfw0") && !ipv6_disabled("peer0"));
        assert_eq!(inspect("vfw0").unwrap().addresses, [], "no link-local address appears");
        assert!(receives_all_multicast("vfw0"), "neighbour discovery arrives although no one joined its groups");
        // Under another name.
        run_batch("link set vfw0 down\nlink set vfw0 name vfw1\nlink set vfw1 up\n");
        changes.give_back(inspect("vfw1").unwrap().index);
        assert!(!inspect("vfw1").unwrap().up && !ipv6_disabled("vfw1"));
        assert!(!receives_all_multicast("vfw1"));
    });
}

#[test]
fn an_interface_that_the_kernel_uses_is_not_taken() {
    in_own_namespace(PAIR, || {
        run_batch("address add 192.0.2.1/24 dev vfw0\n");
        let Err(error) = prepare("vfw0", &mut Changes::default()) else { panic!("taken") };
        assert!(error.to_string().contains("has kernel addresses (192.0.2.1/24)"), "{error}");
        assert!(!inspect("vfw0").unwrap().up);
    });
}

/// No interface that a test can make filters VLANs; the flags themselves are real.
#[test]
fn a_nic_that_filters_vlans_takes_frames_for_any_address() {
    let mut nic = interface("ixgbe");
    assert!(!prepare::wanted_flags(&nic).contains(LinkFlags::Promisc));
    nic.features.rx_vlan_filter = Feature::FixedOn;
    let wanted = prepare::wanted_flags(&nic);
    assert!(wanted.contains(LinkFlags::Promisc));
    in_own_namespace(PAIR, move || {
        let index = inspect("vfw0").unwrap().index;
        prepare::set_flags(&mut Netlink::route().unwrap(), index, wanted, wanted).unwrap();
        assert!(link_state("vfw0").unwrap().promiscuous);
        let mut changes = Changes::default();
        changes.add_flags(wanted);
        changes.give_back(index);
        assert!(!link_state("vfw0").unwrap().promiscuous, "given back as it was found");
    });
}

/// One with native XDP, up and without anything else on it.
pub(crate) fn interface(driver: &str) -> Interface {
    Interface {
        name: "eth1".to_owned(),
        index: 2,
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        up: true,
        carrier: true,
        driver: driver.to_owned(),
        peer_index: None,
        peer_is_elsewhere: false,
        controller: None,
        addresses: Vec::new(),
        features: Features::default(),
        xdp: Some(XdpFeatures { basic: true, redirect: true, ndo_xmit: true, rx_sg: true, ..XdpFeatures::default() }),
    }
}

const UNTAGGED: ZoneTags = ZoneTags { tagged: false, untagged: true };
const TAGGED: ZoneTags = ZoneTags { tagged: true, untagged: false };
const BOTH: ZoneTags = ZoneTags { tagged: true, untagged: true };

/// One row: the interface, the order, the zones; the hook, or a part of the error.
type Row = (&'static str, fn(&mut Interface), Mode, ZoneTags, Result<Hook, &'static str>);

#[test]
fn the_hook_follows_driver_offloads_and_zones() {
    let none: fn(&mut Interface) = |_| {};
    let no_xdp: fn(&mut Interface) = |i| i.xdp = Some(XdpFeatures::default());
    let old_kernel: fn(&mut Interface) = |i| i.xdp = None;
    let strips: fn(&mut Interface) = |i| i.features.rx_vlan_offload = Feature::On;
    let strips_always: fn(&mut Interface) = |i| i.features.rx_vlan_offload = Feature::FixedOn;
    let jumbo: fn(&mut Interface) = |i| i.mtu = 9000;
    let jumbo_one_buffer: fn(&mut Interface) = |i| {
        i.mtu = 3499;
        i.xdp = i.xdp.map(|xdp| XdpFeatures { rx_sg: false, ..xdp });
    };
    let fits_one_buffer: fn(&mut Interface) = |i| {
        i.mtu = 3498;
        i.xdp = i.xdp.map(|xdp| XdpFeatures { rx_sg: false, ..xdp });
    };
    let rows: [Row; 23] = [
        ("veth", none, Mode::Auto, BOTH, Ok(Hook::Tc)),
        ("veth", none, Mode::Xdp, UNTAGGED, Ok(Hook::Xdp)),
        ("veth", none, Mode::Xdp, TAGGED, Ok(Hook::Xdp)),
        ("veth", none, Mode::Xdp, BOTH, Err("tagged frame would enter the untagged zone")),
        ("veth", none, Mode::Tc, BOTH, Ok(Hook::Tc)),
        ("tun", none, Mode::Auto, TAGGED, Ok(Hook::Tc)),
        ("virtio_net", none, Mode::Auto, UNTAGGED, Ok(Hook::Tc)),
        ("virtio_net", none, Mode::Xdp, BOTH, Ok(Hook::Xdp)),
        ("ixgbe", none, Mode::Auto, BOTH, Ok(Hook::Xdp)),
        ("vmxnet3", strips, Mode::Auto, BOTH, Ok(Hook::Xdp)),
        ("ixgbe", strips, Mode::Auto, BOTH, Ok(Hook::Xdp)),
        ("ixgbe", strips_always, Mode::Auto, BOTH, Ok(Hook::Tc)),
        ("ixgbe", strips_always, Mode::Auto, UNTAGGED, Ok(Hook::Tc)),
        ("ixgbe", strips_always, Mode::Xdp, UNTAGGED, Err("fixed on")),
        ("ixgbe", old_kernel, Mode::Xdp, TAGGED, Ok(Hook::Xdp)),
        ("ixgbe", fits_one_buffer, Mode::Xdp, TAGGED, Ok(Hook::Xdp)),
        ("ixgbe", jumbo_one_buffer, Mode::Xdp, TAGGED, Err("3498 or less")),
        ("ixgbe", jumbo_one_buffer, Mode::Auto, TAGGED, Ok(Hook::Tc)),
        ("mlx5_core", jumbo, Mode::Auto, TAGGED, Ok(Hook::Xdp)),
        ("e1000e", no_xdp, Mode::Auto, TAGGED, Ok(Hook::Tc)),
        ("e1000e", no_xdp, Mode::Xdp, TAGGED, Err("no native XDP")),
        ("e1000e", old_kernel, Mode::Xdp, TAGGED, Err("no native XDP")),
        ("", no_xdp, Mode::Auto, TAGGED, Ok(Hook::Tc)),
    ];
    for (driver, change, mode, zones, expected) in rows {
        let mut interface = interface(driver);
        change(&mut interface);
        let row = format!("{driver} {mode} {zones:?}");
        match (choose_hook(&interface, mode, zones), expected) {
            (Ok(choice), Ok(hook)) => {
                assert_eq!(choice.hook, hook, "{row}");
                assert!(!choice.reasons.is_empty(), "{row}");
                assert_eq!(choice.multi_buffer, hook == Hook::Xdp && interface.mtu > 3498, "{row}");
                let strips = interface.features.rx_vlan_offload == Feature::On;
                assert_eq!(choice.turn_off_rx_vlan_offload, strips && hook == Hook::Xdp, "{row}");
                assert_eq!(
                    choice.finish_checksums,
                    interface.may_carry_partial_checksum() && hook == Hook::Xdp,
                    "{row}"
                );
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{row}: {error}"),
            (result, expected) => panic!("{row}: {result:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn the_choice_for_a_real_veth_warns_of_a_peer_that_does_not_poll() {
    in_own_namespace(PAIR, || {
        let found = inspect("vfw0").unwrap();
        let choice = choose_hook(&found, Mode::Xdp, TAGGED).unwrap();
        let text = choice.warnings.join("\n");
        assert!(text.contains("tx-vlan-offload off"), "{text}");
        assert_eq!(text.contains("gro on"), found.xdp.is_some_and(|xdp| !xdp.ndo_xmit), "{text}");
        let auto = choose_hook(&found, Mode::Auto, TAGGED).unwrap();
        assert!(auto.reasons.join("\n").contains("GSO/GRO super-packets"));
    });
}
