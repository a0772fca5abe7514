//! `logs`: the newest events of one plugin, of the daemon, or of all, and then those that come.
//!
//! What it deliberately does not do: ask the daemon. The files tell, also when it is down.
//!
//! What always holds: memory does not grow with the files (for each event to print, where it stands is
//! kept, not what it says); a line that is not a record is counted, told, and passed over.

use super::exit::{Exit, Failure};
use super::follow::Follower;
use super::out::Out;
use super::tail::{Backward, Line, open, unreadable};
use super::{Session, table};
use crate::cli::text::{Style, escape_json};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::event::Record;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The record's name, in the runtime folder and in each plugin's.
const RECORD_NAME: &str = "events.jsonl";

/// The most that `--limit` may ask for.
const LIMIT_MAX: usize = 100_000;

/// How often `--follow` looks for more.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A record file, read from its end.
struct Source {
    path: PathBuf,
    file: File,
    backward: Backward,
    /// The newest record that is not picked.
    newest: Option<Place>,
    /// Lines passed over.
    bad_lines: u64,
    /// Where following goes on.
    end: u64,
}

/// Where a record stands.
struct Place {
    time: String,
    offset: u64,
    bytes: usize,
}

impl Source {
    fn open(path: PathBuf, follow: bool) -> Result<Option<Source>, Failure> {
        let file = match open(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let end = file.metadata().map_err(|error| unreadable(&path, &error))?.len();
        let backward = Backward::new(end);
        let mut source = Source { path, file, backward, newest: None, bad_lines: 0, end };
        source.advance(follow)?;
        Ok(Some(source))
    }

    /// Finds the next older record. `follow`: an unfinished line is left to the follower.
    fn advance(&mut self, follow: bool) -> Result<(), Failure> {
        self.newest = None;
        while self.newest.is_none() {
            let line = self.backward.next_line(&self.file).map_err(|error| unreadable(&self.path, &error))?;
            let Some(Line { offset, bytes, is_finished }) = line else { break };
            if follow && !is_finished {
                self.end = offset;
                continue;
            }
            match bytes.as_deref().and_then(read) {
                Some((record, text)) => {
                    self.newest = Some(Place { time: record.time, offset, bytes: text.len() });
                }
                None => self.bad_lines += 1,
            }
        }
        Ok(())
    }
}

/// A line as a record, and as the text it is.
fn read(line: &[u8]) -> Option<(Record, &str)> {
    let text = std::str::from_utf8(line).ok()?;
    serde_json::from_str(text).ok().map(|record| (record, text))
}

impl Session<'_> {
    pub(super) fn logs(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let limit = self.args.parse::<usize>("limit")?;
        if let Some(limit) = limit.filter(|limit| *limit > LIMIT_MAX) {
            return Err(self.args.wrong("limit", &limit.to_string(), "more than 100000").into());
        }
        let default = table::LIMIT_DEFAULT.parse().unwrap_or(0);
        let follow = self.args.is_set("follow");
        let paths = self.record_paths()?;
        let mut sources = Vec::new();
        for path in &paths {
            sources.extend(Source::open(path.clone(), follow)?);
        }
        self.newest(out, &mut sources, limit.unwrap_or(default), follow)?;
        for source in sources.iter().filter(|source| source.bad_lines > 0) {
            warn_bad_lines(out, &source.path, source.bad_lines);
        }
        if follow { self.follow(out, &paths, sources) } else { Ok(()) }
    }

    /// The records that the command line asks for, whether they are there yet or not.
    fn record_paths(&self) -> Result<Vec<PathBuf>, Failure> {
        let folder = &self.runtime_dir.path;
        if !folder.is_dir() {
            let message = format!("no runtime folder at {folder:?} (from {})", self.runtime_dir.source);
            return Err(Failure::new(Exit::Unreachable, message).hint("which --runtime-dir has rpcplugind?"));
        }
        let daemons = folder.join(RECORD_NAME);
        match (self.args.is_set(table::ID), self.args.is_set("daemon")) {
            (true, true) => Err(self
                .args
                .lacking("--daemon and an ID exclude each other: they name different records")
                .into()),
            (false, true) => Ok(vec![daemons]),
            (true, false) => {
                let plugin_id = self.plugin_id()?;
                let plugins = folder.join(plugin_id.as_str());
                if !plugins.is_dir() {
                    let message = format!("no plugin \"{plugin_id}\" has a folder in {folder:?}");
                    return Err(Failure::new(Exit::UnknownPlugin, message)
                        .hint("'rpcpluginctl plugins' lists those of a running daemon"));
                }
                Ok(vec![plugins.join(RECORD_NAME)])
            }
            (false, false) => {
                let mut paths = vec![daemons];
                paths.extend(plugin_records(folder)?);
                Ok(paths)
            }
        }
    }

