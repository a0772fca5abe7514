//! Wrong on purpose; what the compiler says of it is compared with `argument_not_serde.txt`.

use rpc_plugin_interface::interface;

pub struct Key;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get(key: Key) -> String;
    }
}
