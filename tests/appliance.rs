//! The appliance: its image is built and booted between hosts on VLANs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use vfw_tests::machine::{Appliance, Hardware, Signer, available};
use vfw_tests::network::{Network, Shape};
use vfw_tests::terminal::Line;

/// Of all packages, and of the appliance.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What is behind the name of the disk in an OVA.
const DISK_IN_OVA: &str = "-disk1.vmdk";
const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");

const RULES: &str = "\
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  vlan 20  address 10.0.20.1/24, fd00:20::1/64 }
default drop
allow app -> db  service ping
";

/// A trunk with two zones, and an access port, whose switch takes the tag off.
const TRUNK_AND_ACCESS: &str = "\
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone ops { interface eth1  vlan 30  address 10.0.30.1/24, fd00:30::1/64 }
zone db  { interface eth2           address 10.0.20.1/24, fd00:20::1/64 }
service bench = tcp 5211-5212, udp 5212
default drop
allow app -> db   service ping, bench
allow app -> ops  service ping
";

/// The files of an appliance are called so, by the flavour that `build.sh` makes.
fn name() -> String {
    match std::env::var("FLAVOUR") {
        Ok(flavour) if !flavour.is_empty() => format!("vfw-{VERSION}-{flavour}"),
        _ => format!("vfw-{VERSION}"),
    }
}

/// The image, built once, as `make appliance` does, from a quick build.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| build("target/appliance-test"))
}

/// Builds all files of the appliance in a folder of the workspace; returns the image.
fn build(folder: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let folder = workspace.join(folder);
    let mut build = Command::new(workspace.join("appliance/build.sh"));
    build.arg(&folder).env("VFW_PROFILE", "dev");
    let output = build.output().expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join(name() + ".qcow2")
}

/// `#cloud-config` with a key, settings and rules.
fn user_data(key: &str, rules: &str) -> String {
    let rules = rules.replace('\n', "\n      ");
    format!(
        "#cloud-config\nssh_authorized_keys:\n  - {key}\nwrite_files:\n  - path: /etc/vfw/vfw.toml\n    content: mode = \"xdp\"\n  \
         - path: /etc/vfw/rules.fw\n    content: |\n      {rules}\n"
    )
}

fn pings(network: &Network, from: &str, to: &str, v6: bool) -> bool {
    let to = network.address(to, v6).to_string();
    // The first packets of a machine that is emulated on a busy host take their time.
    network.run(from, &["ping", "-n", "-c", "3", "-i", "0.2", "-W", "5", &to]).status.success()
}

/// What vfw says of its interfaces there.
fn interfaces(appliance: &Appliance) -> Vec<Value> {
    let said: Value = serde_json::from_str(&appliance.must("vfw show interfaces --json")).expect("JSON");
    said["interfaces"].as_array().expect("a list").clone()
}

/// Streams from one host to another one through the appliance, as the tutorial measures.
fn range_over_the_wire(network: &Network, from: &str, to: &str) {
    let token = network.folder().join("token");
    std::fs::write(&token, "a secret of thirty-two bytes at least\n").expect("a file");
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("permissions");
    let token = token.to_str().expect("UTF-8");
    let _server = network.serve(to, &[PROGRAM, "bench", "server", "--token-file", token], 5211);
    let address = network.address(to, false).to_string();
    let range = ["bench", "range", "--to", &address, "--token-file", token, "--sizes", "64,1024,16384"];
    let short = ["--seconds", "1", "--warm-up", "0.5", "--rounds", "1", "--protocols", "tcp,udp", "--json"];
    let client = network.start(from, &[&[PROGRAM], range.as_slice(), short.as_slice()].concat());
    let output = vfw_tests::network::finish(client, Duration::from_secs(300));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let results = report["results"].as_array().expect("a list");
    let rates: Vec<f64> = results.iter().filter_map(|result| result["mbps"].as_f64()).collect();
    assert!(rates.len() == 6 && rates.iter().all(|mbps| *mbps > 0.0), "{report}");
}

/// The kernel of the appliance neither forwards nor tracks connections, and logs are bounded.
fn what_the_kernel_leaves_to_vfw(appliance: &Appliance) {
    appliance
        .must("[ $(cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding | tr -d '\\n') = 00 ]");
    appliance.must("! grep -w nf_conntrack /proc/modules && systemctl is-active systemd-timesyncd");
    appliance.must("journalctl --header --no-pager | grep -q /var/log/journal && systemd-analyze cat-config systemd/journald.conf | grep -qx SystemMaxUse=64M");
}

