//! `vfw apply`: another policy for a vfw that runs, what it tells, and what becomes of flows, counters and interfaces.

use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use vfw_tests::network::{Firewall, Network, Shape};
use vfw_tests::soak::{Stream, Tally};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 3] = ["xdp", "tc", "afxdp"];
const ZONES: [&str; 3] = [
    "zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }\n",
    "zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }\n",
    "zone web { interface eth3  address 10.0.30.1/24, fd00:30::1/64 }\n",
];
const RULES: &str = "\
allow app -> db  service udp 5000
allow app -> db  service ping, tcp 22
allow app -> web  service udp
";

fn rules() -> String {
    ZONES.concat() + RULES
}

fn mode(hook: &str) -> String {
    format!("mode = \"{hook}\"")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// Runs `vfw apply` on these rules; the exit code and what it says.
fn apply(network: &Network, rules: &str, options: &[&str]) -> (Option<i32>, String) {
    fs::write(network.folder().join("new.fw"), rules).expect("the rule file");
    let socket = network.socket();
    let socket = socket.to_str().expect("UTF-8");
    let output = network.vfw_run(&[&["apply", "new.fw", "--socket", socket], options].concat());
    (output.status.code(), said(&output))
}

/// The same, which has to succeed, as JSON.
fn applied(network: &Network, rules: &str, options: &[&str]) -> Value {
    let (code, said) = apply(network, rules, &[options, &["--json"]].concat());
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&said).expect("JSON")
}

fn texts(lines: &Value) -> Vec<(String, String)> {
    let line = |line: &Value| {
        let text = |field: &str| line[field].as_str().expect("text").to_owned();
        (text("kind"), text("text"))
    };
    lines.as_array().expect("a list").iter().map(line).collect()
}

/// A flow of UDP with an answer for each question.
struct Talk {
    client: UdpSocket,
    server: UdpSocket,
}

impl Talk {
    fn new(network: &Network, (client, from): (&str, u16), (server, to): (&str, u16)) -> Self {
        let bind = |place: &str, port: u16| {
            let address = (network.address(place, false), port);
            let socket = network.within(place, || UdpSocket::bind(address)).expect("a UDP socket");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            socket
        };
        let talk = Self { client: bind(client, from), server: bind(server, to) };
        talk.client.connect(talk.server.local_addr().expect("an address")).expect("connects");
        talk.server.connect(talk.client.local_addr().expect("an address")).expect("connects");
        talk
    }

    /// Whether a datagram from the client arrives, and one from the server.
    fn works(&self) -> [bool; 2] {
        let passes = |from: &UdpSocket, to: &UdpSocket| {
            from.send(b"hello").expect("sends");
            to.recv(&mut [0; 16]).is_ok()
        };
        [passes(&self.client, &self.server), passes(&self.server, &self.client)]
    }
}

const BOTH: [bool; 2] = [true, true];
const NONE: [bool; 2] = [false, false];

fn rule(firewall: &Firewall, text: &str) -> Value {
    let rows = firewall.show("rules");
    let found =
        rows.as_array().expect("a list").iter().find(|row| row["rule"].as_str().is_some_and(|rule| rule == text));
    found.unwrap_or_else(|| panic!("no rule `{text}` in {rows}")).clone()
}

