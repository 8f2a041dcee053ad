//! The rule table in user space beside the ACL library of DPDK: the same rules, the same headers.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use vfw::bench::classbench::{Header, Rule, first_match};
use vfw::bench::measure;
use vfw_tests::ruleset::{self, Class};

/// DPDK's own test of its library.
const PROGRAM: &str = "dpdk-test-acl";
/// Numbers of rules.
const SIZES: [usize; 2] = [1_000, 10_000];
/// What it says when no rule matches.
const NO_RULE: usize = u32::MAX as usize;
/// Runs over all headers.
const ITERATIONS: &str = "--iter=50";

/// What one rule set costs.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Kind of rules.
    pub class: String,
    /// Number of rules.
    pub rules: usize,
    /// Nanoseconds of a look-up by vfw.
    pub vfw_ns: f64,
    /// The same by DPDK, in bursts.
    pub dpdk_ns: f64,
}

/// Measures both; nothing when DPDK is not installed.
pub fn measure(cpu: usize, headers: usize) -> Result<Option<Vec<Row>>> {
    if Command::new(PROGRAM).arg("--version").output().is_err() {
        return Ok(None);
    }
    let folder = Folder::new()?;
    let mut rows = Vec::new();
    for class in Class::ALL {
        for count in SIZES {
            eprintln!("{class:?}, {count} rules in DPDK ...");
            let rules = ruleset::rules(class, false, count, 1_000 + count as u64);
            let headers = ruleset::headers(&rules, headers, 1);
            let found = measure::look_up(&rules, &measure::compile(&rules)?.forest, &headers)?;
            let dpdk_ns = look_up(cpu, &folder.0, &rules, &headers)?;
            rows.push(Row { class: format!("{class:?}").to_lowercase(), rules: count, vfw_ns: found.user_ns, dpdk_ns });
        }
    }
    Ok(Some(rows))
}

/// Nanoseconds of a look-up, after a check of all answers.
fn look_up(cpu: usize, folder: &Path, rules: &[Rule], headers: &[Header]) -> Result<f64> {
    let (rule_file, trace_file) = (folder.join("rules"), folder.join("trace"));
    fs::write(&rule_file, rules.iter().map(rule_line).collect::<String>())?;
    fs::write(&trace_file, headers.iter().map(header_line).collect::<Result<String>>()?)?;
    let output = Command::new(PROGRAM)
        .args(["--no-shconf", "--no-huge", "-m", "1024", "--no-pci", "-l", &cpu.to_string(), "--"])
        .arg(format!("--rulesf={}", rule_file.display()))
        .arg(format!("--tracef={}", trace_file.display()))
        .arg(ITERATIONS)
        .output()
        .with_context(|| format!("cannot run {PROGRAM}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{PROGRAM} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let results = text.lines().filter_map(result).take(headers.len());
    let results: Vec<usize> = results.map(|rule| if rule == NO_RULE { rules.len() } else { rule }).collect();
    ensure!(results.len() == headers.len(), "{PROGRAM} answered {} of {} headers", results.len(), headers.len());
    for (header, result) in headers.iter().zip(results) {
        let wanted = first_match(rules, header);
        ensure!(result == wanted, "{PROGRAM} finds rule {result} for {header:?}, which is {wanted}");
    }
    let rate =
        text.lines().rev().find_map(|line| line.strip_suffix(" pkt/sec")?.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(1e9 / rate.with_context(|| format!("{PROGRAM} names no rate"))?)
}

/// The rule in `ipv4_5tuple: 17, category: 0, result: 681`.
fn result(line: &str) -> Option<usize> {
    line.starts_with("ipv4_5tuple:").then(|| line.rsplit(' ').next()?.parse().ok())?
}

/// A line of a rule file in the format of ClassBench.
fn rule_line(rule: &Rule) -> String {
    let ((source, from), (destination, to)) = (rule.source, rule.destination);
    let ([s0, s1], [d0, d1]) = (rule.source_ports, rule.destination_ports);
    let protocol = rule.protocol.map_or_else(|| "0x00/0x00".to_owned(), |number| format!("{number:#04x}/0xff"));
    format!("@{source}/{from} {destination}/{to} {s0} : {s1} {d0} : {d1} {protocol}\n")
}

/// A line of a trace: decimal numbers.
fn header_line(header: &Header) -> Result<String> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (header.source, header.destination) else {
        bail!("{header:?} is not IPv4");
    };
    let (source, destination) = (u32::from(source), u32::from(destination));
    let Header { source_port, destination_port, protocol, .. } = header;
    Ok(format!("{source}\t{destination}\t{source_port}\t{destination_port}\t{protocol}\n"))
}

/// A folder for the time of the measurement.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("vfw-dpdk-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The figures as a table, at most 80 columns wide.
pub fn text(rows: Option<&[Row]>) -> String {
    let mut text = String::from("DPDK ACL, ns in user space: headers one by one in vfw, bursts of 256 in DPDK\n\n");
    let Some(rows) = rows else {
        let _ = writeln!(text, "  not measured: {PROGRAM} is not installed");
        return text;
    };
    text.push_str("  rules                vfw     DPDK\n");
    for Row { class, rules, vfw_ns, dpdk_ns } in rows {
        let _ = writeln!(text, "  {class:<7} {rules:>8} {vfw_ns:>7.0} {dpdk_ns:>8.0}");
    }
    text
}
