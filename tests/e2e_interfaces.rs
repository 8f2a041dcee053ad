//! Interfaces that change while vfw runs: they go and come back, lose their link, get another MTU or MAC.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vfw_tests::network::{Firewall, KernelObjects, Network, PATIENCE, Shape, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 3] = ["xdp", "tc", "afxdp"];
const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
zone web { interface eth3  address 10.0.30.1/24, fd00:30::1/64 }
default allow
";

fn mode(hook: &str) -> String {
    format!("mode = \"{hook}\"")
}

fn pings(network: &Network, from: &str, to: &str) -> bool {
    let answered = |v6: &bool| {
        let to = network.address(to, *v6).to_string();
        // A host whose link has just come up may take a second to answer the first neighbour solicitation.
        network.run(from, &["ping", "-n", "-c", "1", "-W", "4", &to]).status.success()
    };
    [false, true].iter().all(answered)
}

/// One ping to `to` that nobody can answer.
fn ping_into_the_void(network: &Network, from: &str, to: &str) {
    let to = network.address(to, false).to_string();
    assert!(!network.run(from, &["ping", "-n", "-c", "1", "-W", "0.1", &to]).status.success());
}

/// What `vfw show interfaces` says of one.
fn interface(firewall: &Firewall, name: &str) -> Value {
    let rows = firewall.show("interfaces");
    rows.as_array().expect("a list").iter().find(|row| row["interface"] == name).expect("the interface").clone()
}

fn wait_for(firewall: &Firewall, name: &str, state: &str) -> Value {
    until(&format!("{name} is {state}"), || {
        let row = interface(firewall, name);
        (row["state"] == state).then_some(row)
    })
}

fn zone(firewall: &Firewall, name: &str) -> Value {
    let rows = firewall.show("zones");
    rows.as_array().expect("a list").iter().find(|row| row["zone"] == name).expect("the zone").clone()
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn index(network: &Network, name: &str) -> u32 {
    network.within("fw", || vfw::interface::inspect(name)).expect("the interface").index
}

/// Takes the link of `app` away; frames for it are dropped for that reason then.
fn unplug(network: &Network, firewall: &Firewall) {
    network.must("fw", &["ip", "link", "delete", "eth1"]);
    let row = wait_for(firewall, "eth1", "away");
    assert!(row["warnings"].to_string().contains("no interface of this name"), "{row}");
    assert!(row["hook"].is_null() && row["mtu"].is_null(), "{row}");
    let before = firewall.dropped(Some("db"), "interface-down");
    ping_into_the_void(network, "db", "app");
    assert_eq!(firewall.dropped(Some("db"), "interface-down"), before + 1);
    assert!(pings(network, "db", "web"), "the others go on");
}

#[test]
fn an_interface_that_comes_back_is_attached_again() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "app", "db") && pings(&network, "db", "app"), "{hook}");
        let objects = KernelObjects::of(firewall.pid());
        let old = index(&network, "eth1");
        unplug(&network, &firewall);
        network.ip_batch(&[network.cable("eth1", "mtu 1400", "app")]);
        network.configure_host("app");
        let row = wait_for(&firewall, "eth1", "up");
        assert_ne!(index(&network, "eth1"), old);
        let mac = text(network.mac("fw", "eth1"));
        assert_eq!(
            (&row["hook"], &row["mtu"], &row["mac"]),
            (&hook.into(), &1400.into(), &mac.clone().into()),
            "{row}"
        );
        let record = zone(&firewall, "app");
        assert_eq!((&record["mtu"], &record["mac"]), (&1400.into(), &mac.into()), "{record}");
        assert!(pings(&network, "app", "db") && pings(&network, "db", "app"), "{hook}: traffic resumes");
        // Checked and taken as at the start.
        let flags = network.must("fw", &["ip", "link", "show", "eth1"]);
        assert!(flags.contains("ALLMULTI"), "{flags}");
        assert_eq!(network.must("fw", &["cat", "/proc/sys/net/ipv6/conf/eth1/disable_ipv6"]).trim(), "1");
        let log = firewall.log();
        assert!(log.contains("the interface is gone") && log.contains("the interface is attached again"), "{log}");
        assert_eq!(KernelObjects::of(firewall.pid()).links.len(), objects.links.len(), "{hook}: no link is left over");
        assert_eq!(firewall.stop(Signal::SIGINT).code(), Some(0));
        let flags = network.must("fw", &["ip", "link", "show", "eth1"]);
        assert!(!flags.contains("ALLMULTI"), "{hook}: given back: {flags}");
    }
}

