//! `vfw lab demo`: vfw at work between two real TCP stacks, shown step by step, measured, and cleaned up.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::lab::{NAME, spec};
use super::{Exit, Failure, STANDARD_INPUT, show};
use crate::config::SocketPath;
use crate::control::{Answer, Question, Request, ask};
use crate::lab::{Lab, LabGuard, LabSpec};
use crate::lang::{Loaded, SourceFile, ast::Statement, load, parse, print};

const EXAMPLE: &str = "\
Example:
  vfw lab demo

Exit code: 0 vfw did what the rules say, 1 it did not, 2 the system refused.";

/// `vfw lab demo`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Leave out the throughput comparison.
    #[arg(long)]
    pub quick: bool,
}

const RULES: &str = include_str!("../../../rules/examples/two-tier.fw");
const RULES_NAME: &str = "rules/examples/two-tier.fw";
/// How long a packet may take that is allowed, and how long to wait for one that is not.
const PATIENCE: Duration = Duration::from_secs(1);

/// One thing that the rules say, tried out.
struct Trial {
    from: &'static str,
    what: &'static str,
    address: &'static str,
    /// TCP port; ping without.
    port: Option<u16>,
    passes: bool,
}

const TRIALS: [Trial; 9] = [
    Trial { from: "app", what: "ping the gateway", address: "10.0.10.1", port: None, passes: true },
    Trial { from: "app", what: "ping the database", address: "10.0.20.7", port: None, passes: true },
    Trial { from: "app", what: "ping the database", address: "fd00:20::7", port: None, passes: true },
    Trial { from: "app", what: "tcp to PostgreSQL", address: "10.0.20.7", port: Some(5432), passes: true },
    Trial { from: "app", what: "tcp to PostgreSQL", address: "fd00:20::7", port: Some(5432), passes: true },
    Trial {
        from: "app",
        what: "tcp to ssh, not an administrator",
        address: "10.0.20.7",
        port: Some(22),
        passes: false,
    },
    Trial {
        from: "app",
        what: "tcp to ssh, not an administrator",
        address: "fd00:20::7",
        port: Some(22),
        passes: false,
    },
    Trial { from: "db", what: "tcp back to the application", address: "10.0.10.7", port: Some(5432), passes: false },
    Trial { from: "db", what: "ping the application", address: "fd00:10::7", port: None, passes: false },
];

/// Runs the demonstration.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let _guard = LabGuard::new(NAME).on_signals().map_err(Failure::refused)?;
    headline("1. Two VLANs and a firewall between them");
    println!("   app 10.0.10.7 --- vlan 10 --- [ vfw ] --- vlan 20 --- db 10.0.20.7");
    println!("   fd00:10::7              network namespaces             fd00:20::7\n");
    println!("   The rules ({RULES_NAME}):");
    for line in RULES.lines().filter(|line| ["allow", "default"].iter().any(|word| line.starts_with(word))) {
        println!("     {line}");
    }
    let as_expected = try_rules()?;
    if !arguments.quick {
        compare()?;
    }
    println!("\nCleaned up: no namespace, no program, no process is left.");
    Ok(if as_expected { 0 } else { Exit::BadInput as u8 })
}

fn headline(text: &str) {
    println!("\n{text}\n");
}

/// Brings the lab and vfw up, tries what the rules say, shows what vfw counted, and takes everything down.
fn try_rules() -> Result<bool, Failure> {
    let lab = Lab::up(&lab_spec(RULES)?).map_err(Failure::refused)?;
    let mut vfw = start(&lab, RULES)?;
    headline("2. What passes and what does not");
    listen(&lab, "app", &[5432])?;
    listen(&lab, "db", &[22, 5432])?;
    let mut as_expected = true;
    for trial in &TRIALS {
        as_expected &= attempt(&lab, trial)?;
    }
    headline("3. What vfw saw");
    for (question, title) in
        [(Question::Flows, "vfw show flows"), (Question::Rules, "vfw show rules"), (Question::Drops, "vfw show drops")]
    {
        let answer = ask(SocketPath::standard().as_path(), &Request::Show(question)).map_err(Failure::refused)?;
        let answer = with_file_name(answer);
        println!("$ {title}\n{}\n", show::table(&answer, false));
    }
    stop(&mut vfw)?;
    Lab::down(NAME).map_err(Failure::refused)?;
    Ok(as_expected)
}

/// The rules go in by standard input and are those of a file that the reader can open.
fn with_file_name(mut answer: Answer) -> Answer {
    let places: Vec<&mut String> = match &mut answer {
        Answer::Rules(rules) => rules.iter_mut().map(|rule| &mut rule.place).collect(),
        Answer::Drops(drops) => {
            let decided = drops.recent.iter_mut().filter_map(|drop| drop.decided.as_mut());
            decided.map(|rule| &mut rule.place).collect()
        }
        _ => Vec::new(),
    };
    for place in places {
        *place = place.replace(STANDARD_INPUT.1, RULES_NAME);
    }
    answer
}