#[test]
fn boots_with_a_seed_and_forwards() {
    if !available() {
        return;
    }
    let Some(network) = Shape::new(PROGRAM, TRUNK_AND_ACCESS).up() else { return };
    let key = Appliance::key(&network);
    let image = image();
    let network_config = "version: 2\nethernets:\n  eth0:\n    addresses: [10.0.2.15/24]\n    gateway4: 10.0.2.2\n";
    let seed = [
        ("user-data", user_data(&key, TRUNK_AND_ACCESS)),
        ("meta-data", "local-hostname: edge-1\n".to_owned()),
        ("network-config", network_config.to_owned()),
    ];
    let seed: Vec<(&str, &str)> = seed.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut appliance = Appliance::boot(&network, image, &seed, Hardware::Kvm);
    appliance.until("systemctl is-active vfw");
    assert_eq!(appliance.must("hostname").trim(), "edge-1");
    let interfaces = interfaces(&appliance);
    assert!(interfaces.len() == 2 && interfaces.iter().all(|interface| interface["hook"] == "xdp"), "{interfaces:?}");
    for v6 in [false, true] {
        for (from, to) in [("app", "db"), ("app", "ops")] {
            assert!(pings(&network, from, to, v6), "{from} -> {to}; IPv6: {v6}\n{}", appliance.must("vfw show drops"));
        }
        for (from, to) in [("db", "app"), ("ops", "app"), ("ops", "db")] {
            assert!(!pings(&network, from, to, v6), "{from} -> {to} is not allowed; IPv6: {v6}");
        }
    }
    appliance.until_console_shows("forwards by /etc/vfw/rules.fw (3 zones)");
    // Nothing above a note.
    appliance.must("vfw doctor");
    range_over_the_wire(&network, "app", "db");

    // At tc, where super-packets and unfinished checksums pass whole, from the next start of the machine on.
    appliance.must("echo 'mode = \"tc\"' >/etc/vfw/vfw.toml");
    appliance.ssh("systemctl reboot");
    appliance.until("vfw show interfaces --json | grep '\"hook\": \"tc\"'");
    appliance.must("vfw doctor");
    range_over_the_wire(&network, "app", "db");
    what_the_kernel_leaves_to_vfw(&appliance);

    // Other rules by reload, and a restart that nobody notices.
    appliance.must("echo 'allow db -> app  service ping' >>/etc/vfw/rules.fw && systemctl reload vfw");
    assert!(pings(&network, "db", "app", false), "allowed by the new rules");
    let to = network.address("db", false).to_string();
    let flow = network.start("app", &["ping", "-n", "-c", "40", "-i", "0.2", "-W", "30", &to]);
    appliance.must("systemctl restart vfw && systemctl is-active vfw");
    let flow = vfw_tests::network::finish(flow, Duration::from_secs(120));
    let said = String::from_utf8_lossy(&flow.stdout).into_owned();
    assert!(said.contains("40 packets transmitted, 40 received"), "{said}");

    // Stopping the service leaves forwarding, `vfw stop` ends it.
    appliance.must("systemctl stop vfw");
    assert!(pings(&network, "app", "db", false), "the service is stopped, forwarding goes on");
    appliance.must("vfw stop --config /etc/vfw/vfw.toml");
    assert!(!pings(&network, "app", "db", false), "forwarding has ended");
}

/// As a property of an OVA has a file.
fn base64(text: &str) -> String {
    let output = Command::new("sh").args(["-c", "printf %s \"$1\" | base64 -w0", "sh", text]).output().expect("base64");
    String::from_utf8(output.stdout).expect("ASCII")
}

/// The disk of the OVA, converted back.
fn disk_of_ova(folder: &Path) -> PathBuf {
    let script = "set -e; tar -xOf \"$1\" \"$2\" >disk.vmdk; qemu-img convert -O qcow2 disk.vmdk ova.qcow2";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(image().with_extension("ova")).arg(name() + DISK_IN_OVA).current_dir(folder);
    let output = command.output().expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("ova.qcow2")
}

