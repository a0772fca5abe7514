//! `rpcpluginctl`: the control client; see `src/ctl`.

fn main() -> std::process::ExitCode {
    rpc_plugin_system::programs::rpcpluginctl()
}
