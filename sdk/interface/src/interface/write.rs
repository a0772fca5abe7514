//! What a declaration becomes: trait, table, client.
//!
//! What it deliberately does not do: complain. An argument that is none is left out in silence, because
//! `__interface_check` refuses it.

/// Writes everything, once each method is in its form.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_written {
    (
        { [$($attribute:tt)*] [$visibility:vis] $Trait:ident $name:tt $version:tt $Client:ident }
        $($method:tt)*
    ) => {
        $crate::__interface_name! { $name }
        $($crate::__interface_check! { $name $method })*

        $($attribute)*
        $visibility trait $Trait: ::std::marker::Send + ::std::marker::Sync + 'static {
            $($crate::__interface_signature! { $method })*

            /// What serves this interface, for a plugin or a host.
            #[allow(deprecated)]
            fn into_table(self) -> $crate::InterfaceTable
            where
                Self: ::std::marker::Sized,
            {
                #[allow(unused_mut)]
                let mut table = $crate::InterfaceTable::new($name, $version);
                let served = ::std::sync::Arc::new(self);
                $($crate::__interface_entry! { table served $Trait $method })*
                ::std::mem::drop(served);
                table
            }
        }

        #[allow(deprecated)]
        impl<AnyShared: $Trait + ?::std::marker::Sized> $Trait for ::std::sync::Arc<AnyShared> {
            $($crate::__interface_shared! { $Trait $method })*
        }

        #[doc = ::std::concat!(
            "Calls version ", ::std::stringify!($version), " of interface `", $name, "`, which [`",
            ::std::stringify!($Trait), "`] declares."
        )]
        #[derive(Debug, Clone, Copy)]
        $visibility struct $Client<AnyCaller> {
            caller: AnyCaller,
            options: $crate::CallOptions,
        }

        #[allow(dead_code, reason = "which of them a program uses is its own matter")]
        impl $Client<()> {
            /// The interface's name on the wire.
            $visibility const NAME: &'static str = $name;
            /// The version of it that this calls.
            $visibility const VERSION: u32 = $version;
        }

        #[allow(dead_code, reason = "which of them a program uses is its own matter")]
        impl<AnyCaller: $crate::Caller> $Client<AnyCaller> {
            /// One that calls through `caller`.
            $visibility fn new(caller: AnyCaller) -> $Client<AnyCaller> {
                $Client { caller, options: ::std::default::Default::default() }
            }

            /// The same, whose calls are made in this way.
            $visibility fn with(&self, options: $crate::CallOptions) -> $Client<&AnyCaller> {
                $Client { caller: &self.caller, options }
            }

            $($crate::__interface_call! { $visibility, $name $method })*
        }
    };
}

/// A method as the trait declares it.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_signature {
    ({
        [$($attribute:tt)*] $method:ident ($($argument:ident : $type:ty),* $(,)?) [$ok:ty] [$($error:ty)?]
    }) => {
        $($attribute)*
        fn $method(&self, call: &$crate::Context $(, $argument: $type)*)
            -> ::std::result::Result<$ok, $crate::__interface_failure!($($error)?)>;
    };
    ($($refused:tt)*) => {};
}

/// The `Err` of whoever serves.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_failure {
    () => { $crate::HandlerError };
    ($error:ty) => { $crate::Failure<$error> };
}

/// The same for what is shared.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_shared {
    ($Trait:ident {
        $attributes:tt $method:ident ($($argument:ident : $type:ty),* $(,)?) [$ok:ty] [$($error:ty)?]
    }) => {
        fn $method(&self, call: &$crate::Context $(, $argument: $type)*)
            -> ::std::result::Result<$ok, $crate::__interface_failure!($($error)?)>
        {
            $Trait::$method(&**self, call $(, $argument)*)
        }
    };
    ($($refused:tt)*) => {};
}

/// A method as an entry of the table.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_entry {
    ($table:ident $served:ident $Trait:ident {
        [$($attribute:tt)*] $method:ident ($($argument:ident : $type:ty),* $(,)?) [$ok:ty] [$($error:ty)?]
    }) => {
        let serving = ::std::sync::Arc::clone(&$served);
        $table.add_typed(
            ::std::stringify!($method),
            &[$(::std::stringify!($argument)),*],
            move |call, ($($argument,)*): ($($type,)*)| $Trait::$method(&*serving, call $(, $argument)*),
        );
        $table.describe::<($($type,)*), $ok>(
            ::std::stringify!($method),
            &[$(::std::stringify!($argument)),*],
            $crate::__interface_docs!([] $($attribute)*),
        );
    };
    ($($refused:tt)*) => {};
}

/// The lines of the comment among a method's attributes.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_docs {
    ([$($line:expr,)*]) => { &[$($line),*] };
    ([$($line:expr,)*] #[doc = $text:expr] $($rest:tt)*) => {
        $crate::__interface_docs!([$($line,)* $text,] $($rest)*)
    };
    ($lines:tt #[$($other:tt)*] $($rest:tt)*) => { $crate::__interface_docs!($lines $($rest)*) };
}

/// A method of the client.
#[doc(hidden)]
#[macro_export]
macro_rules! __interface_call {
    ($visibility:vis, $name:tt {
        [$($attribute:tt)*] $method:ident ($($argument:ident : $type:ty),* $(,)?) [$ok:ty] []
    }) => {
        #[allow(missing_docs, reason = "the trait's method has the documentation")]
        $($attribute)*
        $visibility fn $method(&self $(, $argument: impl $crate::PassedAs<$type>)*)
            -> ::std::result::Result<$ok, $crate::CallError>
        {
            let method = ::std::concat!($name, ".", ::std::stringify!($method));
            $crate::written::make(&self.caller, self.options, method, |_arguments| {
                $(_arguments.add(::std::stringify!($argument), &$argument);)*
            })
        }
    };
    ($visibility:vis, $name:tt {
        [$($attribute:tt)*] $method:ident ($($argument:ident : $type:ty),* $(,)?) [$ok:ty] [$error:ty]
    }) => {
        #[allow(missing_docs, reason = "the trait's method has the documentation")]
        $($attribute)*
        $visibility fn $method(&self $(, $argument: impl $crate::PassedAs<$type>)*)
            -> ::std::result::Result<$ok, $crate::CallFailure<$error>>
        {
            let method = ::std::concat!($name, ".", ::std::stringify!($method));
            let made = $crate::written::make(&self.caller, self.options, method, |_arguments| {
                $(_arguments.add(::std::stringify!($argument), &$argument);)*
            });
            made.map_err(::std::convert::From::from)
        }
    };
    ($($refused:tt)*) => {};
}
