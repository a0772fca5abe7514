//! Wrong on purpose; what the compiler says of it is compared with `raw_method.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn r#move(key: String);
    }
}
