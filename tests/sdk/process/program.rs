//! The plugin of `tests/sdk/process.rs`: a program, because an exit code comes out of `main`.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../methods.rs"]
mod methods;

use rpc_plugin_sdk::{Call, HandlerError};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    methods::plugin()
        .method("print", |_: &Call, (): ()| -> Result<u32, HandlerError> {
            println!("not the protocol's");
            let child = Command::new("/bin/sh").arg("-c").arg("ls /proc/self/fd; cat").status().unwrap();
            Ok(u32::from(child.success()))
        })
        .method("stuck", |_: &Call, (): ()| -> Result<(), HandlerError> {
            eprintln!("stuck");
            loop {
                std::thread::park();
            }
        })
        .run()
}