#[test]
fn a_broken_seed_leaves_it_reachable_and_closed() {
    if !available() {
        return;
    }
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let key = Appliance::key(&network);
    let disk = disk_of_ova(network.folder());
    let property = |(key, value): (&str, &str)| format!("<Property oe:key=\"{key}\" oe:value=\"{value}\"/>");
    let rules = base64(&RULES.replace("drop", "dorp"));
    let settings = base64("mode = \"xdp\"\n");
    let properties = [
        ("ssh_keys", key.as_str()),
        ("hostname", "-"),
        ("address", "10.0.2.15"),
        ("rules", &rules),
        ("settings", &settings),
    ];
    let environment = format!(
        "<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" \
         xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\"><PropertySection>{}</PropertySection></Environment>",
        properties.map(property).concat()
    );
    let seed = [("ovf-env.xml", environment.as_str())];
    let mut appliance = Appliance::boot(&network, &disk, &seed, Hardware::Ova);
    appliance.until("systemctl is-failed vfw");
    for v6 in [false, true] {
        assert!(!pings(&network, "app", "db", v6), "IPv6: {v6}");
    }
    for text in ["CLOSED: vfw does not run", "rules.fw:3", "PROBLEM: properties of the", "ssh root@10.0.2.15"] {
        appliance.until_console_shows(text);
    }

    // Mended, it forwards.
    appliance.must("sed -i s/dorp/drop/ /etc/vfw/rules.fw && systemctl restart vfw && vfw doctor");
    let interfaces = interfaces(&appliance);
    let is_native = |interface: &Value| interface["driver"] == "vmxnet3" && interface["hook"] == "xdp";
    assert!(interfaces.len() == 2 && interfaces.iter().all(is_native), "{interfaces:?}");
    for v6 in [false, true] {
        assert!(pings(&network, "app", "db", v6), "allowed; IPv6: {v6}\n{}", appliance.must("vfw show drops"));
        assert!(!pings(&network, "db", "app", v6), "not allowed; IPv6: {v6}");
    }
}

/// GRUB asks for a name that there is not before it lets parameters of the kernel be changed; a slot can still be chosen.
fn nobody_edits_how_it_boots(console: &mut Line) {
    console.insist("e", "Enter username");
    console.send("\r");
    console.answer("Enter password", "");
    console.expect("access denied");
    console.insist("\r", "login: ");
}

#[test]
fn the_first_set_up_is_done_at_the_console() {
    if !available() {
        return;
    }
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let key = Appliance::key(&network);
    let mut appliance = Appliance::boot(&network, image(), &[], Hardware::Kvm);
    let mut console = appliance.sit_down();
    nobody_edits_how_it_boots(&mut console);
    appliance.until_console_shows("CLOSED: there are no rules yet");
    console.send("\r");
    // Given up half way, it begins anew.
    console.answer("login: ", "setup");
    console.answer("address, such as", "");
    console.answer("SSH public key", "");
    console.expect("Zone 1, name");
    console.insist("\x03", "No rules were written");
    console.send("\r");
    console.answer("login: ", "setup");
    // Answers to how it is reached are tried first.
    console.answer("address, such as", "192.0.2.10");
    console.answer("its router", "");
    console.answer("SSH public key", "no key");
    console.expect("Once more");
    console.answer("address, such as", "");
    console.answer("SSH public key", &key);
    console.expect("left out; management");
    for (number, zone, vlan) in [(1, "app", "10"), (2, "db", "20")] {
        console.answer(&format!("Zone {number}, name"), zone);
        console.answer("interface [", "");
        console.answer("VLAN (empty", vlan);
        console.answer("addresses of vfw", &format!("10.0.{vlan}.1/24, fd00:{vlan}::1/64"));
    }
    console.answer("Zone 3, name", "");
    console.answer("Router to everything else", "");
    console.answer("app -> db", "ping");
    console.answer("db -> app", "");
    assert!(!pings(&network, "app", "db", false), "closed until all is answered");
    console.answer("Write both files?", "yes");
    console.answer("vfw forwards.", "");
    for v6 in [false, true] {
        assert!(pings(&network, "app", "db", v6), "allowed; IPv6: {v6}\n{}", appliance.console());
        assert!(!pings(&network, "db", "app", v6), "not allowed; IPv6: {v6}");
    }

    // From now on it takes the key.
    console.answer("login: ", "setup");
    console.expect("There are rules already");
    console.send("\r");
    appliance.until("systemctl is-active vfw");
    appliance.until_console_shows("set up at the console");
    appliance.must("vfw check --config /etc/vfw/vfw.toml /etc/vfw/rules.fw");
}

