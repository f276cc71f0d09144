//! `synod-chaos`: see the library.

fn main() -> std::process::ExitCode {
    synod_chaos::main()
}
