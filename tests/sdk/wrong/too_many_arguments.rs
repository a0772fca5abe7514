//! Wrong on purpose; what the compiler says of it is compared with `too_many_arguments.txt`.

use rpc_plugin_interface::interface;

interface! {
    pub trait Kv = "kv" version 1, client KvClient {
        fn get(a0: u8, a1: u8, a2: u8, a3: u8, a4: u8, a5: u8, a6: u8, a7: u8, a8: u8, a9: u8, a10: u8, a11: u8, a12: u8);
    }
}
