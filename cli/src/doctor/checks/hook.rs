//! The hook: which one, why, and who else is there.

use super::{Check, Run, peer_command};
use crate::config::Mode;
use crate::doctor::change::Change;
use crate::doctor::facts::{Facts, InterfaceFacts, Program};
use crate::doctor::finding::{Place, Remedy, Verdict};
use crate::interface::{Hook, Peer, XdpPlace, hazard};

pub(super) const CHECKS: [Check; 4] = [
    Check {
        name: "hook",
        asks: "Which hook do the settings lead to, and can it be had?",
        why: "The same rules decide as when vfw starts.",
        source: "docs/vfw.toml.md; cli/src/interface/choose.rs",
        run: Run::Interface(hook),
    },
    Check {
        name: "hazards",
        asks: "What has to be seen to for that hook?",
        why: "Tags and checksums that a sender leaves to hardware are not in the frame that XDP sees; a veth takes redirected frames \
              only while its peer polls.",
        source: "cli/src/interface/choose.rs; drivers/net/veth.c (veth_xdp_xmit)",
        run: Run::Interface(hazards),
    },
    Check {
        name: "in-use",
        asks: "Do vfw's programs hang where they should?",
        why: "What the daemon says is compared with what the kernel says.",
        source: "`vfw show interfaces`; IFLA_XDP, BPF_PROG_QUERY, tc filters",
        run: Run::Interface(in_use),
    },
    Check {
        name: "others",
        asks: "Do programs of others hang there?",
        why: "An interface has one XDP program; at tcx those before vfw's decide first.",
        source: "net/core/dev.c (dev_xdp_attach), kernel/bpf/tcx.c",
        run: Run::Interface(others),
    },
];

fn hook(_: &Facts, interface: &InterfaceFacts) -> Vec<Verdict> {
    let mode = interface.mode;
    match interface.choice() {
        Ok(choice) => {
            let why = choice.reasons.join("; ");
            vec![Verdict::ok(match mode {
                Mode::Auto => format!("auto picks {}: {why}", choice.name()),
                _ => format!("{}: {why}", choice.name()),
            })]
        }
        Err(error) => {
            let name = interface.name();
            let settings = format!("[interface.{name}]\nmode = \"tc\"");
            vec![Verdict::error(error.to_string()).mend(Remedy::new(Place::Settings, settings))]
        }
    }
}

fn hazards(_: &Facts, interface: &InterfaceFacts) -> Vec<Verdict> {
    let Ok(choice) = interface.choice() else { return Vec::new() };
    choice.warnings.iter().filter_map(|warning| hazard_verdict(interface, warning)).collect()
}

fn hazard_verdict(interface: &InterfaceFacts, warning: &str) -> Option<Verdict> {
    Some(match warning {
        // It has a check of its own.
        hazard::LRO => return None,
        hazard::PEER_DOES_NOT_POLL => Verdict::error(warning).mend(at_peer(interface, "rx-gro", true)),
        hazard::TAGS_BESIDE_FRAMES => Verdict::warning(warning).mend(at_peer(interface, "tx-vlan-hw-insert", false)),
        hazard::TAGS_COUNT_AS_NONE | hazard::CUT_AT_PEER => Verdict::note(warning),
        _ => Verdict::warning(warning),
    })
}

/// An offload of the other end of a veth pair: changed from here when it is here, too.
fn at_peer(interface: &InterfaceFacts, feature: &'static str, on: bool) -> Remedy {
    let change = |name: &str| Change::offload(name, feature, on);
    match &interface.peer {
        Some(Peer { name, namespace: None, .. }) => Remedy::safe(change(name)),
        Some(Peer { name, namespace: Some(_), .. }) => peer_command(interface, &change(name).command()),
        None => peer_command(interface, &change("PEER").command()),
    }
}