/// Deleted and made again at once, under the same number: nothing but the notification tells the two apart.
#[test]
fn a_new_interface_of_the_same_number_is_not_taken_for_the_old_one() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "app", "db"), "{hook}");
        for round in 0..5 {
            let index = index(&network, "eth1");
            let options = format!("index {index} address 02:00:00:00:00:{round:02x}");
            network.ip_batch(&["link delete eth1".to_owned(), network.cable("eth1", &options, "app")]);
            network.configure_host("app");
            until("the new one is in use", || {
                (zone(&firewall, "app")["mac"] == options[options.len() - 17..]).then_some(())
            });
            wait_for(&firewall, "eth1", "up");
            assert!(pings(&network, "app", "db") && pings(&network, "db", "app"), "{hook}: {round}");
        }
        let links = KernelObjects::of(firewall.pid());
        assert_eq!((links.links.len(), links.existing().links.len()), (3, 3), "{hook}");
    }
}

/// More happens than the kernel keeps notifications of, and vfw cannot know what it has missed.
#[test]
fn lost_notifications_are_made_up_for() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "app", "db"), "{hook}");
        let pid = Pid::from_raw(firewall.pid());
        kill(pid, Signal::SIGSTOP).expect("vfw runs");
        network.ip_batch(&["link add noise type bridge".to_owned()]);
        let noise: Vec<String> = (0..4000).map(|number| format!("link set noise mtu {}", 1000 + number % 2)).collect();
        let options = format!("index {}", index(&network, "eth1"));
        network.ip_batch(&noise);
        network.ip_batch(&["link delete eth1".to_owned(), network.cable("eth1", &options, "app")]);
        network.configure_host("app");
        kill(pid, Signal::SIGCONT).expect("vfw runs");
        let mac = text(network.mac("fw", "eth1"));
        until("the new one is in use", || (zone(&firewall, "app")["mac"] == mac.as_str()).then_some(()));
        wait_for(&firewall, "eth1", "up");
        wait_for(&firewall, "eth2", "up");
        assert!(pings(&network, "app", "db") && pings(&network, "db", "app"), "{hook}");
        let objects = KernelObjects::of(firewall.pid());
        assert_eq!(objects.existing().links.len(), 3, "{hook}");
    }
}

/// Interfaces come and go faster than vfw can follow, at every moment of what it does with them.
#[test]
fn interfaces_that_come_and_go_all_the_time_end_nothing() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        let ends = [("eth1", "app"), ("eth2", "db"), ("eth3", "web")];
        let mut lines = vec!["link add noise type bridge".to_owned()];
        for round in 0..40 {
            lines.extend(ends.iter().map(|(name, _)| format!("link delete {name}")));
            lines.extend(ends.iter().map(|(name, zone)| network.cable(name, "", zone)));
            // Time passes, a little more in each round.
            lines.extend((0..3 * round).map(|number| format!("link set noise mtu {}", 1000 + number)));
        }
        network.ip_batch(&lines);
        for (_, zone) in ends {
            network.configure_host(zone);
        }
        for (name, _) in ends {
            wait_for(&firewall, name, "up");
        }
        assert!(pings(&network, "app", "db") && pings(&network, "db", "web"), "{hook}");
        assert_eq!(KernelObjects::of(firewall.pid()).existing().links.len(), 3, "{hook}");
    }
}

