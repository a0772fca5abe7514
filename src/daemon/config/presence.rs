//! When a plugin is started and stopped: `start`, `autostart`, `after` and `idle_stop` of its object in the file.
//!
//! What it deliberately does not do: know what is allowed together; `PluginConfig::check` does.

use super::origin::Origin;
use super::types::PluginEntry;
use crate::settings::{Checked, JsonSource, Object, Places, WAIT, checked, strings_of};
use crate::state::config_error::quoted;
use crate::state::order::{circle, circle_text};
use crate::state::plugin_config::{AFTER_MAX, PluginConfig, id_allowed};
use crate::state::start_mode::StartMode;
use rpc_plugin_wire::PluginId;
use std::collections::BTreeMap;

/// Takes them out of a plugin's object. Whether, and when, it says that the plugin is started.
pub(super) fn take<'a>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    config: &mut PluginConfig,
    places: &mut Places<'a>,
) -> Option<StartMode> {
    let autostart = object.take("autostart").map(|node| (source.boolean(&node), node));
    let start = object.take("start").map(|node| (mode(source, &node), node));
    let named = match (start, autostart) {
        (Some(_), Some((_, node))) => {
            source.error(&node, "stands beside \"start\"", "\"start\" alone");
            None
        }
        (Some((start, node)), None) => {
            places.push(("start".to_owned(), node));
            start
        }
        (None, Some((autostart, _))) => {
            autostart.map(|is_auto| if is_auto { StartMode::Auto } else { StartMode::Manual })
        }
        (None, None) => None,
    };
    config.start = named.unwrap_or_default();
    for name in strings_of(source, object, "after", AFTER_MAX, places) {
        match name.parse::<PluginId>() {
            Ok(id) => config.after.push(id),
            Err(error) => {
                let at = places.last().map(|(_, node)| node.clone());
                if let Some(node) = at {
                    source.error(&node, format!("plugin id {} {error}", quoted(&name)), id_allowed());
                }
            }
        }
    }
    if let Some(node) = object.take("idle_stop") {
        match checked(&node, WAIT) {
            Ok(Checked::Duration(after)) => config.idle_stop = Some(after),
            Ok(_) => {}
            Err(problem) => source.error(&node, problem, WAIT.to_string()),
        }
        places.push(("idle_stop".to_owned(), node));
    }
    named
}

fn mode<'a>(source: &mut JsonSource<'a>, node: &crate::settings::Node<'a>) -> Option<StartMode> {
    let text = source.string(node)?;
    let found = StartMode::ALL.iter().find(|(_, name)| *name == text);
    if found.is_none() {
        let names: Vec<String> = StartMode::ALL.iter().map(|(_, name)| format!("\"{name}\"")).collect();
        source.error(node, format!("{} is none of them", quoted(&text)), names.join(", "));
    }
    found.map(|(mode, _)| *mode)
}

/// Notes plugins that would be started after themselves, each circle once.
pub(super) fn check_order(source: &mut JsonSource<'_>, plugins: &[(PluginEntry, Origin<'_>)]) {
    let after: BTreeMap<&PluginId, &[PluginId]> =
        plugins.iter().map(|(plugin, _)| (&plugin.config.id, &plugin.config.after[..])).collect();
    let mut told: Vec<PluginId> = Vec::new();
    for (plugin, origin) in plugins {
        let PluginConfig { id, after: firsts, .. } = &plugin.config;
        // That one comes after itself is told where it is read.
        let is_told = told.contains(id) || firsts.contains(id);
        if let Some(found) = circle(id, firsts, |of| after.get(of).copied().unwrap_or_default())
            && !is_told
        {
            let problem = format!("\"after\": it would be started after itself: {}", circle_text(&found));
            origin.error(source, problem, "plugins that are not started after it".to_owned());
            told.extend(found);
        }
    }
}
