//! The topology's interfaces: veth pairs whose outer ends stand for the hosts' NICs, in a namespace of their own.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use vfw::compile::Link;
use vfw::interface::{inspect, set_feature};

use crate::raw_socket::RawSocket;
use crate::scenario::{INTERFACES, Interface};

/// Moves the calling thread into a namespace of its own and builds the topology there. The outer ends live in another
/// namespace, as VMs would; the sockets on them keep it alive.
pub fn build() -> (Vec<Link>, Vec<RawSocket>) {
    enter_new();
    let (to_outside, orders) = channel::<()>();
    let (report, from_outside) = channel();
    let outside = thread::spawn(move || {
        enter_new();
        report.send(gettid().as_raw()).expect("the other thread waits");
        orders.recv().expect("the order to go on");
        outer_ends()
    });
    let peer = from_outside.recv().expect("the other thread lives");
    ip(INTERFACES.iter().flat_map(|interface| inner_end(interface, peer)));
    to_outside.send(()).expect("the other thread waits");
    let sockets = outside.join().expect("builds the outer ends");
    ip(INTERFACES.iter().map(|interface| format!("link set {} up", interface.name)));
    (INTERFACES.iter().map(link).collect(), sockets)
}

fn enter_new() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
    // No frame of the kernel's own.
    for scope in ["all", "default"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1").expect("IPv6 can be disabled");
    }
}

fn outer(interface: &Interface) -> String {
    interface.name.replace("eth", "nic")
}

fn inner_end(interface: &Interface, peer: i32) -> [String; 1] {
    let mac = interface.mac.map(|byte| format!("{byte:02x}")).join(":");
    let (name, mtu) = (interface.name, interface.mtu);
    [format!("link add {name} mtu {mtu} address {mac} type veth peer name {} mtu {mtu} netns {peer}", outer(interface))]
}

fn outer_ends() -> Vec<RawSocket> {
    ip(INTERFACES.iter().map(|interface| format!("link set {} arp off promisc on up", outer(interface))));
    let open = |interface: &Interface| {
        let name = outer(interface);
        // XDP redirects into a veth only while its other end polls.
        set_feature(&name, "rx-gro", true).expect("veth has GRO");
        RawSocket::open(inspect(&name).expect("the outer end").index).expect("a raw socket")
    };
    INTERFACES.iter().map(open).collect()
}

fn link(interface: &Interface) -> Link {
    let found = inspect(interface.name).expect("the inner end");
    Link {
        name: interface.name.to_owned(),
        ifindex: found.index,
        mac: found.mac,
        mtu: interface.mtu,
        partial_checksums: interface.partial_checksums,
        peer: true,
        up: true,
        port: None,
        kernel_zones: Vec::new(),
    }
}

fn ip(commands: impl Iterator<Item = String>) {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2");
    let mut input = child.stdin.take().expect("piped");
    for command in commands {
        writeln!(input, "{command}").expect("ip reads");
    }
    drop(input);
    assert!(child.wait().expect("ip ends").success(), "ip failed");
}
