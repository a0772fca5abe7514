//! `rpcplugind`: the daemon; see `rpc_plugin_system::daemon`.

use rpc_plugin_system::daemon::KeepingAllocator;

#[global_allocator]
static ALLOCATOR: KeepingAllocator = KeepingAllocator::new();

fn main() -> std::process::ExitCode {
    rpc_plugin_system::daemon::main(std::env::args_os().skip(1))
}
