//! The macro that turns one declaration into trait, client and table.
//!
//! What it deliberately does not do: name anything but what the declaration names; `macro_rules` cannot make names.
//!
//! What always holds: a wrong declaration is refused in a sentence that names the method and says how it is written.
//! Each method is taken by itself, so that one interface has at most about a hundred before rustc wants a larger
//! `recursion_limit`.

mod check;
mod write;

/// Declares an interface, once for both sides.
///
/// ```text
/// interface! {
///     ATTRIBUTES VISIBILITY trait TRAIT = "NAME" version NUMBER, client CLIENT {
///         ATTRIBUTES fn METHOD(ARGUMENT: TYPE, …);                       // gives ()
///         ATTRIBUTES fn METHOD(ARGUMENT: TYPE, …) -> TYPE;
///         ATTRIBUTES fn METHOD(ARGUMENT: TYPE, …) -> Result<TYPE, ERROR>;
///     }
/// }
/// ```
///
/// - `NAME` has 1 to 64 ASCII letters, digits, `-` and `_`, and is none of `host`, `plugin`, `admin`, `rpc`. It is the
///   capability that its methods are called by: `NAME.METHOD` on the wire.
/// - `NUMBER` is a [`u32`]. Two versions are two declarations of one name; [`Interfaces`](crate::Interfaces) says which
///   of them is used.
/// - A `TYPE` is a [`Value`](crate::Value): anything of one's own that serde writes and reads. Beside JSON there are
///   [`Stream`](crate::Stream), [`Blob`](crate::Blob) and, in arguments only, [`Callback`](crate::Callback), at any
///   depth. A method has at most twelve arguments.
/// - `ERROR` is an [`AppError`](crate::AppError), which arrives as itself.
///
/// It gives:
///
/// - the trait `TRAIT`, which whoever serves it implements. Each method has `&self`, the
///   [`Context`](crate::Context) of the call, and the arguments, and gives
///   `Result<TYPE, Failure<ERROR>>`, see [`Failure`](crate::Failure), or `Result<TYPE, HandlerError>`, see
///   [`HandlerError`](crate::HandlerError). It has [`Arc`](std::sync::Arc)'s of it implement it, too,
///   and a method `into_table`, which gives the [`InterfaceTable`](crate::InterfaceTable) that plugin and host serve;
/// - `CLIENT<C>`, which makes the calls through any [`Caller`](crate::Caller): `CLIENT::new(caller)`. Its methods take
///   values or references ([`PassedAs`](crate::PassedAs)) and give `Result<TYPE, CallError>` or
///   `Result<TYPE, CallFailure<ERROR>>`. [`CallOptions`](crate::CallOptions) are given with
///   `client.with(options).method(…)`;
/// - the constants `CLIENT::NAME` and `CLIENT::VERSION`.
///
/// So no method can be called `new`, `with` or `into_table`. Attributes and documentation of a method stand at the
/// trait's and at the client's; `cfg` is none of them, because an interface is the same for both sides.
///
/// On the wire, params are an object of the arguments by name, of which those of type [`Option`] may be absent, and
/// results are plain JSON, so that a person can call it: `rpcpluginctl call kv kv.get '{"key":"a"}'`. An argument
/// that the method does not have is refused by name. An application error has code 1, its text as message, and
/// itself as data.
///
/// Which version a connection uses is agreed on when it begins, and a call does not name it. A client of another
/// version than that gets what the served methods answer: `method_not_found` for one that is new,
/// `invalid_params` that names the argument where arguments changed, `internal_error` where the result did.
/// `context.interface_version(NAME)` tells a handler, and the plugin's status a host, what was agreed.
///
/// ```
/// use rpc_plugin_interface::{AppError, CallFailure, Callback, Context, Failure, HandlerError, Local, Stream};
/// use std::{collections::BTreeMap, fmt, io::Read, sync::Mutex};
///
/// rpc_plugin_interface::interface! {
///     /// A store of texts.
///     pub trait Kv = "kv" version 2, client KvClient {
///         /// The value of a key.
///         fn get(key: String) -> Result<String, KvError>;
///         /// Sets a value; tells whether there was one.
///         fn put(key: String, value: String) -> bool;
///         /// Takes lines of `KEY=VALUE`, and tells after each how many there are.
///         fn import(source: Stream, on_progress: Callback<u64>) -> u64;
///     }
/// }
///
/// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// pub enum KvError { Missing }
/// impl fmt::Display for KvError {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("there is no such key") }
/// }
/// impl AppError for KvError {}
///
/// #[derive(Default)]
/// struct Store(Mutex<BTreeMap<String, String>>);
///
/// impl Kv for Store {
///     fn get(&self, _: &Context, key: String) -> Result<String, Failure<KvError>> {
///         self.0.lock().unwrap().get(&key).cloned().ok_or(KvError::Missing.into())
///     }
///     fn put(&self, _: &Context, key: String, value: String) -> Result<bool, HandlerError> {
///         Ok(self.0.lock().unwrap().insert(key, value).is_some())
///     }
///     fn import(&self, call: &Context, mut source: Stream, on_progress: Callback<u64>) -> Result<u64, HandlerError> {
///         let mut text = String::new();
///         source.read_to_string(&mut text)?;
///         let mut count = 0;
///         for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
///             call.check()?; // ends with `cancelled` once the caller gave up
///             self.put(call, key.into(), value.into())?;
///             count += 1;
///             on_progress.call(count)?;
///         }
///         Ok(count)
///     }
/// }
///
/// // Elsewhere the caller is what a host holds of its plugin; `Local` serves tests.
/// let client = KvClient::new(Local::new(Store::default().into_table()));
/// assert!(!client.put("a", "1")?);
/// assert!(matches!(client.get("b"), Err(CallFailure::App(KvError::Missing))));
///
/// let (mut ours, theirs) = Stream::pipe()?;
/// std::thread::spawn(move || std::io::Write::write_all(&mut { theirs }, b"b=2\nc=3\n"));
/// assert_eq!(client.import(ours, Callback::new(|count| println!("{count} so far")))?, 2);
/// assert_eq!(client.get(&"c".to_owned()).unwrap(), "3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! interface {
    (
        $(#[$($attribute:tt)*])*
        $visibility:vis trait $Trait:ident = $name:tt version $version:tt, client $Client:ident { $($methods:tt)* }
    ) => {
        $crate::__interface_methods! {
            { [$(#[$($attribute)*])*] [$visibility] $Trait $name $version $Client } [] $($methods)*
        }
    };
    ($(#[$($attribute:tt)*])* $visibility:vis trait $Trait:ident < $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "interface `", ::std::stringify!($Trait), "` has type parameters: both sides must know its types; \
             write `trait ", ::std::stringify!($Trait), " = \"NAME\" version 1, client CLIENT { … }`"
        ));
    };
    ($(#[$($attribute:tt)*])* $visibility:vis trait $Trait:ident = $name:tt version $version:tt $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "interface `", ::std::stringify!($Trait), "` does not name its client: write `trait ",
            ::std::stringify!($Trait), " = ", ::std::stringify!($name), " version ", ::std::stringify!($version),
            ", client ", ::std::stringify!($Trait), "Client { … }`"
        ));
    };
    ($(#[$($attribute:tt)*])* $visibility:vis trait $Trait:ident = $name:tt $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "interface `", ::std::stringify!($Trait), "` has no version: write `trait ", ::std::stringify!($Trait),
            " = ", ::std::stringify!($name), " version 1, client ", ::std::stringify!($Trait), "Client { … }`"
        ));
    };
    ($(#[$($attribute:tt)*])* $visibility:vis trait $Trait:ident $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "interface `", ::std::stringify!($Trait), "` has no name on the wire: write `trait ",
            ::std::stringify!($Trait), " = \"NAME\" version 1, client ", ::std::stringify!($Trait), "Client { … }`"
        ));
    };
    ($($rest:tt)*) => {
        ::std::compile_error!(
            "an interface is written `trait TRAIT = \"NAME\" version 1, client CLIENT { fn METHOD(ARGUMENT: TYPE) -> \
             TYPE; … }`"
        );
    };
}

