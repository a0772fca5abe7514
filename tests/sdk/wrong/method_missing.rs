//! Wrong on purpose; what the compiler says of it is compared with `method_missing.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get(key: String) -> String;
    }
}

pub struct Store;

impl Kv for Store {}