/// A number that was an interface of vfw's and is another device's now: nothing is sent to it, nothing is changed on it.
#[test]
fn a_device_that_inherits_the_number_is_left_alone() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "app", "db") && pings(&network, "db", "app"), "{hook}");
        let index = index(&network, "eth1");
        let heir = format!("link add heir index {index} type bridge mcast_snooping 0");
        network.ip_batch(&["link delete eth1".to_owned(), heir, "link set heir up".to_owned()]);
        wait_for(&firewall, "eth1", "away");
        for _ in 0..3 {
            ping_into_the_void(&network, "db", "app");
        }
        assert_eq!(firewall.dropped(Some("db"), "interface-down"), 3, "{hook}");
        let sent = network.must("fw", &["ip", "-s", "-j", "link", "show", "heir"]);
        let sent: Value = serde_json::from_str(&sent).expect("JSON");
        assert_eq!(sent[0]["stats64"]["tx"]["packets"], 0, "{hook}: {sent}");
        assert_eq!(firewall.stop(Signal::SIGINT).code(), Some(0));
        let flags = network.must("fw", &["ip", "link", "show", "heir"]);
        assert!(flags.contains(",UP"), "{hook}: it was not set down: {flags}");
    }
}

#[test]
fn an_interface_that_is_renamed_is_given_back() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall(&mode("tc"));
    assert!(pings(&network, "app", "db"));
    network.ip_batch(&["link set eth1 down".to_owned(), "link set eth1 name other".to_owned()]);
    wait_for(&firewall, "eth1", "away");
    let programs = network.must("fw", &["ip", "-d", "link", "show", "other"]);
    assert!(!programs.contains("ALLMULTI"), "{programs}");
    assert_eq!(KernelObjects::of(firewall.pid()).links.len(), 2, "the program is off");
    network.ip_batch(&["link set other down".to_owned(), "link set other name eth1".to_owned()]);
    wait_for(&firewall, "eth1", "up");
    assert!(pings(&network, "app", "db") && pings(&network, "db", "app"));
}

#[test]
fn zones_follow_the_mtu_and_the_mac() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "app", "db") && pings(&network, "db", "app"), "{hook}");
        network.must("fw", &["ip", "link", "set", "eth1", "mtu", "1300"]);
        until("the zone has the new MTU", || (zone(&firewall, "app")["mtu"] == 1300).then_some(()));
        let app = network.address("app", false).to_string();
        let told = network.run("db", &["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", "1400", &app]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("mtu = 1300"), "{hook}: {told}");
        assert!(firewall.log().contains("the MTU has changed"));

        network.must("fw", &["ip", "link", "set", "eth1", "address", "02:00:00:00:99:01"]);
        until("the gateway has the new MAC", || (zone(&firewall, "app")["mac"] == "02:00:00:00:99:01").then_some(()));
        // The host has heard of it without asking.
        for gateway in ["10.0.10.1", "fd00:10::1"] {
            until("the host knows the new MAC", || {
                let known = network.must("app", &["ip", "neighbour", "show", gateway]);
                known.contains("02:00:00:00:99:01").then_some(())
            });
        }
        assert!(pings(&network, "app", "db") && pings(&network, "db", "app"), "{hook}");
    }
}

#[test]
fn a_link_that_is_down_is_shown_and_counted() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "db", "app"), "{hook}");
        let ends: [(&str, &str); 2] = [("app", "eth0"), ("fw", "eth1")];
        for (number, (place, end)) in ends.into_iter().enumerate() {
            network.must(place, &["ip", "link", "set", end, "down"]);
            let row = wait_for(&firewall, "eth1", "down");
            assert!(row["warnings"].to_string().contains("the link is down"), "{row}");
            ping_into_the_void(&network, "db", "app");
            assert_eq!(firewall.dropped(Some("db"), "interface-down"), number as u64 + 1, "{hook}: {place} {end}");
            network.must(place, &["ip", "link", "set", end, "up"]);
            wait_for(&firewall, "eth1", "up");
            if place == "app" {
                // Its addresses of IPv6 and its routes went with the link.
                network.run("app", &["ip", "address", "flush", "dev", "eth0"]);
                network.configure_host("app");
            }
            assert!(pings(&network, "db", "app") && pings(&network, "app", "db"), "{hook}: {place} {end}");
        }
        let log = firewall.log();
        assert!(log.contains("the link is down") && log.contains("the link is up"), "{log}");
    }
}

