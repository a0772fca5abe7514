//! Frames of streams on the wire, and both ends of a flow against each other.

use super::*;
use crate::Message;

#[test]
fn every_frame_survives_the_wire() {
    let (stream, credit) = (7, 65_536);
    for frame in [
        StreamFrame::Data { stream, seq: 3, data: (0..=255).collect() },
        StreamFrame::Data { stream, seq: 4, data: vec![1] },
        StreamFrame::Ack { stream, credit },
        StreamFrame::End { stream },
        StreamFrame::Drop { stream },
    ] {
        let mut out = Vec::new();
        frame.write(&mut out);
        let Message::Notification(read) = Message::parse(out.trim_ascii_end()).unwrap() else { panic!() };
        assert_eq!(StreamFrame::read(&read.method, read.params), Ok(Some(frame)));
    }
    assert_eq!(StreamFrame::read("rpc.cancel", None), Ok(None));
}

#[test]
fn what_is_no_frame_is_refused() {
    let read = |method: &str, params: &str| {
        let raw = RawValue::from_string(params.to_owned()).unwrap();
        StreamFrame::read(method, Some(&raw)).unwrap_err()
    };
    assert!(read(METHOD_STREAM_DATA, r#"{"stream":1,"seq":0,"data":"a"}"#).contains("no base64"));
    assert!(read(METHOD_STREAM_DATA, r#"{"stream":1,"seq":0,"data":""}"#).contains("0 bytes"));
    let long = format!(r#"{{"stream":1,"seq":0,"data":"{}"}}"#, "AAAA".repeat(STREAM_DATA_BYTES_MAX));
    assert!(read(METHOD_STREAM_DATA, &long).contains("are allowed"));
    assert!(read(METHOD_STREAM_ACK, r#"{"stream":1,"credit":-1}"#).contains("invalid"));
    assert!(read(METHOD_STREAM_END, "{}").contains("stream"));
}

#[test]
fn a_sender_stops_without_credit_and_a_receiver_holds_it_to_that() {
    let (mut outflow, mut inflow) = (Outflow::new(1, 1 << 20), Inflow::new(1));
    let mut sent = 0;
    while outflow.allowance() > 0 {
        let StreamFrame::Data { seq, data, .. } = outflow.send(vec![0; outflow.allowance()]) else {
            panic!()
        };
        assert_eq!(inflow.received(seq, data.len()), Ok(true));
        sent += data.len();
    }
    assert_eq!(sent, STREAM_WINDOW_BYTES);
    assert_eq!(inflow.acknowledge(), None, "nothing was taken");
    inflow.taken(STREAM_WINDOW_BYTES / 2);
    let Some(StreamFrame::Ack { credit, .. }) = inflow.acknowledge() else { panic!() };
    outflow.acknowledged(credit).unwrap();
    assert_eq!(outflow.allowance(), STREAM_DATA_BYTES_MAX.min(STREAM_WINDOW_BYTES / 2));
    assert_eq!(outflow.acknowledged(STREAM_WINDOW_BYTES as u64), Err(StreamFault::TooMuchCredit));
    assert_eq!(outflow.acknowledged(u64::MAX), Err(StreamFault::TooMuchCredit));
    let seq = sent.div_ceil(STREAM_DATA_BYTES_MAX) as u64;
    assert_eq!(inflow.received(seq + 1, 1), Err(StreamFault::OutOfOrder(seq, seq + 1)));
    assert!(matches!(inflow.received(seq, STREAM_WINDOW_BYTES), Err(StreamFault::NoCredit(_))));
}

#[test]
fn each_way_has_one_end_and_one_drop_in_either_order() {
    let (mut outflow, mut inflow) = (Outflow::new(1, 1 << 20), Inflow::new(1));
    assert!(outflow.end().is_some() && outflow.end().is_none() && outflow.allowance() == 0);
    inflow.ended().unwrap();
    assert_eq!(inflow.ended(), Err(StreamFault::AfterEnd));
    assert_eq!(inflow.received(0, 1), Err(StreamFault::AfterEnd));
    assert!(!inflow.is_over() && inflow.give_up().is_some() && inflow.give_up().is_none());
    assert!(inflow.is_over() && !outflow.is_over());
    outflow.acknowledged(0).unwrap();
    outflow.dropped().unwrap();
    assert!(outflow.is_over());
    assert_eq!(outflow.dropped(), Err(StreamFault::AfterEnd));
    assert_eq!(outflow.acknowledged(0), Err(StreamFault::AfterEnd));
}

#[test]
fn what_nobody_wants_is_passed_over() {
    let mut inflow = Inflow::new(1);
    assert!(inflow.give_up().is_some() && inflow.give_up().is_none());
    assert_eq!(inflow.received(0, 1000), Ok(false));
    assert_eq!(inflow.acknowledge(), None, "whoever gave up gives no credit");
    let mut outflow = Outflow::new(1, 1 << 20);
    outflow.dropped().unwrap();
    assert!(outflow.allowance() == 0 && !outflow.is_over(), "the end is due");
    assert!(outflow.end().is_some() && outflow.is_over());
}

#[test]
fn a_full_data_frame_fits_the_smallest_frame_that_may_be_agreed_on() {
    for frame_bytes_max in [16 * 1024, 40_000, 1 << 20] {
        let mut outflow = Outflow::new(crate::limits::REQUEST_ID_MAX, frame_bytes_max);
        outflow.seq = u64::MAX / 2;
        let mut frame = Vec::new();
        outflow.send(vec![0; outflow.allowance()]).write(&mut frame);
        assert!(frame.len() <= frame_bytes_max && outflow.allowance() > 11_000, "{frame_bytes_max}");
    }
}
