//! Wrong on purpose; what the compiler says of it is compared with `missing_version.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "kv" {
        fn get(key: String) -> String;
    }
}
