//! The group of operators in a configuration: `admin_group` of the file, and `--admin-group`.
//!
//! What it deliberately does not do: look whether there is such a group; the daemon does when it starts.
//!
//! What always holds: the socket's path is absolute and fits a socket address; the flag counts before the file.

use super::runtime_dir::too_long;
use super::types::AdminGroup;
use crate::settings::{JsonSource, Node};
use crate::state::config_error::quoted;
use crate::state::plugin_config::check_path;
use std::path::PathBuf;

/// The key in the file.
pub(super) const ADMIN_GROUP: &str = "admin_group";
/// Most bytes of a group's name (useradd(8) takes 32).
const NAME_BYTES_MAX: usize = 256;
const ALLOWED: &str =
    "a group, '=', and the absolute path of its socket, such as ops=/run/rpcplugind-ops/admin.sock";

/// The group that the file names; an error is noted.
pub(super) fn of_file<'a>(source: &mut JsonSource<'a>, node: &Node<'a>) -> Option<AdminGroup> {
    let mut members = source.object(node)?;
    let (group, socket) = (members.take("group"), members.take("socket"));
    source.unknown(&members, ["group", "socket"].into_iter());
    let (Some(group_node), Some(socket_node)) = (group, socket) else {
        source.error(node, "lacks group or socket", "both: the name of a group, and the path of its socket");
        return None;
    };
    let group = source.string(&group_node)?;
    let socket = source.absolute_path(&socket_node)?;
    if !is_name(&group) {
        source.error(&group_node, format!("{} is no group", quoted(&group)), "the name or number of a group");
        return None;
    }
    if let Some(problem) = too_long(&socket) {
        source.error(&socket_node, problem, "a shorter path");
        return None;
    }
    Some(AdminGroup { group, socket })
}

/// The group that the flag names; an error is noted.
pub(super) fn of_flag(source: &mut JsonSource<'_>, text: &str) -> Option<AdminGroup> {
    let problem = match text.split_once('=') {
        Some((group, socket)) if is_name(group) => {
            let socket = PathBuf::from(socket);
            match check_path(&socket).err().map(|problem| problem.to_string()).or_else(|| too_long(&socket)) {
                None => return Some(AdminGroup { group: group.to_owned(), socket }),
                Some(problem) => problem,
            }
        }
        _ => "names no group and socket".to_owned(),
    };
    source.errors.add(format!("--admin-group {}", quoted(text)), problem, ALLOWED);
    None
}

fn is_name(group: &str) -> bool {
    !group.is_empty() && group.len() <= NAME_BYTES_MAX && !group.contains(['=', ':', '\0', '\n'])
}
