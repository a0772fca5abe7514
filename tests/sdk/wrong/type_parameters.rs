//! Wrong on purpose; what the compiler says of it is compared with `type_parameters.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get<T>(key: T) -> String;
    }
}
