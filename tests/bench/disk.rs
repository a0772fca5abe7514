//! The disk that records go to: what one fdatasync a line costs.

use super::figures::Board;
use super::limits::rate;
use super::subject::World;
use std::io::Write;

pub const SYNCS: &str = "limit: lines, one fdatasync each";

pub fn run(board: &mut Board) {
    let world = World::new();
    let mut file = std::fs::File::create(world.path().join("lines")).unwrap();
    let line = [b'x'; 200];
    board.measure(|group| {
        group.add(SYNCS, "/s", || {
            rate(|| {
                file.write_all(&line).unwrap();
                file.sync_data().unwrap();
                1
            })
        });
    });
}
