//! Transports without a socket: from the launch straight to the hello.

use super::*;
use crate::state::policy::Transport;
use rpc_plugin_wire::handshake::{Launch, METHOD_LAUNCH};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{FrameDecoder, Message};

fn launched(transport: Transport) -> Bench {
    let mut bench = Bench::new(Policy { transport, ..policy() });
    bench.act(Plugin::start);
    bench.prepared();
    bench.spawned(Ok(PID));
    bench
}

#[test]
fn an_inherited_connection_is_greeted_at_once_and_nobody_may_connect() {
    for transport in [Transport::Fd, Transport::Stdio] {
        let mut bench = launched(transport);
        assert!(matches!(bench.plugin.phase, Phase::Greeting), "{transport}");
        let (generation, peer) = (bench.generation(), PeerIdentity { pid: PID, uid: UID });
        assert!(!bench.act(|plugin, step| plugin.handle_connection(step, generation, peer, UID)));
        let kinds = bench.actions.iter().filter_map(|action| match action {
            Action::Note(note) => Some(note.kind),
            _ => None,
        });
        assert!(!kinds.into_iter().any(|kind| kind == EventKind::Connected), "nothing connected");
    }
}

#[test]
fn only_over_stdio_the_first_frame_is_the_hosts_and_says_as_what_it_was_launched() {
    let mut bench = launched(Transport::Fd);
    assert!(!bench.plugin.has_waiting_bytes());
    bench = launched(Transport::Stdio);
    let generation = bench.generation();
    let bytes = bench.plugin.session_mut(generation).unwrap().queue().all_waiting();
    let mut decoder = FrameDecoder::new(1 << 14);
    decoder.push(&bytes);
    let frame = decoder.next_frame().unwrap().unwrap();
    let Message::Notification(note) = Message::parse(frame).unwrap() else { panic!("{frame:?}") };
    let launch: Launch = params_into(note.params).unwrap();
    assert_eq!((&*note.method, launch.plugin_id.as_str()), (METHOD_LAUNCH, "echo"));
    assert_eq!(launch.generation, generation);
    assert!(launch.token.matches(&Token::from_bytes([7; 32])));
    assert!(decoder.next_frame().unwrap().is_none());
}

#[test]
fn over_stdio_the_hello_may_take_as_long_as_connecting_too() {
    for (transport, millis) in [(Transport::Fd, 300), (Transport::Stdio, 500)] {
        let mut bench = launched(transport);
        bench.pass((millis - 1) * MS);
        assert!(matches!(bench.plugin.phase, Phase::Greeting), "{transport}");
        bench.pass(2 * MS);
        assert!(matches!(bench.plugin.phase, Phase::Ending(Why::Failure(_), _)), "{transport}");
        let error = status_of(&bench.plugin, bench.now).last_error.unwrap();
        assert!(
            error
                .contains(&format!("it was launched, but a whole host.hello did not come within {millis}ms"))
        );
    }
}

#[test]
fn bytes_that_are_no_hello_are_explained_where_they_are_printed() {
    for (transport, expected) in [(Transport::Fd, false), (Transport::Stdio, true)] {
        let mut bench = launched(transport);
        let generation = bench.generation();
        let session = bench.plugin.session_mut(generation).unwrap();
        let bytes = b"Welcome\n";
        session.receiver_mut().space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        session.receiver_mut().filled(bytes.len(), Vec::new(), false);
        bench.act(|plugin, step| {
            plugin.with_session(step, generation, |session, cx| session.handle_frames(cx, usize::MAX))
        });
        let error = status_of(&bench.plugin, bench.now).last_error.unwrap();
        assert_eq!(error.contains("its standard output is the connection"), expected, "{error}");
    }
}
