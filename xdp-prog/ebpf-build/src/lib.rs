//! Builds a package of eBPF programs from a build script and leaves the object in `OUT_DIR`, from where it is embedded.
//!
//! Compiling for the BPF target needs a compiler with the sources of `core` and `bpf-linker`. Two set-ups do:
//! rustup's nightly with `rust-src`, or Debian's `rustc-web cargo-web rust-web-src`. `EBPF_CARGO` and `EBPF_RUSTC`
//! name another pair of programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// A cargo and rustc that can build `core` for the BPF target.
struct Toolchain {
    name: String,
    cargo: PathBuf,
    rustc: PathBuf,
}

const INSTALL: &str = "the eBPF programs cannot be built: found no compiler with the sources of `core`.
Install one of
  rustup toolchain install nightly --component rust-src
  apt-get install rustc-web cargo-web rust-web-src        (Debian 12)
or name one with EBPF_CARGO and EBPF_RUSTC.";

const LINKER: &str = "the eBPF programs cannot be linked: found no `bpf-linker`.
Install it with
  cargo install bpf-linker                                (rustup's nightly)
  apt-get install llvm-22-dev && LLVM_PREFIX=/usr/lib/llvm-22 \\
    cargo install bpf-linker --locked --no-default-features --features llvm-22   (Debian 12)";

/// Builds `package`, a folder of the workspace at `workspace`, and copies its program `object` to `OUT_DIR`. The build
/// script runs again when anything in `sources` (folders and files of the workspace) changes.
///
/// What goes wrong is told to cargo as an error that says what to install, and ends the build script.
pub fn build(workspace: &str, package: &str, object: &str, sources: &[&str]) {
    let workspace = path("CARGO_MANIFEST_DIR").join(workspace);
    let out = path("OUT_DIR");
    for watched in sources.iter().chain(&["Cargo.toml"]) {
        println!("cargo::rerun-if-changed={}", workspace.join(watched).display());
    }
    for variable in ["EBPF_CARGO", "EBPF_RUSTC", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let Some(toolchain) = find_toolchain() else { fail(INSTALL) };
    if !runs(Command::new("bpf-linker").arg("--version")) {
        fail(LINKER);
    }
    let built = compile(&toolchain, &workspace.join(package), &out).join(object);
    if let Err(error) = std::fs::copy(&built, out.join(object)) {
        fail(&format!("cannot copy {}: {error}", built.display()));
    }
    println!("cargo::rustc-env=VFW_EBPF_TOOLCHAIN={}", toolchain.name);
}

fn path(variable: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| fail(&format!("cargo does not set {variable}")), PathBuf::from)
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    exit(1)
}

fn find_toolchain() -> Option<Toolchain> {
    let named = env::var_os("EBPF_CARGO").zip(env::var_os("EBPF_RUSTC"));
    if let Some((cargo, rustc)) = named {
        return Some(Toolchain { name: "EBPF_CARGO".into(), cargo: cargo.into(), rustc: rustc.into() });
    }
    let nightly = output(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"])).map(PathBuf::from);
    let debian = Some(PathBuf::from("/usr/bin/rustc"));
    let candidates = [("rustup nightly", nightly), ("Debian rustc-web", debian)];
    candidates.into_iter().find_map(|(name, rustc)| {
        let rustc = rustc?;
        let cargo = rustc.with_file_name("cargo");
        let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let has_core = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists();
        (has_core && cargo.exists()).then(|| Toolchain { name: name.into(), cargo, rustc })
    })
}

/// What a program prints, if it runs and succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = clean(command).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Without what the outer cargo tells its own compiler.
fn clean(command: &mut Command) -> &mut Command {
    let outer = ["RUSTUP_TOOLCHAIN", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "CARGO"];
    for variable in outer.into_iter().chain(["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET"]) {
        command.env_remove(variable);
    }
    command
}

/// Builds in a target directory of its own, shared by all profiles: `core` is built once. Returns where the programs are.
fn compile(toolchain: &Toolchain, package: &Path, out: &Path) -> PathBuf {
    let target = out.ancestors().nth(4).map_or_else(|| out.join("ebpf"), |target| target.join("ebpf"));
    let status = clean(&mut Command::new(&toolchain.cargo))
        .current_dir(package)
        .args(["build", "--release", "--locked", "--bins", "--target", "bpfel-unknown-none", "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTC", &toolchain.rustc)
        // Debian's compiler is a stable one; nightly does not mind.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-cpu=v3\x1f-Ctarget-feature=+allows-misaligned-mem-access\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf",
        )
        .status();
    match status {
        Ok(status) if status.success() => target.join("bpfel-unknown-none/release"),
        Ok(status) => fail(&format!("building the eBPF programs with {} failed ({status})", toolchain.name)),
        Err(error) => fail(&format!("cannot run {}: {error}", toolchain.cargo.display())),
    }
}
