//! `rpcplugind`: the daemon; see `rpc_plugin_system::daemon`.

fn main() -> std::process::ExitCode {
    rpc_plugin_system::daemon::main(std::env::args_os().skip(1))
}
