//! What other threads ask of the plugins in care: add, change, remove, start, stop, restart, wait, tell.
//!
//! What it deliberately does not do: decide; the supervisor does.

use super::hub::Hub;
use super::instances::Instances;
use super::loop_commands::PluginCommand;
use super::pending_replies::PendingReplies;
use crate::state::keys::PluginKey;
use crate::state::plugin::status_of;
use crate::state::supervisor::{ConfigRefusal, unknown};
use crate::state::time::Time;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::{CallError, ErrorCode, PluginId};

/// Does what a thread asks. Who asked may have gone; an answer that nobody takes is dropped.
pub(super) fn handle(
    (hub, instances, pending): (&mut Hub, &mut Instances, &mut PendingReplies),
    now: Time,
    command: PluginCommand,
) {
    match command {
        PluginCommand::Add(config, last, reply) => {
            let added = hub.supervisor.add(config, last).map(|key| instances.add(key));
            drop(reply.try_send(added));
        }
        PluginCommand::Reconfigure(config, reply) => {
            let id = config.id.clone();
            let changed = hub.supervisor.reconfigure(now, config);
            let status = changed.and_then(|_| status(hub, now, &id).ok_or(ConfigRefusal::Unknown));
            drop(reply.try_send(status));
        }
        PluginCommand::Remove(id, reply) => drop(reply.try_send(remove(hub, instances, now, &id))),
        PluginCommand::Wish(id, wish, reply) => {
            let result = known(hub, &id).and_then(|key| hub.supervisor.wish(now, key, wish));
            let result = result.and_then(|()| status(hub, now, &id).ok_or_else(|| unknown(&id)));
            drop(reply.try_send(result));
        }
        PluginCommand::Wait(id, goal, timeout, reply) => {
            let key = pending.add_wait(reply);
            hub.supervisor.wait(now, (key, Party::Program), &id, goal, timeout);
        }
        PluginCommand::Status(id, reply) => drop(reply.try_send(status(hub, now, &id))),
        PluginCommand::List(reply) => {
            let list = hub.supervisor.plugins_by_id().map(|plugin| status_of(plugin, now)).collect();
            drop(reply.try_send(list));
        }
    }
}

fn known(hub: &Hub, id: &PluginId) -> Result<PluginKey, CallError> {
    hub.supervisor.find(id).ok_or_else(|| unknown(id))
}

fn status(hub: &Hub, now: Time, id: &PluginId) -> Option<Box<PluginStatus>> {
    let plugin = hub.supervisor.plugin(hub.supervisor.find(id)?)?;
    Some(Box::new(status_of(plugin, now)))
}

fn remove(hub: &mut Hub, instances: &mut Instances, now: Time, id: &PluginId) -> Result<(), CallError> {
    let key = known(hub, id)?;
    if !hub.supervisor.remove(now, key) {
        let error = CallError::not_sent(ErrorCode::Unavailable, "the plugin is up; stop it first");
        return Err(error.at(id, None));
    }
    instances.remove(hub, key);
    Ok(())
}
