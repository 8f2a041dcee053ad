//! How vfw begins and ends, what it refuses, and what it tells senders.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use vfw_tests::network::{KernelObjects, Network, Shape, finish, until};
use vfw_tests::packet::{Ethernet, Mac};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 3] = ["xdp", "tc", "afxdp"];
const RULES: &str = r#"
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
default drop
allow app -> db
test "app reaches db" { app 10.0.10.7 -> db 10.0.20.7 ping = allow }
"#;

fn mode(hook: &str) -> String {
    format!("mode = \"{hook}\"")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn ping(network: &Network, v6: bool, options: &[&str]) -> Output {
    let to = network.address("db", v6).to_string();
    network.run("app", &[&["ping", "-n", "-c", "1", "-W", "2"], options, &[&to]].concat())
}

/// Runs `vfw run`, which has to end by itself with this exit code; returns what it said.
fn refuses(network: &Network, code: i32) -> String {
    let output = network.vfw_run(&["run", "--config", "vfw.toml", "rules.fw"]);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    said(&output)
}

#[test]
fn nothing_is_left_behind_when_it_is_interrupted() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    for hook in HOOKS {
        let firewall = network.firewall(&mode(hook));
        assert!(ping(&network, false, &[]).status.success(), "{hook}");
        assert_eq!(network.received_by_kernel().0, 0, "{hook}");
        let objects = KernelObjects::of(firewall.pid());
        assert_eq!((objects.programs.len(), objects.links.len()), (9, 2), "{hook}");
        assert!(objects.maps.len() > 10 && objects.existing() == objects, "{hook}");
        let status = firewall.stop(Signal::SIGINT);
        // The kernel frees them when the last reader has finished.
        until("programs, links and maps are gone", || (objects.existing() == KernelObjects::default()).then_some(()));
        assert_eq!(status.code(), Some(0), "{hook}");
        assert!(!network.socket().exists() && !network.state_file().exists(), "{hook}");
        assert!(!network.at_firewall(|| fs::exists("/sys/fs/bpf/vfw")).expect("a bpffs"), "{hook}");
    }
    // With no program in the way, frames reach the kernel.
    network.must("fw", &["ip", "link", "set", "eth1", "up"]);
    network.run("app", &["ping", "-c", "1", "-W", "0.1", "-b", "10.0.10.255"]);
    until("the kernel receives again", || (network.received_by_kernel().0 > 0).then_some(()));
}

#[test]
fn the_kernels_stack_sees_no_frame() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        // What came before the programs were there.
        let before = network.received_by_kernel();
        for v6 in [false, true] {
            assert!(ping(&network, v6, &[]).status.success());
            assert!(ping(&network, v6, &["-s", "4000"]).status.success(), "in fragments");
            let db = network.address("db", v6).to_string();
            assert!(
                !network
                    .run("db", &["ping", "-c", "1", "-W", "0.1", &network.address("app", v6).to_string()])
                    .status
                    .success()
            );
            // To the gateway: an answer, a closed port; to nobody; to everybody.
            let gateway = if v6 { "fd00:10::1" } else { "10.0.10.1" };
            assert!(network.run("app", &["ping", "-c", "1", "-W", "2", gateway]).status.success());
            network.run("app", &["curl", "-s", "--max-time", "0.2", &format!("http://{}/", bracketed(gateway))]);
            network.run("app", &["curl", "-s", "--max-time", "2", &format!("http://{}/", bracketed(&db))]);
            let group: &[&str] = if v6 { &["ff02::1%eth0"] } else { &["-b", "10.0.10.255"] };
            network.run("app", &[&["ping", "-c", "1", "-W", "0.1"], group].concat());
        }
        let wire = network.wire("app");
        let gateway = network.mac("fw", "eth1");
        for mac in [gateway, [0xff; 6], [2, 9, 9, 9, 9, 9]] {
            for ether_type in [[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06], [0x88, 0xcc], [0x00, 0x2e]] {
                wire.send(&[mac.as_slice(), &[2, 0, 0, 0, 0, 7], &ether_type, &[0x45; 60]].concat());
            }
        }
        assert!(ping(&network, false, &[]).status.success());
        assert_eq!(network.received_by_kernel(), before, "{hook}");
        assert_eq!(network.must("fw", &["ip", "neighbour", "show"]), "", "{hook}");
        assert!(firewall.dropped(Some("app"), "local-service") >= 2);
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[test]
fn a_second_one_on_the_same_socket_is_refused() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(ping(&network, false, &[]).status.success());
        let said = refuses(&network, 2);
        assert!(said.contains("another vfw is running") && said.contains("control.sock"), "{hook}: {said}");
        assert!(ping(&network, false, &[]).status.success(), "{hook}: the first goes on");
        assert!(network.socket().exists());
        assert!(firewall.show("flows").as_array().is_some_and(|flows| !flows.is_empty()));
    }
}

