//! Wrong on purpose; what the compiler says of it is compared with `missing_name.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv {
        fn get(key: String) -> String;
    }
}