fn in_use(facts: &Facts, interface: &InterfaceFacts) -> Vec<Verdict> {
    let (name, programs) = (interface.name(), &interface.programs);
    let is_own = |program: &Program| program.own;
    let hangs = programs.xdp.iter().any(|(_, program)| is_own(program))
        || programs.tcx.iter().chain(&programs.clsact).any(is_own);
    vec![match (&interface.running, hangs) {
        (Some(running), true) => {
            let hook = running.hook.as_deref().unwrap_or("none");
            let frames = running.frames.as_deref().map_or(String::new(), |frames| format!(", frames by {frames}"));
            Verdict::ok(format!("vfw runs with the hook {hook}{frames}, and its program hangs there"))
        }
        (Some(running), false) if running.state == "up" => {
            Verdict::error("vfw says that it has this interface, and no program of it hangs there")
                .mend(Remedy::here("vfw run --config /etc/vfw/vfw.toml RULES   # after ending the one that runs"))
        }
        (Some(running), false) => Verdict::warning(format!("vfw runs, and the interface is {}", running.state)),
        (None, true) if !facts.vfw_runs => {
            Verdict::warning("programs of vfw forward here, and no vfw runs that resolves neighbours for them")
                .mend(Remedy::here("vfw run --config /etc/vfw/vfw.toml RULES   # goes on with them"))
                .mend(Remedy::here("vfw stop   # takes them off"))
        }
        (None, true) => Verdict::warning(format!("programs of another vfw hang on {name}")),
        (None, false) => return Vec::new(),
    }]
}

fn others(_: &Facts, interface: &InterfaceFacts) -> Vec<Verdict> {
    let programs = &interface.programs;
    let mut found: Vec<Verdict> = programs
        .xdp
        .iter()
        .filter(|(_, program)| !program.own)
        .map(|(place, one)| xdp(interface, *place, one))
        .collect();
    let before_own = programs.tcx.iter().take_while(|program| !program.own);
    found.extend(before_own.map(|program| tcx(interface, program)));
    let filters = programs.clsact.iter().filter(|program| !program.own);
    found.extend(filters.map(|program| filter(interface, program)));
    if interface.hook() == Some(Hook::Tc) {
        found.extend(programs.egress.iter().map(|program| egress(interface, program)));
    }
    if found.is_empty() { vec![Verdict::ok("no program of others hangs there")] } else { found }
}

fn xdp(interface: &InterfaceFacts, place: XdpPlace, program: &Program) -> Verdict {
    let name = &program.name;
    let verdict = if interface.hook() == Some(Hook::Xdp) {
        Verdict::error(format!("the XDP program `{name}` hangs there: vfw cannot attach its own"))
    } else {
        Verdict::warning(format!("the XDP program `{name}` sees each frame before vfw"))
    };
    let way = match place {
        XdpPlace::Native => "xdpdrv",
        XdpPlace::Generic => "xdpgeneric",
        XdpPlace::Hardware => "xdpoffload",
    };
    let off = Remedy::here(format!("ip link set dev {} {way} off", interface.name()));
    verdict.mend(off.but("ends what that program does; one that is held by a link goes with its owner"))
}

fn tcx(interface: &InterfaceFacts, program: &Program) -> Verdict {
    Verdict::warning(format!("the tcx program `{}` sees each frame before vfw", program.name))
        .mend(Remedy::here(format!("bpftool net show dev {}   # says whose it is", interface.name())))
}

fn egress(interface: &InterfaceFacts, program: &Program) -> Verdict {
    Verdict::note(format!("the tcx program `{}` sees what vfw sends here", program.name))
        .mend(Remedy::here(format!("bpftool net show dev {}   # says whose it is", interface.name())))
}

fn filter(interface: &InterfaceFacts, program: &Program) -> Verdict {
    let name = interface.name();
    Verdict::note(format!("the tc filter `{}` hangs there; at tcx, vfw decides before it", program.name))
        .mend(Remedy::here(format!("tc filter show dev {name} ingress   # says what it does")))
}