/// Takes method after method off the body and puts them into one form:
/// `{ [ATTRIBUTES] NAME (ARGUMENTS) [RESULT] [ERROR, or nothing] }`.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_methods {
    ($head:tt [$($done:tt)*]) => { $crate::__interface_written! { $head $($done)* } };
    (
        $head:tt [$($done:tt)*]
        $(#[$($attribute:tt)*])* fn $method:ident $arguments:tt -> Result<$ok:ty, $error:ty>; $($rest:tt)*
    ) => {
        $crate::__interface_methods! {
            $head [$($done)* { [$(#[$($attribute)*])*] $method $arguments [$ok] [$error] }] $($rest)*
        }
    };
    ($head:tt $done:tt $(#[$($attribute:tt)*])* fn $method:ident $arguments:tt -> Result<$ok:ty>; $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "`: a `Result` names both types, `Result<",
            ::std::stringify!($ok), ", ERROR>`; a method without an error of its own gives `",
            ::std::stringify!($ok), "`"
        ));
    };
    (
        $head:tt $done:tt
        $(#[$($attribute:tt)*])* fn $method:ident $arguments:tt -> $(::)? std::result::Result<$($rest:tt)*
    ) => {
        $crate::__interface_methods! {
            $head $done $(#[$($attribute)*])* fn $method $arguments -> Result<$($rest)*
        }
    };
    (
        $head:tt [$($done:tt)*]
        $(#[$($attribute:tt)*])* fn $method:ident $arguments:tt -> $ok:ty; $($rest:tt)*
    ) => {
        $crate::__interface_methods! {
            $head [$($done)* { [$(#[$($attribute)*])*] $method $arguments [$ok] [] }] $($rest)*
        }
    };
    ($head:tt [$($done:tt)*] $(#[$($attribute:tt)*])* fn $method:ident $arguments:tt; $($rest:tt)*) => {
        $crate::__interface_methods! {
            $head [$($done)* { [$(#[$($attribute)*])*] $method $arguments [()] [] }] $($rest)*
        }
    };
    ($head:tt $done:tt $(#[$($attribute:tt)*])* fn $method:ident < $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "` has type parameters: both sides must know its types"
        ));
    };
    ($head:tt $done:tt $(#[$($attribute:tt)*])* async fn $method:ident $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "` is `async`: methods block, and run on threads; write `fn ",
            ::std::stringify!($method), "`"
        ));
    };
    ($head:tt $done:tt $(#[$($attribute:tt)*])* pub $($rest:tt)*) => {
        ::std::compile_error!("methods of an interface are as visible as its trait: leave out the `pub`");
    };
    (
        $head:tt $done:tt $(#[$($attribute:tt)*])*
        fn $method:ident $arguments:tt $(-> $ok:ty)? { $($body:tt)* } $($rest:tt)*
    ) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "` has a body: an interface only declares; whoever implements the \
             trait writes it"
        ));
    };
    ($head:tt $done:tt $(#[$($attribute:tt)*])* fn $method:ident $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "` is written `fn ", ::std::stringify!($method),
            "(ARGUMENT: TYPE, …) -> TYPE;`"
        ));
    };
    ($head:tt $done:tt $(#[$($attribute:tt)*])* $found:tt $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "an interface has methods only, `fn METHOD(ARGUMENT: TYPE, …) -> TYPE;`, and here is `",
            ::std::stringify!($found), "`"
        ));
    };
}
