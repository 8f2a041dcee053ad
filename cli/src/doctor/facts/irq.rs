//! Interrupts of an interface, and how its queues are polled.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Irq, Napi};
use crate::interface::sysfs::{line, names, value};

/// Interrupts of the queues of the interface whose folder this is: those that its PCI device has, but for those that tell of
/// changes only.
pub(super) fn irqs(folder: &Path) -> Vec<Irq> {
    let device = folder.join("device");
    // A virtio device sits on a PCI device, which has them.
    let own = names(device.join("msi_irqs"));
    let numbers =
        if own.is_empty() { names(fs::canonicalize(device).unwrap_or_default().join("../msi_irqs")) } else { own };
    let known = interrupts(&fs::read_to_string("/proc/interrupts").unwrap_or_default());
    let numbers = numbers.iter().filter_map(|number| number.parse().ok());
    numbers.filter_map(|number| Some(irq(number, known.get(&number)?))).filter(|irq| is_of_queue(&irq.name)).collect()
}

/// What is set counts where it is one CPU: an interrupt moves there only when it comes the next time.
fn irq(number: u32, name: &str) -> Irq {
    let set = line(format!("/proc/irq/{number}/smp_affinity_list")).unwrap_or_default();
    let effective = || line(format!("/proc/irq/{number}/effective_affinity_list")).filter(|list| !list.is_empty());
    let is_one = set.parse::<u32>().is_ok();
    let cpus = if is_one { set } else { effective().unwrap_or(set) };
    Irq { number, name: name.to_owned(), cpus }
}

/// Numbers and names of the interrupts in `/proc/interrupts`.
fn interrupts(text: &str) -> BTreeMap<u32, String> {
    let lines = text.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        Some((number.trim().parse().ok()?, rest.split_whitespace().next_back()?.to_owned()))
    });
    lines.collect()
}

fn is_of_queue(name: &str) -> bool {
    ["config", "control", "async", "mgmnt", "misc", "event"].iter().all(|other| !name.contains(other))
}

/// How the queues of the interface whose folder this is are polled.
pub(super) fn napi(folder: &Path) -> Option<Napi> {
    Some(Napi {
        threaded: value::<u32>(folder.join("threaded")).is_some_and(|threaded| threaded != 0),
        flush_timeout: value(folder.join("gro_flush_timeout"))?,
        defer_hard_irqs: value(folder.join("napi_defer_hard_irqs")).unwrap_or_default(),
    })
}

/// For each queue of a kind (`rx-`, `tx-`), a set of CPUs as a mask.
pub(super) fn masks(folder: &Path, kind: &str, file: &str) -> Vec<String> {
    let queues = folder.join("queues");
    let names = names(&queues).into_iter().filter(|name| name.starts_with(kind));
    names.filter_map(|name| line(queues.join(name).join(file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_have_numbers_and_names() {
        let text = "           CPU0       CPU1\n 37:  0  0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-config\n\
                    \x20 38:  0  6228 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0\nNMI:  0  0   Non-maskable interrupts\n";
        let known = interrupts(text);
        assert_eq!(
            known.into_iter().collect::<Vec<_>>(),
            [(37, "virtio2-config".to_owned()), (38, "virtio2-input.0".to_owned())]
        );
        assert!(is_of_queue("eth1-TxRx-0") && is_of_queue("mlx5_comp3@pci:0000:01:00.0"));
        assert!(!is_of_queue("virtio2-config") && !is_of_queue("mlx5_async0@pci:0000:01:00.0"));
    }
}
