//! Both ends on the loopback interface of a namespace of their own.

mod hostile;

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::message::{Limits, PORT, UDP_LARGEST};
use super::{Agent, Running, Server, Timing, Token};
use crate::bench::report::Protocol;

const TOKEN: &[u8] = b"the token of these tests";
const LIMITS: Limits = Limits { seconds: 10, bytes: 1 << 36 };
const SHORT: Timing = Timing { warm_up: Duration::from_millis(20), measured: Duration::from_millis(100) };

/// Calls `work` in a namespace whose loopback interface is up. Without root, the test ends as skipped.
fn alone(work: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2");
        assert!(up.success());
        work();
    };
    if let Err(panic) = thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

fn address(v6: bool) -> SocketAddr {
    let ip: std::net::IpAddr = if v6 { "::1" } else { "127.0.0.1" }.parse().expect("an address");
    (ip, PORT).into()
}

fn serve(listen: &str, limits: Limits) -> Running {
    let server = Server::bind(listen.parse().expect("an address"), Token::from_bytes(TOKEN), limits).expect("listens");
    server.start().expect("a thread")
}

fn agent(v6: bool) -> Agent {
    Agent::new(vec![address(v6)], Token::from_bytes(TOKEN))
}

#[test]
fn streams_are_measured_over_both_protocols_and_families() {
    alone(|| {
        let _server = serve("[::]:5211", LIMITS);
        for (v6, size) in [(false, 1), (true, 1000), (false, 65_536)] {
            let found = agent(v6).stream(Protocol::Tcp, size, SHORT).expect("a measurement");
            assert!(found.mbps > 0.1 && found.retransmits.is_some() && found.loss.is_none(), "{found:?}");
            // Nothing moves without work; two ends on one machine cannot have used more than it has.
            let cpus = found.cpu_s_per_gbit.expect("the CPU time") * found.mbps / 1e3;
            let most = thread::available_parallelism().expect("CPUs").get() as f64;
            assert!(cpus > 0.05 && cpus < most * 1.3, "{cpus} CPUs of {most}: {found:?}");
        }
        for (v6, size) in [(false, 1), (true, 1000), (false, UDP_LARGEST)] {
            let found = agent(v6).stream(Protocol::Udp, size, SHORT).expect("a measurement");
            assert!(found.mbps > 0.1 && found.retransmits.is_none(), "{found:?}");
            assert!(found.loss.is_some_and(|loss| (0.0..1.0).contains(&loss)), "{found:?}");
        }
    });
}

#[test]
fn transactions_and_connections_are_measured() {
    alone(|| {
        let _server = serve("[::]:5211", LIMITS);
        for v6 in [false, true] {
            let measured = [
                agent(v6).exchange(Protocol::Tcp, 1, SHORT).expect("a measurement"),
                agent(v6).exchange(Protocol::Tcp, 20_000, SHORT).expect("a measurement"),
                agent(v6).exchange(Protocol::Udp, 1, SHORT).expect("a measurement"),
                agent(v6).exchange(Protocol::Udp, 9_000, SHORT).expect("a measurement"),
                agent(v6).connections(SHORT).expect("a measurement"),
            ];
            for (number, latencies) in measured.iter().enumerate() {
                assert_eq!(latencies.failed, 0, "{number}");
                assert!(
                    latencies.count() > 10 && latencies.elapsed > SHORT.measured / 2,
                    "{number}: {:?}",
                    latencies.elapsed
                );
                let quantiles = [0.5, 0.9, 0.99, 0.999].map(|share| latencies.quantile_us(share));
                assert!(quantiles.is_sorted() && quantiles[0] > 0.1, "{number}: {quantiles:?}");
                // One after the other: the mean time is what the rate leaves.
                assert!(quantiles[0] <= 2e6 / latencies.rate(), "{number}: {quantiles:?}, {}/s", latencies.rate());
            }
        }
    });
}

/// What a sender has in its buffers at the end takes seconds over a slow link.
#[test]
fn slow_links_are_measured() {
    alone(|| {
        let slow = ["qdisc", "add", "dev", "lo", "root", "tbf", "rate", "4mbit", "burst", "100k", "latency", "200ms"];
        if !Command::new("tc").args(slow).status().expect("iproute2").success() {
            eprintln!("SKIPPED: the kernel has no token bucket filter");
            return;
        }
        let _server = serve("127.0.0.1:5211", LIMITS);
        let timing = Timing { warm_up: Duration::from_millis(500), measured: Duration::from_secs(1) };
        let found = agent(false).stream(Protocol::Tcp, 65_536, timing).expect("a measurement");
        assert!((1.0..8.0).contains(&found.mbps), "{found:?}");
    });
}

#[test]
fn a_server_measures_again_and_again() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        for _ in 0..5 {
            agent(false).stream(Protocol::Tcp, 1 << 20, SHORT).expect("a measurement");
            agent(false).exchange(Protocol::Udp, 100, SHORT).expect("a measurement");
        }
    });
}
