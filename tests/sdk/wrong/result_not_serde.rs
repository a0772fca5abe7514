//! Wrong on purpose; what the compiler says of it is compared with `result_not_serde.txt`.

use rpc_plugin_interface::interface;

pub struct Found;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get(key: String) -> Found;
    }
}
