//! `rpcplugind`: the daemon; see `src/daemon`.

use rpc_plugin_system::programs::{KeepingAllocator, rpcplugind};

#[global_allocator]
static ALLOCATOR: KeepingAllocator = KeepingAllocator::new();

fn main() -> std::process::ExitCode {
    rpcplugind()
}
