//! The table of commands against itself, and against what it names.

use super::*;
use crate::cli::testing;
use rpc_plugin_wire::admin::DEADLINE_MS_DEFAULT;
use rpc_plugin_wire::life::PluginState;

#[test]
fn the_table_is_sound() {
    assert_eq!(PROGRAM.problems(), Vec::<String>::new());
}

#[test]
fn what_the_help_repeats_from_elsewhere_is_right() {
    let wait = PROGRAM.help(PROGRAM.command("wait")).split_whitespace().collect::<Vec<_>>().join(" ");
    let names: Vec<&str> = PluginState::ALL.iter().map(|state| state.as_str()).collect();
    let (last, others) = names.split_last().unwrap();
    assert!(wait.contains(&format!("{} or {last}", others.join(", "))), "{wait}");
    let default = humantime::parse_duration(TIMEOUT_DEFAULT).unwrap();
    assert_eq!(default.as_millis(), u128::from(DEADLINE_MS_DEFAULT));
}

#[test]
fn the_manual_is_made_from_the_table() {
    testing::hold_page("docs/rpcpluginctl.md", &PROGRAM.manual(), "ctl::table");
}
