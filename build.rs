//! How the release binary is linked where it is static (musl): relocations in their short form (RELR), no tables for
//! unwinding, which a panic that aborts does not need, and what a plain run calls side by side (scripts/link/order).

#![allow(missing_docs, reason = "a build script")]

fn main() {
    println!("cargo::rerun-if-changed=scripts/link/hot.ld");
    let is = |name: &str, value: &str| std::env::var(name).as_deref() == Ok(value);
    if !is("CARGO_CFG_TARGET_ENV", "musl") || !is("PROFILE", "release") {
        return;
    }
    let script = std::env::var("CARGO_MANIFEST_DIR").map(|dir| format!("-T{dir}/scripts/link/hot.ld"));
    let arguments = ["-Wl,-z,pack-relative-relocs".into(), "-Wl,--no-eh-frame-hdr".into()];
    for argument in arguments.into_iter().chain(script) {
        println!("cargo::rustc-link-arg-bin=watchdog={argument}");
    }
}
