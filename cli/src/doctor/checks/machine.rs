//! What else the machine does that costs packets time.

use super::{Check, Run};
use crate::doctor::change::Change;
use crate::doctor::facts::{Facts, Platform};
use crate::doctor::finding::{Remedy, Verdict};

pub(super) const CHECKS: [Check; 8] = [
    Check {
        name: "missing",
        asks: "Are the interfaces there that the rules name?",
        why: "vfw does not start when an interface is missing that it has never had.",
        source: "docs/restart.md",
        run: Run::Machine(missing),
    },
    Check {
        name: "governor",
        asks: "Do the CPUs run at full speed?",
        why: "A CPU that sleeps or clocks down between packets answers the next one late. Under intel_pstate `powersave` is \
              dynamic and mild; elsewhere it is the lowest clock.",
        source: "Documentation/admin-guide/pm/cpufreq.rst",
        run: Run::Machine(governor),
    },
    Check {
        name: "irqbalance",
        asks: "Does irqbalance move interrupts?",
        why: "It moves the queues of a NIC from CPU to CPU while flows are in their caches, and undoes what an operator has set.",
        source: "man irqbalance",
        run: Run::Machine(irqbalance),
    },
    Check {
        name: "mitigations",
        asks: "Do indirect calls cost more?",
        why: "With retpolines each indirect call takes longer. The call of an XDP program is a direct jump since Linux 5.6; those of \
              the driver and of the stack around tc programs are not.",
        source: "Documentation/admin-guide/hw-vuln/spectre.rst; kernel/bpf/dispatcher.c",
        run: Run::Machine(mitigations),
    },
    Check {
        name: "clock",
        asks: "Is reading the time cheap?",
        why: "The programs read it once for each packet: some 20 ns with tsc or kvm-clock, a microsecond or more with hpet or \
              acpi_pm.",
        source: "Documentation/virt/kvm/x86/timekeeping.rst; firewall-core (the clock of a flow)",
        run: Run::Machine(clock),
    },
    Check {
        name: "time",
        asks: "Does the clock follow a server?",
        why: "Logs and drops are told with the time of day; flows use a clock that is never set.",
        source: "adjtimex(2)",
        run: Run::Machine(time),
    },
    Check {
        name: "conntrack",
        asks: "Is the kernel's connection tracking loaded?",
        why: "vfw has its own, before the kernel's. What passes through vfw is not slower for it; the host's own traffic is.",
        source: "Documentation/networking/nf_conntrack-sysctl.rst",
        run: Run::Machine(conntrack),
    },
    Check {
        name: "backlog",
        asks: "Has the kernel dropped frames between driver and stack?",
        why: "Frames that come in through veth, RPS or generic XDP wait in a queue for each CPU, which drops when it is full.",
        source: "net/core/dev.c (enqueue_to_backlog); /proc/net/softnet_stat",
        run: Run::Machine(backlog),
    },
];

fn missing(facts: &Facts) -> Vec<Verdict> {
    facts.missing.iter().map(|missing| Verdict::error(missing.reason.clone())).collect()
}

fn governor(facts: &Facts) -> Vec<Verdict> {
    let governors = &facts.machine.governors;
    if governors.is_empty() {
        let host = match facts.machine.platform {
            Platform::Physical => "the kernel does not change the clock of the CPUs",
            _ => "the clock of the CPUs is the host's business: have it use the governor `performance` there, too",
        };
        return vec![Verdict::ok(host)];
    }
    vec![if governors.iter().all(|governor| governor == "performance") {
        Verdict::ok("the CPUs run at full speed")
    } else {
        Verdict::warning(format!("the CPUs change their clock (governor {})", governors.join(", ")))
            .mend(Remedy::here("cpupower frequency-set -g performance").but("takes more power"))
    }]
}

fn irqbalance(facts: &Facts) -> Vec<Verdict> {
    vec![match (facts.machine.irqbalance, facts.machine.cpus) {
        (false, _) => Verdict::ok("irqbalance does not run"),
        (true, 1) => Verdict::note("irqbalance runs on a machine with one CPU: it does nothing"),
        (true, _) => Verdict::warning("irqbalance moves interrupts from CPU to CPU, and undoes what is set by hand")
            .mend(
                Remedy::here("systemctl disable --now irqbalance")
                    .but("then spread the interrupts by hand (check `irq`)"),
            ),
    }]
}

fn mitigations(facts: &Facts) -> Vec<Verdict> {
    let Some(told) = &facts.machine.spectre_v2 else { return Vec::new() };
    vec![if told.contains("Retpoline") {
        Verdict::note(
            "indirect calls go through retpolines, which costs the driver and the stack around tc time for each packet; \
             measure (`vfw bench`) before you trade safety for it",
        )
    } else {
        Verdict::ok(format!("indirect calls are not slowed down by retpolines ({told})"))
    }]
}

fn clock(facts: &Facts) -> Vec<Verdict> {
    let Some(clock) = &facts.machine.clock else { return Vec::new() };
    let current = clock.current.as_str();
    let cheap = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];
    if cheap.contains(&current) {
        return vec![Verdict::ok(format!("reading the time is cheap ({current})"))];
    }
    let better = cheap.into_iter().find(|name| clock.available.iter().any(|available| available == name));
    let verdict = Verdict::warning(format!("reading the time, once per packet, is slow ({current})"));
    vec![match better {
        Some(better) => verdict.mend(Remedy::safe(Change::Setting {
            file: "/sys/devices/system/clocksource/clocksource0/current_clocksource".to_owned(),
            value: better.to_owned(),
        })),
        None => verdict.mend(Remedy::here("dmesg | grep -i tsc   # says why the kernel does not trust it")),
    }]
}

fn time(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.machine.clock_follows {
        None => return Vec::new(),
        Some(true) => Verdict::ok("the clock follows a time server"),
        Some(false) => Verdict::note("no time server sets the clock: the times in logs may be wrong")
            .mend(Remedy::here("apt install systemd-timesyncd && timedatectl set-ntp true")),
    }]
}

fn conntrack(facts: &Facts) -> Vec<Verdict> {
    let Some(conntrack) = &facts.machine.conntrack else {
        return vec![Verdict::ok("the kernel's connection tracking is not loaded")];
    };
    let entries = conntrack.entries;
    vec![if conntrack.is_module && conntrack.users.is_empty() && entries == 0 {
        Verdict::note("the kernel's connection tracking is loaded for nothing")
            .mend(Remedy::here("modprobe -r nf_conntrack"))
    } else if conntrack.users.is_empty() {
        Verdict::note(format!(
            "the kernel's connection tracking is part of it; its {entries} connections are none of vfw's"
        ))
    } else {
        let users = conntrack.users.join(", ");
        Verdict::note(format!(
            "the kernel's connection tracking serves {users}; its {entries} connections are none of vfw's"
        ))
    }]
}

fn backlog(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.machine.backlog_dropped {
        0 => Verdict::ok("no frame was dropped between driver and stack"),
        count => {
            Verdict::note(format!("{count} frames were dropped between driver and stack since the machine started"))
                .mend(Remedy::here("sysctl -w net.core.netdev_max_backlog=10000"))
        }
    }]
}