fn lab_spec(rules: &str) -> Result<LabSpec, Failure> {
    let broken = |found: &crate::lang::Diagnostics| Failure {
        exit: Exit::BadInput,
        message: format!("the demonstration's rules are broken: {}", found.summary()),
    };
    let Loaded { policy, .. } = load(&[SourceFile::new(RULES_NAME, rules)]).map_err(|found| broken(&found))?;
    Ok(spec(&policy))
}

/// Starts vfw in the firewall's namespace and waits until its policy is in force. The rules go in by standard input, so
/// that no file is left when the demonstration is interrupted.
fn start(lab: &Lab, rules: &str) -> Result<Child, Failure> {
    let spawn = || -> io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", STANDARD_INPUT.0]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(rules.as_bytes())?;
        }
        Ok(child)
    };
    let mut child = lab.run("fw", spawn).map_err(Failure::refused)?.map_err(Failure::refused)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(SocketPath::standard().as_path(), &Request::Show(Question::Interfaces)).is_err() {
        if child.try_wait().map_err(Failure::refused)?.is_some() || Instant::now() > deadline {
            let _ = child.kill();
            return Err(Failure { exit: Exit::Refused, message: format!("vfw did not start: {}", last_words(child)) });
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Nobody reads its log from here on.
    drop(child.stderr.take());
    Ok(child)
}

fn last_words(mut child: Child) -> String {
    let mut text = String::new();
    if let Some(mut log) = child.stderr.take() {
        let _ = log.read_to_string(&mut text);
    }
    text
}

fn stop(vfw: &mut Child) -> Result<(), Failure> {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let pid = i32::try_from(vfw.id()).map_err(Failure::refused)?;
    kill(Pid::from_raw(pid), Signal::SIGINT).map_err(Failure::refused)?;
    vfw.wait().map(|_| ()).map_err(Failure::refused)
}

/// Servers that greet whoever connects, so that silence can only be the firewall's doing.
fn listen(lab: &Lab, host: &str, ports: &[u16]) -> Result<(), Failure> {
    for port in ports {
        let bind = || TcpListener::bind(("::", *port));
        let listener = lab.run(host, bind).map_err(Failure::refused)?.map_err(Failure::refused)?;
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"hello\n");
            }
        });
    }
    Ok(())
}

/// Tries one thing and says how it went.
fn attempt(lab: &Lab, trial: &Trial) -> Result<bool, Failure> {
    let passed = match trial.port {
        Some(port) => {
            let address: IpAddr =
                trial.address.parse().map_err(|error: std::net::AddrParseError| Failure::refused(error))?;
            lab.run(trial.from, || greets(SocketAddr::new(address, port)))
        }
        None => lab.run(trial.from, || pings(trial.address)),
    }
    .map_err(Failure::refused)?;
    let right = passed == trial.passes;
    let target = trial.port.map_or_else(|| trial.address.to_owned(), |port| format!("{} :{port}", trial.address));
    println!(
        "   {}  {:<3} {:<34} {:<18} {}",
        if right { "ok " } else { "BAD" },
        trial.from,
        trial.what,
        target,
        if passed { "passes" } else { "dropped" }
    );
    Ok(right)
}

