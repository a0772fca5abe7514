//! The account of a stream in band: what its peer's frames order of its descriptor, and which frames are due for what was
//! done with it (protocol section 6).
//!
//! What it deliberately does not do: touch the descriptor
//! ([`StreamDescriptor`](crate::stream_descriptor::StreamDescriptor) does, at once or on another thread).
//!
//! What always holds: no more than one window waits in either direction; what the peer sent is passed on whole, in order,
//! before its end is; what a peer does wrong shows here, whatever its descriptor does.

use crate::stream_descriptor::{Pieces, StreamOrder, StreamReport};
use rpc_plugin_wire::stream::{Inflow, Outflow, StreamFault, StreamFrame};

/// The account of one stream.
#[derive(Debug)]
pub struct StreamAccount {
    outflow: Outflow,
    inflow: Inflow,
    /// What was read and is not sent. Bounded by the window.
    ready: Pieces,
    piece_bytes_max: usize,
    is_read_over: bool,
}

impl StreamAccount {
    /// That of a stream of which nothing was sent. Frames have at most `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(stream: u64, frame_bytes_max: usize) -> StreamAccount {
        let outflow = Outflow::new(stream, frame_bytes_max);
        let piece_bytes_max = outflow.allowance();
        let (inflow, ready) = (Inflow::new(stream), Pieces::default());
        StreamAccount { outflow, inflow, ready, piece_bytes_max, is_read_over: false }
    }

    /// Bytes that are to be read at once at the most: what a frame holds.
    #[must_use]
    pub fn piece_bytes_max(&self) -> usize {
        self.piece_bytes_max
    }

    /// Whether both sides have said all that there is to say of both ways: the number is free again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.outflow.is_over() && self.inflow.is_over()
    }

    /// Takes in what the peer sent. What is to be done with the descriptor; [`StreamAccount::send`] is to follow.
    ///
    /// # Errors
    /// What the peer did wrong; the connection is to end.
    pub fn take(&mut self, frame: StreamFrame) -> Result<StreamOrder, StreamFault> {
        let mut order = StreamOrder::default();
        match frame {
            StreamFrame::Data { seq, data, .. } => {
                if self.inflow.received(seq, data.len())? {
                    order.data = data;
                }
            }
            StreamFrame::End { .. } => {
                self.inflow.ended()?;
                order.is_last = true;
            }
            StreamFrame::Ack { credit, .. } => {
                self.outflow.acknowledged(credit)?;
                // Bounded by the window, or it had been refused.
                order.credit = usize::try_from(credit).unwrap_or(0);
            }
            StreamFrame::Drop { .. } => {
                self.outflow.dropped()?;
                order.is_unwanted = true;
            }
        }
        Ok(order)
    }

    /// Takes in what was done with the descriptor, and appends the frames that are due for what was written.
    /// [`StreamAccount::send`] is to follow.
    pub fn report(&mut self, report: StreamReport, frames: &mut Vec<StreamFrame>) {
        self.inflow.taken(report.written);
        match report.is_write_over {
            true => frames.extend(self.inflow.give_up()),
            false => frames.extend(self.inflow.acknowledge()),
        }
        self.ready.append(report.read, self.piece_bytes_max);
        self.is_read_over |= report.is_read_over;
    }

    /// Appends frames of what was read, at most `data_max` of them with data. Whether there is more to send.
    pub fn send(&mut self, data_max: usize, frames: &mut Vec<StreamFrame>) -> bool {
        if self.outflow.is_ended() || self.outflow.is_dropped() {
            self.ready.clear();
            self.is_read_over = true;
        }
        let pieces = std::iter::from_fn(|| self.ready.pop()).take(data_max);
        frames.extend(pieces.map(|piece| self.outflow.send(piece)));
        if self.ready.is_empty() && self.is_read_over {
            frames.extend(self.outflow.end());
        }
        !self.ready.is_empty()
    }
}
