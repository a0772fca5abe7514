//! Reports of programs in several languages, as they print them.

use super::super::{Capture, OutputStream, Printed, ReportKind, Treatment};
use crate::state::time::Time;

const EVENTS: Treatment = Treatment::Events { bytes_per_second_max: 64 * 1024 * 1024 };

const GO_PANIC: &str = "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\n\
    main.handle(0x5)\n\t/srv/kv/main.go:14 +0x1d\nmain.main()\n\t/srv/kv/main.go:9 +0x25\nexit status 2";
const GO_NIL: &str = "panic: runtime error: invalid memory address or nil pointer dereference\n\
    [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x45f9a1]\n\ngoroutine 18 [running]:\n\
    main.(*store).get(...)\n\t/srv/kv/store.go:31\nmain.serve.func1()\n\t/srv/kv/main.go:22 +0x41\n\
    created by main.serve in goroutine 1\n\t/srv/kv/main.go:20 +0x8c\n\ngoroutine 1 [chan receive]:\nmain.main()\n\
    \t/srv/kv/main.go:12 +0x99";
const GO_AGAIN: &str =
    "panic: first [recovered]\n\tpanic: second\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1";
const GO_FATAL: &str = "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n\
    \t/srv/kv/main.go:7 +0x2d";
const NODE: &str = "/srv/kv/index.js:3\n    throw new TypeError(\"no store\");\n    ^\n\nTypeError: no store\n    \
    at open (/srv/kv/index.js:3:11)\n    at Object.<anonymous> (/srv/kv/index.js:6:1)\n    at \
    node:internal/main/run_main_module:28:49\n\nNode.js v20.11.0";
const NODE_CODE: &str = "node:internal/process/promises:288\n            triggerUncaughtException(err, true /* fromPromise */);\n\
    \x20           ^\n\nError: listen EADDRINUSE: address already in use :::80\n    at Server.setupListenHandle \
    [as _listen2] (node:net:1817:16) {\n  code: 'EADDRINUSE',\n  errno: -98\n}\n\nNode.js v18.19.0";
const NODE_PRINTED: &str =
    "TypeError: no store\n    at open (/srv/kv/index.js:3:11)\n    at serve (/srv/kv/index.js:6:1)";
const JAVA: &str = "Exception in thread \"main\" java.lang.IllegalStateException: no store\n\tat com.example.Kv.open(Kv.java:12)\n\
    \tat com.example.Kv.main(Kv.java:5)\nCaused by: java.io.FileNotFoundException: /srv/kv/store (No such file)\n\
    \tat java.base/java.io.FileInputStream.open0(Native Method)\n\t... 1 more";
const JAVA_PRINTED: &str = "java.lang.NullPointerException: x is null\n\tat com.example.Kv.get(Kv.java:30)\n\
    \tSuppressed: java.io.IOException: closed\n\t\tat com.example.Kv.close(Kv.java:40)";
const RUBY: &str =
    "/srv/kv/main.rb:3:in `open': no store (RuntimeError)\n\tfrom /srv/kv/main.rb:7:in `<main>'";
const RUBY_34: &str =
    "/srv/kv/main.rb:3:in 'Store#open': no store (RuntimeError)\n\tfrom /srv/kv/main.rb:7:in '<main>'";
const CPP: &str = "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no store";
const CPP_BARE: &str = "terminate called without an active exception";
const UBSAN: &str = "==7==ERROR: UndefinedBehaviorSanitizer: SEGV on unknown address 0x0\n    #0 0x1 in main a.cc:3\n\
    ==7==ABORTING";

const REPORTS: [(ReportKind, &str); 14] = [
    (ReportKind::Panic, GO_PANIC),
    (ReportKind::Panic, GO_NIL),
    (ReportKind::Panic, GO_AGAIN),
    (ReportKind::Panic, GO_FATAL),
    (ReportKind::Exception, NODE),
    (ReportKind::Exception, NODE_CODE),
    (ReportKind::Exception, NODE_PRINTED),
    (ReportKind::Exception, JAVA),
    (ReportKind::Exception, JAVA_PRINTED),
    (ReportKind::Exception, RUBY),
    (ReportKind::Exception, RUBY_34),
    (ReportKind::Terminate, CPP),
    (ReportKind::Terminate, CPP_BARE),
    (ReportKind::Sanitizer, UBSAN),
];

fn printed(parts: &[&[u8]]) -> Vec<Printed> {
    let (mut capture, mut out) = (Capture::new(OutputStream::Stderr, EVENTS), Vec::new());
    parts.iter().for_each(|part| capture.push(Time::ZERO, part, &mut out));
    capture.finish(Time::ZERO, &mut out);
    out
}

fn line(text: &str) -> Printed {
    Printed::Line(text.to_owned())
}

fn report(kind: ReportKind, text: &str) -> Printed {
    Printed::Report { kind, text: text.to_owned(), lines: text.split('\n').count() }
}

#[test]
fn the_report_of_each_language_is_one_event_and_nothing_else_is_in_it() {
    for (kind, text) in REPORTS {
        let whole = format!("before\n{text}\nafter it\n");
        let expected = [line("before"), report(kind, text), line("after it")];
        assert_eq!(printed(&[whole.as_bytes()]), expected, "{text}");
        let blank = printed(&[format!("{text}\n\nafter it\n").as_bytes()]);
        assert_eq!(blank, [report(kind, text), line(""), line("after it")], "{text}");
        let twice = printed(&[format!("{text}\n{text}\n").as_bytes()]);
        assert_eq!(twice, [report(kind, text), report(kind, text)], "{text}");
        // However it arrives.
        let bytes: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
        assert_eq!(printed(&bytes), expected, "{text}");
    }
}

#[test]
fn what_only_begins_like_a_report_is_ordinary_lines() {
    for text in [
        "/srv/kv/index.js:3",
        "/srv/kv/index.js:3\nis listening",
        "/srv/kv/index.js:3\nis listening\nand more",
        "Error: no such user",
        "Error: no such user\nError: no such group\nplain",
        "ValueError",
        "http://example.com:80 answers",
        "main.rb:3: warning: in `open'",
        "goroutine 1 [running]:",
        "    at open (/srv/kv/index.js:3:11)",
    ] {
        let lines: Vec<Printed> = text.lines().map(line).collect();
        assert_eq!(printed(&[format!("{text}\n").as_bytes()]), lines, "{text}");
    }
    // One that is certain goes before one that is not.
    let text = format!("/srv/kv/index.js:3\n{GO_PANIC}\n");
    assert_eq!(
        printed(&[text.as_bytes()]),
        [line("/srv/kv/index.js:3"), report(ReportKind::Panic, GO_PANIC)]
    );
}
