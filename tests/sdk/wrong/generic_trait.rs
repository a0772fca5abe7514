//! Wrong on purpose; what the compiler says of it is compared with `generic_trait.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv<T> = "kv" version 1, client KvClient {
        fn get(key: T) -> String;
    }
}