fn pings(address: &str) -> bool {
    let status = Command::new("ping").args(["-c", "1", "-W", "1", address]).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn greets(address: SocketAddr) -> bool {
    let greeting = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    greeting().is_ok_and(|text| text == "hello\n")
}

/// Seconds of each measurement.
const SECONDS: &str = "2";
/// Measurements of each path; the median counts.
const ROUNDS: usize = 3;

/// Bulk TCP on the same wires: past everything, through vfw, through the kernel's routing.
fn compare() -> Result<(), Failure> {
    headline("4. Throughput of one TCP connection, 64 KB messages (iperf3)");
    let rules = untagged(RULES);
    let lab = Lab::up(&lab_spec(&rules)?).map_err(Failure::refused)?;
    serve_iperf(&lab)?;
    wire_directly(&lab)?;
    let direct = median(&lab, "192.0.2.2")?;
    let mut vfw = start(&lab, &rules)?;
    let through_vfw = median(&lab, "10.0.20.7")?;
    stop(&mut vfw)?;
    route_in_kernel(&lab)?;
    let through_linux = median(&lab, "10.0.20.7")?;
    for line in chart([("direct", direct), ("vfw", through_vfw), ("Linux routing", through_linux)]) {
        println!("{line}");
    }
    println!("\n   Medians of {ROUNDS} runs of {SECONDS} s; all hosts share this machine's cores.");
    Lab::down(NAME).map_err(Failure::refused)?;
    Ok(())
}

/// Marks of the longest bar.
const BAR: u8 = 36;

/// A line for each rate, with its share of the first one. Any path may be the fastest: bars are scaled to the longest.
fn chart(rates: [(&str, f64); 3]) -> [String; 3] {
    let [(_, direct), ..] = rates;
    let most = rates.iter().fold(direct, |most, (_, rate)| most.max(*rate));
    rates.map(|(name, rate)| {
        let marks = rate / most.max(1e-9) * f64::from(BAR);
        let bar: String = (1..=BAR).take_while(|mark| f64::from(*mark) <= marks).map(|_| '#').collect();
        format!("   {name:<14} {rate:>5.1} Gb/s  {:>5.2}  {bar}", rate / direct.max(1e-9))
    })
}

/// The same rules without VLANs: Linux needs a module for them that not every kernel has.
fn untagged(rules: &str) -> String {
    let Ok(mut statements) = parse(&SourceFile::new(RULES_NAME, rules)) else { return rules.to_owned() };
    for statement in &mut statements {
        if let Statement::Zone(zone) = statement {
            zone.vlan = None;
        }
    }
    print(&statements)
}

fn serve_iperf(lab: &Lab) -> Result<(), Failure> {
    let spawn = || {
        let mut server = Command::new("iperf3");
        server.args(["--server", "--port", "5432"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    lab.run("db", spawn).map_err(Failure::refused)?.map_err(|source| missing("iperf3", &source)).map(|_| ())
}

fn missing(program: &str, source: &io::Error) -> Failure {
    Failure { exit: Exit::Refused, message: format!("cannot run {program}: {source}\ninstall it, or use --quick") }
}

/// A cable from host to host.
fn wire_directly(lab: &Lab) -> Result<(), Failure> {
    let peer = lab.layout().namespace("db").unwrap_or_default().to_owned();
    ip(lab, "app", &["link", "add", "direct", "type", "veth", "peer", "name", "direct", "netns", &peer])?;
    for (host, address) in [("app", "192.0.2.1/30"), ("db", "192.0.2.2/30")] {
        ip(lab, host, &["address", "add", address, "dev", "direct"])?;
        ip(lab, host, &["link", "set", "direct", "up"])?;
    }
    Ok(())
}

/// Gives the gateway addresses to the kernel of the firewall's namespace.
fn route_in_kernel(lab: &Lab) -> Result<(), Failure> {
    for (interface, address) in [("eth1", "10.0.10.1/24"), ("eth2", "10.0.20.1/24")] {
        ip(lab, "fw", &["address", "add", address, "dev", interface])?;
        ip(lab, "fw", &["link", "set", interface, "up"])?;
    }
    let forward = || std::fs::write(Path::new("/proc/sys/net/ipv4/ip_forward"), "1");
    lab.run("fw", forward).map_err(Failure::refused)?.map_err(Failure::refused)
}

fn ip(lab: &Lab, place: &str, arguments: &[&str]) -> Result<(), Failure> {
    let output = lab.run(place, || Command::new("ip").args(arguments).output()).map_err(Failure::refused)?;
    let output = output.map_err(|source| missing("ip", &source))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure { exit: Exit::Refused, message: format!("ip {}: {reason}", arguments.join(" ")) })
}

/// Gigabits per second from `app` to `address`.
fn median(lab: &Lab, address: &str) -> Result<f64, Failure> {
    let mut rates = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rates.push(measure(lab, address)?);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[ROUNDS / 2])
}

fn measure(lab: &Lab, address: &str) -> Result<f64, Failure> {
    let client = || {
        let mut client = Command::new("iperf3");
        client.args(["--client", address, "--port", "5432", "--time", SECONDS, "--length", "64K", "--json"]).output()
    };
    // The server answers "busy" for a moment after each test.
    for _ in 0..20 {
        let output = lab.run("app", client).map_err(Failure::refused)?.map_err(|source| missing("iperf3", &source))?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if let Some(rate) = report.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64) {
            return Ok(rate / 1e9);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(Failure { exit: Exit::Refused, message: format!("iperf3 to {address} measures nothing") })
}

#[cfg(test)]
mod tests {
    use super::chart;

    #[test]
    fn bars_fit_80_columns_whatever_is_fastest() {
        let lines = chart([("direct", 10.5), ("vfw", 13.1), ("Linux routing", 12.7)]);
        assert_eq!(lines[1], format!("   vfw             13.1 Gb/s   1.25  {}", "#".repeat(36)));
        assert_eq!(lines[0], format!("   direct          10.5 Gb/s   1.00  {}", "#".repeat(28)));
        let extreme = chart([("direct", 0.1), ("vfw", 120.0), ("Linux routing", 0.0)]);
        assert!(extreme.iter().all(|line| line.len() <= 80), "{extreme:?}");
        assert_eq!(chart([("direct", 0.0), ("vfw", 0.0), ("Linux routing", 0.0)])[0].matches('#').count(), 0);
    }
}
