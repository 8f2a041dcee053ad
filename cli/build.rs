//! Builds the eBPF programs of `xdp-prog`, which the kernel back end embeds.

fn main() {
    let sources = ["xdp-prog/src", "xdp-prog/Cargo.toml", "firewall-core/src", "firewall-core/Cargo.toml"];
    ebpf_build::build("..", "xdp-prog", "vfw-ebpf", &sources);
}
