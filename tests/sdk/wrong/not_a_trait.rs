//! Wrong on purpose; what the compiler says of it is compared with `not_a_trait.txt`.

use rpc_plugin_interface::interface;

interface! {
    fn get(key: String) -> String;
}
