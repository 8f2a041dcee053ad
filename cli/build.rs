//! Builds the eBPF programs that the binary contains: those of `xdp-prog`, which the kernel back end loads, and those that make
//! and count the frames of benchmarks.

fn main() {
    let sources = ["xdp-prog/src", "xdp-prog/Cargo.toml", "firewall-core/src", "firewall-core/Cargo.toml"];
    ebpf_build::build("..", "xdp-prog", "vfw-ebpf", &sources);
    ebpf_build::build("..", "xdp-prog/bench-ebpf", "vfw-bench-ebpf", &["xdp-prog/bench-ebpf"]);
}
