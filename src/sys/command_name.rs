//! The name of a process, for people who read a record.
//!
//! What it deliberately does not do: identify anything; a process may call itself what it likes.
#![forbid(unsafe_code)]

use super::proc_file::read_text;

/// A command's name as the kernel keeps it (TASK_COMM_LEN), with its line end and room to spare. Bytes.
const NAME_BYTES_MAX: usize = 64;

/// The name of that process (proc_pid_comm(5)); `None` where it is gone, or not to be seen from here.
#[must_use]
pub fn command_of(pid: u32) -> Option<String> {
    let mut bytes = [0; NAME_BYTES_MAX];
    let name = read_text(&format!("/proc/{pid}/comm"), &mut bytes).trim_end_matches('\n');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_has_a_name_and_no_other() {
        let name = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(command_of(std::process::id()).as_deref(), Some(name.trim_end()));
        assert_eq!(command_of(0), None);
    }
}
