//! Builds the eBPF programs that make and count the frames of the data-path benchmark.

fn main() {
    ebpf_build::build("..", "benches/ebpf", "vfw-bench-ebpf", &["benches/ebpf"]);
}