#[test]
fn the_ova_is_whole_and_holds_the_same_disk() {
    if !available() {
        return;
    }
    let image = image();
    let folder = std::env::temp_dir().join(format!("vfw-ova-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    // The checksums of the manifest in the form of sha256sum.
    let script = "set -e
        tar --verbose -xf \"$1\"
        sed -n 's/^SHA256(\\(.*\\))= /\\1 /p' ./*.mf | while read -r file sum; do echo \"$sum  $file\"; done | sha256sum --quiet -c
        xmllint --noout ./*.ovf
        qemu-img check -q ./*.vmdk
        qemu-img compare -q ./*.vmdk \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(image.with_extension("ova")).arg(image).current_dir(&folder);
    let output = command.output().expect("sh");
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = [name() + ".ovf", name() + ".mf", name() + DISK_IN_OVA];
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), files);
}

#[test]
fn the_same_commit_gives_the_same_bytes() {
    if !available() {
        return;
    }
    let (first, second) = (image(), build("target/appliance-test-again"));
    for end in ["qcow2", "ova"] {
        let (first, second) = (first.with_extension(end), second.with_extension(end));
        let same = Command::new("cmp").arg(&first).arg(&second).output().expect("cmp");
        assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    }
    std::fs::remove_dir_all(second.parent().expect("a folder")).expect("the folder goes");
}

/// What the upgrade says; it is refused.
fn refused(appliance: &Appliance, file: &str) -> String {
    let output = appliance.ssh(&format!("vfw-upgrade {file} 2>&1"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("slot A goes on"), "{file}: {said}");
    said
}

/// Runs a line that ends with a restart, with which the connection may go.
fn restarted(appliance: &Appliance, line: &str) {
    let output = appliance.ssh(&format!("{line} 2>&1"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("The machine starts slot"), "{line}: {said}");
}

/// Waits until the machine says of its slots what this regular expression says.
fn settled(appliance: &mut Appliance, status: &str) {
    appliance.until(&format!("vfw-upgrade status | tr '\\n' ' ' | grep '{status}'"));
}

/// Not of this builder, not for this product, not whole.
fn what_is_not_whole_or_not_from_here_is_refused(appliance: &Appliance, network: &Network) {
    let file = |name: &str| network.folder().join(name);
    Signer::stranger(network.folder()).hollow("vfw-appliance-amd64", &file("stranger.raucb"));
    Signer::of_development().hollow("another-amd64", &file("product.raucb"));
    for name in ["stranger.raucb", "product.raucb"] {
        appliance.copy(&file(name), "/var/tmp/");
    }
    appliance
        .must("cd /var/tmp; cp good.raucb damaged.raucb; echo x | dd of=damaged.raucb bs=1 seek=2000000 conv=notrunc");
    appliance.must("head -c 1000000 /var/tmp/good.raucb >/var/tmp/short.raucb");
    for (name, why) in [
        ("stranger", "signature verification failed"),
        ("product", "Compatible mismatch"),
        ("damaged", "Input/output error"),
        ("short", "Invalid bundle format"),
    ] {
        let said = refused(appliance, &format!("/var/tmp/{name}.raucb"));
        assert!(said.contains(why), "{name}: {said}");
    }
}

fn workers_run_on_the_cpu_that_is_kept_for_them(appliance: &Appliance, network: &Network) {
    let settings = "mode = \\\"afxdp\\\"\\n[afxdp]\\ncpus = [1]\\n";
    let restart = "systemctl restart vfw && systemctl is-active vfw";
    appliance.must(&format!("cp /etc/vfw/vfw.toml /tmp/ && printf \"{settings}\" >/etc/vfw/vfw.toml && {restart}"));
    let interfaces = interfaces(appliance);
    let is_there = |interface: &Value| interface["reasons"].to_string().contains("one worker, on CPU 1");
    assert!(interfaces.len() == 2 && interfaces.iter().all(is_there), "{interfaces:?}");
    appliance.must("grep -qx 1 /sys/devices/system/cpu/nohz_full");
    let worker = "$(dirname $(grep -lx afxdp /proc/$(pidof vfw)/task/*/comm))";
    appliance.must(&format!("grep -Eqx 'Cpus_allowed_list:[[:space:]]*1' {worker}/status"));
    assert!(pings(network, "app", "db", false) && pings(network, "db", "app", false), "through the worker");
    appliance.must(&format!("cp /tmp/vfw.toml /etc/vfw/ && {restart} && vfw-isolate none"));
}

