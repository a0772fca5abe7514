//! Wrong on purpose; what the compiler says of it is compared with `error_not_app_error.txt`.

use rpc_plugin_interface::interface;

pub struct KvError;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get(key: String) -> Result<String, KvError>;
    }
}
