//! Wrong on purpose; what the compiler says of it is compared with `missing_client.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "kv" version 1 {
        fn get(key: String) -> String;
    }
}