#[test]
fn frames_that_waited_for_a_link_that_is_lost_count_for_their_zone() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall(&mode("tc"));
    let mut ping = network.start("app", &["ping", "-n", "-c", "1", "-W", "1", "10.0.20.99"]);
    until("the ping waits", || firewall.show("neighbours").to_string().contains("10.0.20.99").then_some(()));
    network.must("db", &["ip", "link", "set", "eth0", "down"]);
    wait_for(&firewall, "eth2", "down");
    assert_eq!(firewall.drop_reasons(&["multicast", "local-service"]), ["app interface-down"]);
    ping.wait(PATIENCE).expect("it ends");
}

#[test]
fn an_interface_that_cannot_be_attached_again_stays_closed() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall(&mode("xdp"));
    assert!(pings(&network, "db", "app"));
    unplug(&network, &firewall);

    // XDP was ordered, and this one has none.
    network.ip_batch(&["link add eth1 type bridge".to_owned(), "link set eth1 up".to_owned()]);
    let row = wait_for(&firewall, "eth1", "refused");
    let why = row["warnings"].to_string();
    assert!(why.contains("`eth1`: the driver `bridge` has no native XDP") && why.contains("mode ="), "{why}");
    let before = firewall.dropped(Some("db"), "interface-down");
    ping_into_the_void(&network, "db", "app");
    assert_eq!(firewall.dropped(Some("db"), "interface-down"), before + 1);
    assert!(pings(&network, "db", "web"), "the others go on");
    assert!(firewall.log().contains("cannot be used"), "{}", firewall.log());

    // One that the kernel has an address on, until that is taken away: of which no notification tells.
    let cable = network.cable("later", "", "app");
    let address = "address add 192.0.2.1/24 dev later".to_owned();
    network.ip_batch(&["link delete eth1".to_owned(), cable, address, "link set later name eth1".to_owned()]);
    network.configure_host("app");
    until("the address is refused", || {
        interface(&firewall, "eth1")["warnings"].to_string().contains("kernel addresses (192.0.2.1/24)").then_some(())
    });
    assert!(network.must("fw", &["ip", "link", "show", "eth1"]).contains("state DOWN"), "it is left untouched");
    network.must("fw", &["ip", "address", "flush", "dev", "eth1"]);
    wait_for(&firewall, "eth1", "up");
    assert!(pings(&network, "db", "app") && pings(&network, "app", "db"));
}

/// As a port of a bridge it would carry frames past vfw.
#[test]
fn an_interface_that_becomes_a_port_of_a_bridge_is_closed() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall(&mode("tc"));
    assert!(pings(&network, "db", "app") && pings(&network, "app", "db"));
    network.ip_batch(&["link add br0 type bridge".to_owned(), "link set eth1 master br0".to_owned()]);
    let row = wait_for(&firewall, "eth1", "refused");
    assert!(row["warnings"].to_string().contains("ip link set eth1 nomaster"), "{row}");
    ping_into_the_void(&network, "db", "app");
    ping_into_the_void(&network, "app", "db");
    assert_eq!(firewall.dropped(Some("db"), "interface-down"), 1);
    assert!(firewall.dropped(None, "unknown-vlan") > 0, "frames from it go nowhere, not even into the bridge");
    network.must("fw", &["ip", "link", "set", "eth1", "nomaster"]);
    wait_for(&firewall, "eth1", "up");
    assert!(pings(&network, "db", "app") && pings(&network, "app", "db"));
}
