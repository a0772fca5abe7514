//! Every number of the protocol, in one place.
//!
//! A bound that belongs to one queue of the host stands beside that queue; the numbers here are the
//! ones that both ends of a connection have to agree on.

/// The protocol version that this crate speaks. Counts breaking changes only (protocol section 8).
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest frame before the peer is authenticated, line end not counted. Bytes.
pub const FRAME_BYTES_MAX_UNAUTHENTICATED: usize = 16 * 1024;

/// Largest frame after authentication unless configured otherwise, line end not counted. Bytes.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 4 * 1024 * 1024;

/// What `frame_bytes_max` may be configured to. Bytes.
pub const FRAME_BYTES_MAX_RANGE: core::ops::RangeInclusive<usize> = 16 * 1024..=256 * 1024 * 1024;

/// Deepest nesting of arrays and objects in a frame; the frame's own object is level 1.
pub const NESTING_MAX: usize = 128;

/// Largest number that may serve as a request id: 2^53 - 1, what a double holds exactly (RFC 8259
/// section 6).
pub const REQUEST_ID_MAX: u64 = (1 << 53) - 1;

/// Longest text that may serve as a request id. Bytes.
pub const REQUEST_ID_TEXT_BYTES_MAX: usize = 64;

/// Longest method name. Bytes.
pub const METHOD_BYTES_MAX: usize = 128;

/// Most file descriptors that travel with one frame.
pub const FDS_PER_FRAME_MAX: u8 = 16;

/// File descriptors of one connection that wait for the frames that announce them (section 1).
pub const FDS_WAITING_MAX: usize = 16;

/// Bytes of a stream in band that may be with its receiver and not yet taken from there (section 6).
pub const STREAM_WINDOW_BYTES: usize = 256 * 1024;

/// Bytes of a stream in one frame.
pub const STREAM_DATA_BYTES_MAX: usize = 32 * 1024;

/// Streams in band of one connection that are open, of those that either side began.
pub const STREAMS_MAX: usize = 16;

/// Calls that may have led to a call (section 1); one more would be too deep.
pub const CHAIN_MAX: usize = 32;

/// Bytes of one of them.
pub const CHAIN_ENTRY_BYTES_MAX: usize = 256;

/// Longest plugin id. Bytes.
pub const PLUGIN_ID_BYTES_MAX: usize = 64;

/// Most capabilities, and most interfaces, that one plugin may report.
pub const CAPABILITIES_MAX: usize = 256;

/// Longest capability or interface name. Bytes.
pub const CAPABILITY_BYTES_MAX: usize = 64;

/// Longest result of `plugin.heartbeat` and `plugin.capabilities` that is read. Bytes.
pub const OWN_RESULT_BYTES_MAX: usize = 64 * 1024;

/// Longest version or SDK string in a hello. Bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// Most protocol versions, interface versions or features listed in a hello.
pub const HELLO_LIST_MAX: usize = 64;

/// Longest path that fits a Unix socket address: `sun_path` is 108 bytes with its NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest error message that a host or SDK puts into an error object by itself. Bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 2048;
