//! Wrong on purpose; what the compiler says of it is compared with `argument_reference.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get(count: u32, key: &str) -> String;
    }
}