#[test]
fn bad_input_and_refusals_have_their_exit_codes() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    network.write_settings("");
    let rules = network.folder().join("rules.fw");
    let write = |text: &str| fs::write(&rules, text).expect("the rule file");

    write(&RULES.replace("eth2", "eth7"));
    let said_missing = refuses(&network, 2);
    assert!(said_missing.contains("no interface `eth7`; there are: eth1, eth2"), "{said_missing}");

    write(&RULES.replace("allow app", "alow app"));
    let said_broken = refuses(&network, 1);
    assert!(said_broken.contains("rules.fw:5") && said_broken.contains("alow"), "{said_broken}");

    write(&RULES.replace("= allow", "= drop"));
    let said_failing = refuses(&network, 1);
    assert!(said_failing.contains("app reaches db") && said_failing.contains("not put in force"), "{said_failing}");

    write(RULES);
    network.write_settings("mod = \"xdp\"");
    let said_settings = refuses(&network, 1);
    assert!(said_settings.contains("unknown key `mod`"), "{said_settings}");

    let socket = network.socket();
    let output = network.vfw_run(&["show", "flows", "--socket", socket.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("cannot reach vfw at"), "{}", said(&output));
    assert!(!socket.exists());
}

#[test]
fn a_running_vfw_explains_what_it_does() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall(&mode("tc"));
    let socket = network.socket();
    let socket = socket.to_str().expect("UTF-8");
    let explain = |packet: &str| network.vfw_run(&["explain", packet, "--socket", socket]);
    let allowed = explain("app 10.0.10.7 -> 10.0.20.7 ping");
    assert_eq!(allowed.status.code(), Some(0));
    assert!(said(&allowed).contains("verdict  allow") && said(&allowed).contains("rules.fw:5"), "{}", said(&allowed));
    let refused = explain("db 10.0.20.7 -> 10.0.10.7 tcp 22");
    assert!(said(&refused).contains("drop (policy") && said(&refused).contains("nearest"), "{}", said(&refused));
    let nonsense = explain("nowhere 10.0.20.7 -> 10.0.10.7 tcp 22");
    assert_eq!(nonsense.status.code(), Some(1));
    assert!(said(&nonsense).contains("no zone `nowhere`; there are: app, db"), "{}", said(&nonsense));
    drop(firewall);
    assert_eq!(explain("app 10.0.10.7 -> 10.0.20.7 ping").status.code(), Some(2));
}

#[test]
fn an_interface_with_a_kernel_address_is_refused_untouched() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    network.must("fw", &["ip", "address", "add", "10.0.20.99/24", "dev", "eth2"]);
    // Management goes on meanwhile: not one ping is lost.
    let management = network.start("db", &["ping", "-n", "-i", "0.002", "10.0.20.99"]);
    for hook in HOOKS {
        network.write_settings(&mode(hook));
        let said = refuses(&network, 2);
        assert!(said.contains("`eth2` has kernel addresses (10.0.20.99/24)"), "{said}");
        assert!(said.contains("ip address flush dev eth2"), "{said}");
    }
    management.signal(Signal::SIGINT);
    let pings = finish(management, Duration::from_secs(20));
    assert!(said(&pings).contains(" 0% packet loss"), "{}", said(&pings).lines().last().unwrap_or_default());
}

#[test]
fn a_used_up_ttl_is_reported_to_the_sender() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        for (v6, gateway, words) in
            [(false, "10.0.10.1", "Time to live exceeded"), (true, "fd00:10::1", "Time exceeded: Hop limit")]
        {
            let output = said(&ping(&network, v6, &["-t", "1"]));
            assert!(output.contains(&format!("From {gateway} icmp_seq=1 {words}")), "{hook}: {output}");
            assert!(ping(&network, v6, &["-t", "2"]).status.success(), "{hook}: enough for one router");
        }
        assert_eq!(firewall.dropped(Some("app"), "ttl-exceeded"), 2, "{hook}");
    }
}