#[test]
fn a_new_policy_cuts_what_it_forbids_and_keeps_the_rest() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
        let firewall = network.firewall(&mode(hook));
        let kept = Talk::new(&network, ("app", 4000), ("db", 5000));
        let cut = Talk::new(&network, ("app", 4001), ("web", 6000));
        assert_eq!((kept.works(), cut.works()), (BOTH, BOTH), "{hook}");

        // Moved, added, removed; and nothing happens yet.
        let new = ZONES.concat()
            + "allow app -> db  service ping, tcp 22\nallow app -> db  service udp 5000\ndrop app -> web  log \"no\"\n";
        let (code, dry) = apply(&network, &new, &["--dry-run"]);
        assert_eq!(code, Some(0), "{dry}");
        assert!(dry.contains("rules: 1 added, 1 removed, 1 moved"), "{dry}");
        assert!(dry.contains("flows    1 go on, 1 would end"), "{dry}");
        assert!(dry.contains("x udp 10.0.10.7:4001 -> 10.0.30.7:6000  policy by new.fw:6"), "{dry}");
        assert!(dry.contains("nothing was changed"), "{dry}");
        assert_eq!((kept.works(), cut.works()), (BOTH, BOTH), "{hook}: a dry run changes nothing");

        let packets = |text: &str| rule(&firewall, text)["packets"].as_u64().expect("a number");
        let before = packets("allow app -> db  service udp 5000");
        assert_eq!(before, 4, "{hook}");
        let answer = applied(&network, &new, &[]);
        assert_eq!((&answer["in_force"], &answer["flows_cut"]), (&true.into(), &1.into()), "{answer}");
        let lines = texts(&answer["change"]["rules"]);
        assert!(lines.contains(&("removed".into(), "allow app -> web  service udp".into())), "{lines:?}");
        assert!(lines.contains(&("added".into(), "drop app -> web  log \"no\"".into())), "{lines:?}");

        assert_eq!(cut.works(), NONE, "{hook}: forbidden from now on");
        assert_eq!(kept.works(), BOTH, "{hook}: goes on");
        assert_eq!(packets("allow app -> db  service udp 5000"), before + 2, "{hook}: counted on");
        assert_eq!(packets("drop app -> web  log \"no\""), 1, "{hook}: the answer had no flow any more");
        let flows = firewall.show("flows");
        let flow = flows.as_array().expect("a list").iter().find(|flow| flow["from"]["port"] == 4000);
        assert_eq!(flow.expect("the flow")["rule"], "new.fw:5", "{flows}");

        // The same again: nothing differs, nothing is lost.
        let again = applied(&network, &new, &[]);
        assert_eq!((texts(&again["change"]["rules"]).len(), &again["flows_cut"]), (0, &0.into()), "{again}");
        assert_eq!(kept.works(), BOTH, "{hook}");
        assert_eq!(packets("allow app -> db  service udp 5000"), before + 4, "{hook}: counted over both");
    }
}

#[test]
fn a_set_that_changes_is_told_and_takes_effect() {
    let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
    let with =
        |address: &str| ZONES.concat() + &format!("set s = {{ {address} }}\nallow app -> db  to s  service udp\n");
    fs::write(network.folder().join("rules.fw"), with("10.0.20.7")).expect("the rule file");
    let _firewall = network.firewall(&mode("tc"));
    let talk = Talk::new(&network, ("app", 4000), ("db", 5000));
    assert_eq!(talk.works(), BOTH);
    let answer = applied(&network, &with("10.0.20.8"), &[]);
    assert_eq!(texts(&answer["change"]["rules"]), [("changed".into(), "allow app -> db  to s  service udp".into())]);
    assert_eq!(talk.works(), NONE);
}

#[test]
fn zones_and_interfaces_come_and_go() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
        let only = |zones: &[&str]| zones.concat() + "allow any -> any\n";
        fs::write(network.folder().join("rules.fw"), only(&ZONES[..2])).expect("the rule file");
        let firewall = network.firewall(&mode(hook));
        let talk = Talk::new(&network, ("app", 4000), ("db", 5000));
        let other = Talk::new(&network, ("db", 4001), ("web", 6000));
        assert_eq!((talk.works(), other.works()), (BOTH, NONE), "{hook}");

        // A zone before the others in the file, on an interface that vfw has not had.
        let answer = applied(&network, &only(&[ZONES[2], ZONES[1], ZONES[0]]), &[]);
        assert_eq!(answer["interfaces_added"], serde_json::json!(["eth3"]), "{answer}");
        assert_eq!((talk.works(), other.works()), (BOTH, BOTH), "{hook}: nobody is taken for another");
        assert_eq!(firewall.show("flows").as_array().map(Vec::len), Some(2), "{hook}");
        assert!(
            network.must("fw", &["ip", "link", "show", "eth3"]).contains("ALLMULTI"),
            "{hook}: taken as at the start"
        );

        // The first goes; the flow between the others stays.
        let answer = applied(&network, &only(&[ZONES[2], ZONES[1]]), &[]);
        assert_eq!(answer["interfaces_removed"], serde_json::json!(["eth1"]), "{answer}");
        assert_eq!((talk.works(), other.works()), (NONE, BOTH), "{hook}");
        let link = network.must("fw", &["ip", "-details", "link", "show", "eth1"]);
        assert!(!link.contains("ALLMULTI") && !link.contains("prog/xdp"), "{hook}: given back: {link}");
        let names: Vec<Value> = firewall
            .show("interfaces")
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| row["interface"].clone())
            .collect();
        assert_eq!(names, ["eth2", "eth3"], "{hook}");

        // And is back: what it had counted was another life.
        applied(&network, &only(&ZONES), &[]);
        assert_eq!((talk.works(), other.works()), (BOTH, BOTH), "{hook}");
        let zones = firewall.show("zones");
        let app = zones.as_array().expect("a list").iter().find(|zone| zone["zone"] == "app").expect("app").clone();
        assert!(app["in"]["packets"].as_u64() <= Some(2), "{hook}: a datagram and a question for the gateway: {app}");

        // It goes again, the last that was taken: nobody loses a place to it.
        applied(&network, &only(&ZONES[1..]), &[]);
        assert_eq!((talk.works(), other.works()), (NONE, BOTH), "{hook}");
        assert_eq!(firewall.stop(Signal::SIGINT).code(), Some(0), "{hook}");
    }
}

