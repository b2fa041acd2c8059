//! Compiles the programs with clang, each source to an object that the loader embeds.
#![allow(clippy::disallowed_methods, reason = "a build script starts the compiler")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The sources, below `c/`.
const SOURCES: [&str; 8] = [
    "checks.c",
    "cut.c",
    "fence.c",
    "forward.c",
    "forward_xdp.c",
    "second_chance.c",
    "tests/map_in_map.c",
    "tests/packets.c",
];

const COMPILERS: [&str; 7] =
    ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-env-changed=CLANG");
    match compile_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn compile_all() -> Result<(), String> {
    let clang = find_clang()?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo gives no OUT_DIR")?);
    SOURCES.iter().try_for_each(|source| compile(&clang, source, &out))
}

fn find_clang() -> Result<String, String> {
    let runs = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    if let Ok(clang) = std::env::var("CLANG") {
        return if runs(&clang) { Ok(clang) } else { Err(format!("CLANG={clang} does not run")) };
    }
    let found = COMPILERS.iter().find(|name| runs(name));
    found.map(|name| (*name).to_owned()).ok_or_else(|| {
        "clang is missing, which compiles the programs for the kernel: install Debian's package `clang` (apt-get install \
         clang), or set CLANG to one of version 14 or newer"
            .to_owned()
    })
}

fn compile(clang: &str, source: &str, out: &Path) -> Result<(), String> {
    let source = Path::new("c").join(source);
    let object = out.join(source.file_name().unwrap_or_default()).with_extension("o");
    let output = Command::new(clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-I", "c/include", "-c"])
        // Kernels before 6.2 take no loop whose end falls into its beginning, which is where clang likes to put it
        // (tests/old_kernels.rs looks).
        .args(["-mllvm", "-disable-block-placement"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .output()
        .map_err(|error| format!("{clang} does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
    Err(format!("{clang} can't compile {}: {said}", source.display()))
}