#[test]
fn a_packet_too_big_is_reported_with_the_mtu() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).mtu(9000).up() else { return };
        network.must("db", &["ip", "link", "set", "eth0", "mtu", "1500"]);
        network.must("fw", &["ip", "link", "set", "eth2", "mtu", "1500"]);
        let firewall = network.firewall(&mode(hook));
        for (v6, words) in [(false, "Frag needed and DF set (mtu = 1500)"), (true, "Packet too big: mtu=1500")] {
            let output = said(&ping(&network, v6, &["-M", "do", "-s", "3000"]));
            assert!(output.contains(words), "{hook}: {output}");
            // The sender's stack believes it: now it cuts the packet itself.
            assert!(ping(&network, v6, &["-s", "3000"]).status.success(), "{hook}");
            let route = network.must("app", &["ip", "route", "get", &network.address("db", v6).to_string()]);
            assert!(route.contains("mtu 1500"), "{hook}: {route}");
        }
        assert_eq!(firewall.dropped(Some("app"), "too-big"), 2, "{hook}");
    }
}

#[test]
fn a_next_hop_that_does_not_answer_is_unreachable() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall(&mode("tc"));
    let nobody: [SocketAddr; 2] =
        ["10.0.20.99:9", "[fd00:20::99]:9"].map(|address| address.parse().expect("an address"));
    for target in nobody {
        let any = network.address("app", target.is_ipv6());
        let socket = network.within("app", || std::net::UdpSocket::bind((any, 0))).expect("a UDP socket");
        socket.send_to(b"anyone", target).expect("sends");
    }
    until("both are asked for", || {
        let rows = firewall.show("neighbours");
        let is_waiting = |row: &&serde_json::Value| row["state"] == "incomplete" && row["queued"] == 1;
        (rows.as_array().expect("a list").iter().filter(is_waiting).count() == 2).then_some(())
    });
    until("three questions are not answered", || (firewall.dropped(Some("app"), "unreachable") == 2).then_some(()));
    let rows = firewall.show("neighbours");
    assert!(rows.as_array().expect("a list").iter().any(|row| row["state"] == "failed"), "{rows}");
    assert!(ping(&network, false, &[]).status.success(), "others are not affected");
}

#[test]
fn senders_are_told_of_hosts_that_do_not_answer() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        for (target, gateway, words) in [
            ("10.0.20.99", "10.0.10.1", "Destination Host Unreachable"),
            ("fd00:20::99", "fd00:10::1", "Destination unreachable: Address unreachable"),
        ] {
            // The first waits until nobody has answered; the second comes when that is known.
            for _ in 0..2 {
                let output = said(&network.run("app", &["ping", "-n", "-c", "1", "-W", "10", target]));
                assert!(output.contains(&format!("From {gateway} icmp_seq=1 {words}")), "{hook}: {output}");
            }
        }
        assert_eq!(firewall.dropped(Some("app"), "unreachable"), 4, "{hook}");
    }
}

/// A sender's stack looks for its own packet in what an error quotes.
#[test]
fn errors_about_absent_hosts_quote_what_was_sent() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        let wire = network.wire("app");
        let host: Mac = [2, 0, 0, 0, 0, 9];
        let link = Ethernet::new(host, network.mac("fw", "eth1"));
        let told = |error: (u8, u8), headers: usize| {
            let is_error = |frame: &Vec<u8>| {
                frame[..6] == host && frame.get(14 + headers - 8..).is_some_and(|icmp| (icmp[0], icmp[1]) == error)
            };
            until("an error comes", || wire.receive(Duration::from_secs(1)).filter(is_error))[14 + headers..].to_vec()
        };
        let v4 = link.ip("10.0.10.9", "10.0.20.99");
        let v6 = link.ip("fd00:10::9", "fd00:20::99");
        // Neither is followed by an error: it is one itself, or a fragment that says nothing of its ports.
        wire.send(&v4.clone().fragment(7, 0, true).transport(17, &v4.udp_bytes(1, 9, &[0; 64])[..32]));
        wire.send(&v4.clone().fragment(7, 4, false).transport(17, &[0; 40]));
        let question = v4.clone().ttl(9).udp(1, 9, b"anyone");
        let question6 = v6.ttl(9).udp(1, 9, b"anyone");
        wire.send(&question);
        wire.send(&question6);
        let first = told((3, 1), 28);
        assert_eq!(first[20..], v4.udp_bytes(1, 9, &[0; 64])[..32], "{hook}: the first fragment");
        assert_eq!(told((3, 1), 28), question[14..], "{hook}: not the later one, then the next");
        assert_eq!(told((1, 3), 48), question6[14..], "{hook}");
        assert_eq!(firewall.dropped(Some("app"), "unreachable"), 4, "{hook}");
    }
}
