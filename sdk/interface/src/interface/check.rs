//! What is refused of a declaration that has the right form: names, arguments, types.
//!
//! What always holds: what is refused here is written nowhere else, so that its sentence stands alone.

/// Refuses names that are none.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_name {
    ("host") => {
        $crate::__interface_name! { (reserved) "host" }
    };
    ("plugin") => {
        $crate::__interface_name! { (reserved) "plugin" }
    };
    ("admin") => {
        $crate::__interface_name! { (reserved) "admin" }
    };
    ("rpc") => {
        $crate::__interface_name! { (reserved) "rpc" }
    };
    ((reserved) $name:tt) => {
        ::std::compile_error!(::std::concat!(
            "the name \"",
            $name,
            "\" belongs to the protocol: choose another"
        ));
    };
    ($name:tt) => {
        const _: () = $crate::written::check_name($name);
    };
}

/// Refuses arguments and types that cannot be, each in a sentence. What is right is checked again where it is used;
/// what is wrong is written nowhere else, so that the sentence stands alone.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_check {
    ($name:tt { $attributes:tt $method:ident ($($arguments:tt)*) [$ok:ty] [$($error:ty)?] }) => {
        $crate::__interface_check! { @ $method $($arguments)* }
        const _: () = $crate::written::check_method(::std::concat!($name, ".", ::std::stringify!($method)));
        const _: () = $crate::written::value::<$ok>();
        $(const _: () = $crate::written::app_error::<$error>();)?
    };
    ($name:tt { $attributes:tt $method:ident $other:tt $($rest:tt)* }) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "` is written `fn ", ::std::stringify!($method),
            "(ARGUMENT: TYPE, …) -> TYPE;`"
        ));
    };
    (@ $method:ident) => {};
    (@ $method:ident & self $($rest:tt)*) => { $crate::__interface_check! { (receiver) $method } };
    (@ $method:ident & mut self $($rest:tt)*) => { $crate::__interface_check! { (receiver) $method } };
    (@ $method:ident & $l:lifetime $($rest:tt)*) => { $crate::__interface_check! { (receiver) $method } };
    (@ $method:ident self $($rest:tt)*) => { $crate::__interface_check! { (receiver) $method } };
    (@ $method:ident mut self $($rest:tt)*) => { $crate::__interface_check! { (receiver) $method } };
    ((receiver) $method:ident) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "` has a receiver: leave `self` out; the trait's methods have \
             `&self` and the call's context by themselves"
        ));
    };
    (@ $method:ident mut $argument:ident $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "argument `", ::std::stringify!($argument), "` of method `", ::std::stringify!($method),
            "`: leave out the `mut`; whoever implements the trait can write it there"
        ));
    };
    (@ $method:ident $argument:ident : & $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "argument `", ::std::stringify!($argument), "` of method `", ::std::stringify!($method),
            "` is a reference: declare what arrives, `String` for `&str`, `Vec<T>` for `&[T]`; clients take references \
             all the same"
        ));
    };
    (@ $method:ident $argument:ident : $type:ty, $($rest:tt)*) => {
        const _: () = $crate::written::value::<$type>();
        $crate::__interface_check! { @ $method $($rest)* }
    };
    (@ $method:ident $argument:ident : $type:ty) => {
        const _: () = $crate::written::value::<$type>();
    };
    (@ $method:ident $argument:ident $(, $($rest:tt)*)?) => {
        ::std::compile_error!(::std::concat!(
            "argument `", ::std::stringify!($argument), "` of method `", ::std::stringify!($method),
            "` has no type: write `", ::std::stringify!($argument), ": TYPE`"
        ));
    };
    (@ $method:ident $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "method `", ::std::stringify!($method), "`: an argument is written `NAME: TYPE`, and here is `",
            ::std::stringify!($($rest)*), "`"
        ));
    };
}