    /// Prints the newest `limit` records of all sources, in the order of time.
    fn newest(
        &self,
        out: &mut Out<'_>,
        sources: &mut [Source],
        limit: usize,
        follow: bool,
    ) -> Result<(), Failure> {
        let mut picked: Vec<(usize, u64, usize)> = Vec::new();
        while picked.len() < limit {
            // RFC 3339 in UTC with a fixed width sorts as text. Of equals, the later source is newer.
            let newest = (sources.iter_mut().enumerate())
                .filter(|(_, source)| source.newest.is_some())
                .max_by(|(_, a), (_, b)| time(a).cmp(time(b)));
            let Some((index, source)) = newest else { break };
            picked.extend(source.newest.as_ref().map(|place| (index, place.offset, place.bytes)));
            source.advance(follow)?;
        }
        for (index, offset, bytes) in picked.into_iter().rev() {
            let Some(source) = sources.get_mut(index) else { continue };
            let mut line = vec![0; bytes];
            // The file may have been cut meanwhile.
            let is_read = source.file.read_exact_at(&mut line, offset).is_ok();
            if !is_read || !print(out, &line)? {
                source.bad_lines += 1;
            }
        }
        Ok(())
    }

    /// Prints records as they come, until `--timeout`, or until interrupted.
    fn follow(&self, out: &mut Out<'_>, paths: &[PathBuf], sources: Vec<Source>) -> Result<(), Failure> {
        let deadline = self.args.is_set("timeout").then(|| Instant::now() + self.timeout);
        let follows_all = !self.args.is_set(table::ID) && !self.args.is_set("daemon");
        let mut followers: Vec<Follower> = (sources.into_iter())
            .map(|source| Follower::new(source.path, Some(source.file), source.end))
            .collect();
        let add = |followers: &mut Vec<Follower>, paths: &[PathBuf]| {
            for path in paths {
                if !followers.iter().any(|follower| follower.path == *path) {
                    followers.push(Follower::new(path.clone(), None, 0));
                }
            }
        };
        add(&mut followers, paths);
        loop {
            if follows_all {
                add(&mut followers, &plugin_records(&self.runtime_dir.path)?);
            }
            for follower in &mut followers {
                let mut bad_lines = 0;
                let mut each = |line: Option<&[u8]>| {
                    let is_printed = line.map_or(Ok(false), |line| print(out, line))?;
                    bad_lines += u64::from(!is_printed);
                    Ok::<(), Failure>(())
                };
                follower.poll(&mut each)?;
                if bad_lines > 0 {
                    warn_bad_lines(out, &follower.path, bad_lines);
                }
            }
            out.flush()?;
            let now = Instant::now();
            let left = deadline.map_or(LOOK_INTERVAL, |deadline| deadline.saturating_duration_since(now));
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_INTERVAL));
        }
    }
}

fn time(source: &Source) -> &str {
    source.newest.as_ref().map_or("", |place| place.time.as_str())
}

/// The records of all plugins that have a folder, ordered by id.
fn plugin_records(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut ids: Vec<PluginId> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<PluginId>().ok());
        ids.extend(id.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())));
    }
    ids.sort();
    Ok(ids.iter().map(|id| folder.join(id.as_str()).join(RECORD_NAME)).collect())
}

fn warn_bad_lines(out: &mut Out<'_>, path: &Path, bad_lines: u64) {
    let (lines, are, records) = match bad_lines {
        1 => ("line", "is", "a record"),
        _ => ("lines", "are", "records"),
    };
    out.warn(&format!("{bad_lines} {lines} in {path:?} {are} not {records}, and skipped"));
}

/// Prints a line as a record; false if it is none.
fn print(out: &mut Out<'_>, line: &[u8]) -> Result<bool, Failure> {
    let Some((record, text)) = read(line) else { return Ok(false) };
    if out.json {
        out.safe(&format!("{}\n", escape_json(text)))?;
        return Ok(true);
    }
    let level_style = match record.level.as_str() {
        "error" => Style::Bad,
        "warn" => Style::Warn,
        "debug" => Style::Faint,
        _ => Style::Plain,
    };
    let who = match (&record.plugin_id, record.generation_id) {
        (Some(plugin_id), Some(generation)) => format!("{plugin_id}#{generation}"),
        (Some(plugin_id), None) => plugin_id.to_string(),
        (None, _) => "daemon".to_owned(),
    };
    let mut rest = String::new();
    if !record.message.is_empty() {
        rest = format!(": {}", record.message);
    }
    let notes: Vec<String> = [
        record.pid.map(|pid| format!("pid {pid}")),
        record.method.map(|method| format!("method {method}")),
        record.reason.map(|reason| format!("reason: {reason}")),
        record.error.map(|error| format!("error: {error}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !notes.is_empty() {
        rest = format!("{rest} ({})", notes.join("; "));
    }
    out.line(&[
        (&record.time, Style::Faint),
        (&format!(" {:<5}", record.level), level_style),
        (&format!(" {:<7} {who} ", record.component), Style::Plain),
        (&record.event, Style::Strong),
        (&rest, Style::Plain),
    ])?;
    Ok(true)
}
