//! Programs that hang on filters, as before Linux 6.6, outlive the process and are taken over in their place.

use std::path::Path;

use firewall_core::Address;
use firewall_core::tables::{NeighbourKey, NeighbourWord};
use vfw::backend::kernel::{Kernel, PinFolder};
use vfw::compile::{Link, compile};
use vfw::config::Config;
use vfw::interface::{Filter, ingress_filters, inspect, prepare};
use vfw::lang::{SourceFile, load};
use vfw_tests::network::Network;
use vfw_tests::soak::{RULES, Stream, network};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const PINS: &str = "/sys/fs/bpf/vfw";
const INTERFACES: [(&str, &str); 4] = [("eth1", "app"), ("eth2", "db"), ("eth3", "generator"), ("eth4", "sink")];

/// What a start does, without a daemon: loads, attaches, and ends.
fn start(network: &Network) {
    let macs = INTERFACES.map(|(_, zone)| (network.address(zone, false), network.mac(zone, "eth0")));
    network.at_firewall(move || {
        let links = INTERFACES.map(|(name, _)| {
            prepare(name, &mut vfw::interface::Changes::default()).expect("may be taken");
            let found = inspect(name).expect("the interface");
            let (mac, mtu, ifindex) = (found.mac, found.mtu, found.index);
            Link {
                name: name.to_owned(),
                ifindex,
                mac,
                mtu,
                partial_checksums: false,
                peer: true,
                up: true,
                port: None,
                kernel_zones: Vec::new(),
            }
        });
        let policy = load(&[SourceFile::new("rules.fw", RULES)]).expect("rules").policy;
        let config = Config::default();
        let mut image = compile(&policy, &config, &links).expect("compiles");
        let folder = PinFolder::open(Path::new(PINS)).expect("a folder for pins");
        image.settings.epoch = folder.pins().next_epoch();
        let mut kernel = Kernel::load_pinned(&image, &config, folder.pins()).expect("loads");
        kernel.set_devices(&image).expect("interfaces");
        for (zone, (address, mac)) in macs.into_iter().enumerate() {
            let key = NeighbourKey { address: Address::from(address), zone: zone as u32 };
            kernel.add_neighbour(zone as u32, &key, NeighbourWord::new(mac, 1)).expect("room");
        }
        for link in &links {
            kernel.attach_by_clsact(&link.name, link.ifindex).expect("attaches");
        }
        kernel.end_others().expect("the programs before go");
    });
}

fn filters(network: &Network) -> Vec<Filter> {
    network.at_firewall(|| {
        let of = |(name, _): (&str, &str)| ingress_filters(inspect(name).expect("the interface").index);
        INTERFACES.into_iter().flat_map(|interface| of(interface).expect("filters")).collect()
    })
}

#[test]
fn filters_are_taken_over_in_their_place() {
    let Some(network) = network(PROGRAM) else { return };
    network.write_settings("");
    start(&network);
    let before = filters(&network);
    assert_eq!(before.len(), INTERFACES.len(), "{before:?}");
    let streams = Stream::both_ways(&network, false, 9000, 1_000);
    let denied = Stream::one_way(&network, "db", "app", 9000, 200);
    for _ in 0..3 {
        start(&network);
        assert_eq!(filters(&network), before, "the same places");
    }
    for tally in streams.map(Stream::stop) {
        assert_eq!((tally.lost(), tally.repeated), (0, 0), "{tally:?}");
        assert!(tally.sent > 100);
    }
    assert_eq!(denied.stop().received, 0);
    let generations = network.at_firewall(|| std::fs::read_dir(format!("{PINS}/generations")).map(Iterator::count));
    assert_eq!(generations.expect("a folder"), 1);

    let stop = network.vfw_run(&["stop", "--config", "vfw.toml"]);
    assert!(stop.status.success() && String::from_utf8_lossy(&stop.stdout).contains("taken off"), "{stop:?}");
    assert_eq!(filters(&network), []);
    let qdiscs = network.must("fw", &["tc", "qdisc", "show"]);
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");
    assert!(!network.at_firewall(|| Path::new(PINS).exists()));
}