#[test]
fn a_zone_that_moves_takes_its_traffic_along() {
    let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
    for hook in HOOKS {
        let zones = |db: &str, web: &str| {
            format!(
                "{}zone db {{ interface {db}  address 10.0.20.1/24 }}\nzone web {{ interface {web}  address 10.0.30.1/24 }}\n\
                 allow any -> any\n",
                ZONES[0]
            )
        };
        fs::write(network.folder().join("rules.fw"), zones("eth2", "eth3")).expect("the rule file");
        let firewall = network.firewall(&mode(hook));
        let talk = Talk::new(&network, ("app", 4000), ("db", 5000));
        assert_eq!(talk.works(), BOTH, "{hook}");
        // Both change places: nothing for `db` may reach the host that was there.
        applied(&network, &zones("eth3", "eth2"), &[]);
        assert_eq!(talk.works(), NONE, "{hook}");
        let rows = firewall.show("neighbours");
        let of_db = |row: &&Value| row["zone"] == "db" && row["state"] == "reachable";
        assert_eq!(rows.as_array().expect("a list").iter().filter(of_db).count(), 0, "{hook}: {rows}");
        applied(&network, &zones("eth2", "eth3"), &[]);
        assert_eq!(talk.works(), BOTH, "{hook}");
        drop(firewall);
    }
}

#[test]
fn a_policy_that_cannot_be_in_force_leaves_the_one_before() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
        let _firewall = network.firewall(&mode(hook));
        let talk = Talk::new(&network, ("app", 4000), ("db", 5000));
        assert_eq!(talk.works(), BOTH, "{hook}");
        let fails = |rules: &str, code: i32, words: &[&str]| {
            let (got, said) = apply(&network, rules, &[]);
            assert_eq!(got, Some(code), "{hook}: {said}");
            for word in words {
                assert!(said.contains(word), "{hook}: `{word}` is not in {said}");
            }
            assert_eq!(talk.works(), BOTH, "{hook}: {said}");
        };
        fails(&(rules() + "alow app -> db\n"), 1, &["new.fw:7", "alow", "the one before stays"]);
        let test = "test \"no\" { app 10.0.10.7 -> db 10.0.20.7 udp 5000 = drop }\n";
        fails(&(rules() + test), 1, &["expected drop, got allow"]);
        fails(&rules().replace("eth3", "eth9"), 2, &["no interface `eth9`"]);
        network.must("fw", &["ip", "link", "add", "eth8", "type", "veth", "peer", "name", "eth8p"]);
        network.must("fw", &["ip", "address", "add", "192.0.2.1/24", "dev", "eth8"]);
        fails(&rules().replace("eth3", "eth8"), 2, &["`eth8` has kernel addresses (192.0.2.1/24)"]);
        fs::write(network.folder().join("latin1.fw"), b"# \xe9\n").expect("a file");
        let socket = network.socket();
        let output = network.vfw_run(&["apply", "latin1.fw", "--socket", socket.to_str().expect("UTF-8")]);
        assert!(output.status.code() == Some(1) && said(&output).contains("not UTF-8"), "{}", said(&output));
    }
    let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
    let (code, said) = apply(&network, &rules(), &[]);
    assert!(code == Some(2) && said.contains("cannot reach vfw"), "{said}");
}

