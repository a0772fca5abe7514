//! Wrong on purpose; what the compiler says of it is compared with `wrong_argument_passed.txt`.

use rpc_plugin_interface::{Local, interface};

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get(key: String) -> String;
    }
}

pub fn get(client: &KvClient<Local>) {
    let _ = client.get(7u32);
}
