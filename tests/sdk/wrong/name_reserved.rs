//! Wrong on purpose; what the compiler says of it is compared with `name_reserved.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "host" version 1, client KvClient {
        fn get(key: String) -> String;
    }
}