#[test]
fn an_upgrade_keeps_the_configuration_and_goes_back_when_it_fails() {
    if !available() {
        return;
    }
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let key = Appliance::key(&network);
    let image = image();
    let good = image.with_extension("raucb");
    let user_data = user_data(&key, RULES);
    let seed = [("user-data", user_data.as_str()), ("meta-data", "local-hostname: edge-1\n")];
    // Not UEFI: QEMU 7.2 without KVM hangs there when a machine with several processors starts again.
    let mut appliance = Appliance::boot(&network, image, &seed, Hardware::Kvm);
    appliance.until("systemctl is-active vfw");
    let nothing = format!("slot A runs: vfw {VERSION}; slot B: nothing that could start\n");
    assert_eq!(appliance.must("vfw-upgrade status"), nothing);

    appliance.copy(&good, "/var/tmp/good.raucb");
    what_is_not_whole_or_not_from_here_is_refused(&appliance, &network);
    // Rules that nobody would take after the upgrade.
    appliance.must("cp /etc/vfw/rules.fw /tmp/ && echo nonsense >>/etc/vfw/rules.fw");
    let said = refused(&appliance, "/var/tmp/good.raucb");
    assert!(said.contains("rules.fw:5") && said.contains("does not take the rules of this machine"), "{said}");
    appliance.must("cp /tmp/rules.fw /etc/vfw/");

    // What is kept is what the machine has, not what the seed said.
    appliance.must("echo 'allow db -> app  service ping' >>/etc/vfw/rules.fw && systemctl reload vfw");
    let own = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key /etc/hostname /etc/vfw/vfw.toml";
    let before = appliance.must(own);
    for (wrong, why) in [("0-1", "leave it out"), ("1-0", "comes before"), ("1,2", "there is no CPU 2"), ("x", "usage")]
    {
        let output = appliance.ssh(&format!("vfw-isolate {wrong} 2>&1"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && said.contains(why), "{wrong}: {said}");
    }
    assert!(appliance.must("vfw-isolate 1").contains("cpus = [1]"));
    restarted(&appliance, "vfw-upgrade /var/tmp/good.raucb");
    settled(&mut appliance, &format!("slot B runs: vfw {VERSION}; slot A: vfw {VERSION} .*: in use"));
    assert_eq!(appliance.must(own), before);
    appliance.must("grep -w vfw.trial /proc/cmdline");
    assert!(appliance.must("cat /run/vfw-seed/report").contains("the seed was used before"));
    assert!(pings(&network, "app", "db", false) && pings(&network, "db", "app", false), "the rules of the machine");
    assert_eq!(appliance.must("vfw-isolate status"), "kept now: 1; from the next start on: 1\n");
    workers_run_on_the_cpu_that_is_kept_for_them(&appliance, &network);

    // The power goes while GRUB's variables are written: the slot that was good is known from a copy.
    appliance.ssh("head -c 1024 /dev/zero >/boot/efi/grubenv && systemctl reboot");
    appliance.until("journalctl --boot --unit=vfw-trial --no-pager | grep 'its copy takes its place'");
    settled(&mut appliance, "slot B runs: .*: in use");
    appliance.must("! grep -w vfw.trial /proc/cmdline");

    // Back, to the rules that were there.
    restarted(&appliance, "vfw-upgrade back");
    settled(&mut appliance, "slot A runs: .* in slot A: in use");
    assert!(pings(&network, "app", "db", false));

    // An upgrade whose vfw does not come up.
    let broken = [
        ("/etc/vfw-release", "VFW_APPLIANCE=9.9.9\n"),
        ("/etc/systemd/system/vfw.service.d/broken.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n"),
    ];
    let bundle = network.folder().join("broken.raucb");
    Signer::of_development().changed(&good, &broken, &bundle);
    appliance.must("rm /var/tmp/*.raucb");
    appliance.copy(&bundle, "/var/tmp/");
    restarted(&appliance, "vfw-upgrade /var/tmp/broken.raucb");
    settled(&mut appliance, "slot A runs: .* vfw 9.9.9 in slot B: went back: vfw does not run");
    appliance.until("systemctl is-active vfw");
    assert!(pings(&network, "app", "db", false), "the old one forwards");
    appliance.until_console_shows("upgrade to vfw 9.9.9 in slot B: went back");
}