/// Rules for ten thousand hosts, the last of which decides.
fn many(count: usize, last: &str) -> String {
    let mut text = ZONES.concat();
    for number in 0..count {
        let (high, low) = (number / 250, number % 250);
        writeln!(
            text,
            "drop app -> db  from 10.0.10.{low}  to 10.0.20.{}  service tcp {}",
            number % 200 + 20,
            1000 + high
        )
        .expect("a string grows");
    }
    text + last
}

#[test]
fn ten_thousand_rules_are_replaced() {
    let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
    fs::write(network.folder().join("rules.fw"), many(10_000, "allow app -> db  service udp\n"))
        .expect("the rule file");
    let _firewall = network.firewall(&mode("xdp"));
    let talk = Talk::new(&network, ("app", 4000), ("db", 5000));
    assert_eq!(talk.works(), BOTH);
    let answer = applied(&network, &many(10_000, "allow app -> db  service udp 5000\n"), &[]);
    assert_eq!(answer["summary"]["rules"], 10_001);
    println!("in force after {} ms, compiled in {} ms", answer["milliseconds"], answer["summary"]["compile_ms"]);
    assert_eq!(talk.works(), BOTH);
    applied(&network, &many(10_000, "drop app -> db  service udp\n"), &[]);
    assert_eq!(talk.works(), NONE);
}

/// The answer is there when the new policy is in force: what is sent after it does not arrive, and what was sent before the
/// first lost datagram does.
#[test]
fn a_forbidden_flow_stops_with_one_packet() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
        let _firewall = network.firewall(&mode(hook));
        let talk = Talk::new(&network, ("app", 4000), ("db", 5000));
        assert_eq!(talk.works(), BOTH, "{hook}");
        let (sent, ended) = (AtomicU32::new(0), AtomicBool::new(false));
        let (at_answer, arrived) = thread::scope(|scope| {
            let (sent, ended, talk) = (&sent, &ended, &talk);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    // Counted first: a datagram is never on its way before it counts as sent.
                    let number = sent.fetch_add(1, Ordering::SeqCst);
                    talk.client.send(&number.to_be_bytes()).expect("sends");
                    thread::sleep(Duration::from_micros(50));
                }
            });
            let arrived = scope.spawn(move || {
                let mut arrived = Vec::new();
                let mut number = [0; 4];
                while talk.server.recv(&mut number).is_ok() {
                    arrived.push(u32::from_be_bytes(number));
                }
                arrived
            });
            thread::sleep(Duration::from_millis(100));
            let forbidden = rules().replace("allow app -> db  service udp 5000", "drop app -> db  service udp 5000");
            assert_eq!(applied(&network, &forbidden, &[])["flows_cut"], 1, "{hook}");
            let at_answer = sent.load(Ordering::SeqCst);
            let arrived = arrived.join().expect("no panic");
            ended.store(true, Ordering::Relaxed);
            (at_answer, arrived)
        });
        let last = *arrived.last().expect("datagrams before");
        assert!(last > 0 && last < at_answer, "{hook}: {last} of {at_answer} sent before the answer");
        assert!(sent.into_inner() > at_answer, "{hook}: more were sent after it");
        assert!(arrived.iter().copied().eq(0..=last), "{hook}: one was lost before the last that arrived");
    }
}

#[test]
fn traffic_goes_on_while_policies_are_replaced() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
        let _firewall = network.firewall(&mode(hook));
        let streams = Stream::both_ways(&network, false, 5000, 500);
        for round in 0..50 {
            let extra = format!("allow app -> web  service tcp {}\n", 1000 + round);
            let text = if round % 2 == 0 { ZONES.concat() + &extra + RULES } else { rules() + &extra };
            assert_eq!(applied(&network, &text, &[])["flows_cut"], 0);
        }
        let tally: Tally = streams.into_iter().map(Stream::stop).sum();
        assert!(tally.sent > 200 && tally.lost() == 0 && tally.repeated == 0, "{hook}: {tally:?}");
    }
}
