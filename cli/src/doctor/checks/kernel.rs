//! The kernel: can it run the programs, and at full speed?

use super::{Check, Run, newer_kernel};
use crate::backend::afxdp::queue_bytes;
use crate::doctor::change::Change;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Remedy, Verdict};

pub(super) const CHECKS: [Check; 6] = [
    Check {
        name: "kernel",
        asks: "Is the kernel new enough?",
        why: "The programs need `bpf_loop` (Linux 5.17). Before 6.3 the kernel does not tell what a driver can do for XDP; before \
              6.6 tc programs hang at the `clsact` qdisc and not at tcx.",
        source: "kernel/bpf/bpf_iter.c (bpf_loop), net/core/netdev-genl.c, kernel/bpf/tcx.c",
        run: Run::Machine(version),
    },
    Check {
        name: "programs",
        asks: "Does the kernel take vfw's programs?",
        why: "They are loaded, attached to nothing, and taken away again: no list of features is as sure.",
        source: "tried",
        run: Run::Machine(programs),
    },
    Check {
        name: "btf",
        asks: "Does the kernel tell its types?",
        why: "Without `/sys/kernel/btf/vmlinux` tools such as bpftool cannot show what maps hold; vfw itself does not read it.",
        source: "Documentation/bpf/btf.rst",
        run: Run::Machine(btf),
    },
    Check {
        name: "jit",
        asks: "Are programs compiled to machine code, without extra hardening?",
        why: "An interpreted program takes several times as long for each packet. `bpf_jit_harden = 2` blinds the constants of \
              root's programs as well, which makes them longer.",
        source: "Documentation/admin-guide/sysctl/net.rst",
        run: Run::Machine(jit),
    },
    Check {
        name: "bpf-stats",
        asks: "Does the kernel measure each run of a program?",
        why: "It reads the clock twice for each packet then.",
        source: "Documentation/admin-guide/sysctl/kernel.rst",
        run: Run::Machine(statistics),
    },
    Check {
        name: "memlock",
        asks: "May the memory of maps and rings be locked?",
        why: "Before Linux 5.11 maps count against the limit of locked memory; the rings of `AF_XDP` do on all kernels, unless \
              the process has `CAP_IPC_LOCK`.",
        source: "net/xdp/xdp_umem.c (xdp_umem_account_pages); Linux 5.11 counts maps by memory cgroup",
        run: Run::Machine(memlock),
    },
];

fn version(facts: &Facts) -> Vec<Verdict> {
    let kernel = &facts.machine.kernel;
    vec![match facts.machine.version {
        None => Verdict::note(format!("the version of the kernel `{kernel}` is not known")),
        Some(version) if version < (5, 17) => {
            Verdict::error(format!("Linux {kernel} has no bpf_loop, which the programs call; 5.17 does"))
                .mend(newer_kernel())
        }
        Some(version) if version < (6, 3) => Verdict::note(format!(
            "Linux {kernel} does not tell what drivers can do for XDP (6.3 does): it is judged by the driver's name"
        )),
        Some(version) if version < (6, 6) => {
            Verdict::note(format!("Linux {kernel} has no tcx (6.6 has): tc programs hang at the clsact qdisc"))
        }
        Some(_) => Verdict::ok(format!("Linux {kernel} has tcx and tells what drivers can do")),
    }]
}

fn programs(facts: &Facts) -> Vec<Verdict> {
    let told = &facts.machine.programs;
    vec![match told.can {
        Some(true) => Verdict::ok(format!("the kernel takes the programs ({})", told.because)),
        Some(false) => {
            Verdict::error(format!("the kernel does not take the programs: {}; `vfw run` says more", told.because))
                .mend(newer_kernel())
        }
        None => Verdict::note(format!("whether the kernel takes the programs is not known: {}", told.because)),
    }]
}

fn btf(facts: &Facts) -> Vec<Verdict> {
    vec![if facts.machine.btf {
        Verdict::ok("the kernel tells its types (BTF)")
    } else {
        Verdict::note("the kernel does not tell its types (BTF): vfw works, bpftool shows less")
    }]
}

fn jit(facts: &Facts) -> Vec<Verdict> {
    let enable = |value: &str| Remedy::safe(Change::sysctl("net/core/bpf_jit_enable", value));
    let compiled = match facts.machine.jit {
        None => Verdict::note("the kernel does not say whether it compiles programs"),
        Some(0) => {
            Verdict::error("programs are interpreted: each packet takes several times as long").mend(enable("1"))
        }
        Some(1) => Verdict::ok("programs are compiled to machine code"),
        Some(_) => Verdict::warning("the compiler of programs writes each one to the kernel's log").mend(enable("1")),
    };
    let hardened = (facts.machine.jit_harden == Some(2)).then(|| {
        Verdict::warning("constants in root's programs are blinded: they are longer and slower")
            .mend(Remedy::here("sysctl -w net.core.bpf_jit_harden=1").but("still hardens the programs of other users"))
    });
    std::iter::once(compiled).chain(hardened).collect()
}

fn statistics(facts: &Facts) -> Vec<Verdict> {
    vec![match facts.machine.bpf_stats {
        Some(0) | None => Verdict::ok("the kernel does not measure each run of a program"),
        Some(_) => {
            Verdict::warning("the kernel measures each run of a program: two more looks at the clock per packet")
                .mend(Remedy::safe(Change::sysctl("kernel/bpf_stats_enabled", "0")))
        }
    }]
}

fn memlock(facts: &Facts) -> Vec<Verdict> {
    let limit = facts.machine.memlock;
    let Some(bytes) = limit.limit.filter(|_| !limit.exempt) else {
        return vec![Verdict::ok("memory can be locked without limit")];
    };
    let own = || facts.interfaces.iter().filter(|one| one.mode == crate::config::Mode::Afxdp);
    let queues: u64 = own().map(|one| u64::from(one.queues.map_or(1, |counts| counts.receive))).sum();
    let needed = queues * queue_bytes(own().map(|one| one.interface.mtu).max().unwrap_or(0));
    let raise = || Remedy::here("ulimit -l unlimited   # systemd: LimitMEMLOCK=infinity");
    vec![if facts.machine.version.is_some_and(|version| version < (5, 11)) {
        Verdict::error(format!("maps may take {bytes} bytes of locked memory, and need more")).mend(raise())
    } else if needed > bytes {
        Verdict::error(format!("{queues} AF_XDP queues lock {needed} bytes, and {bytes} are allowed")).mend(raise())
    } else {
        Verdict::ok("maps do not count as locked memory on this kernel, and AF_XDP rings fit")
    }]
}
