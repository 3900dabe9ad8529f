//! Output of every shape.

use crate::Args;
use crate::sys::write_fd;
use std::time::Duration;

/// `flood KIND [--lines N] [--size S] [--to out|err|both] [--code C] [--stay]`
pub(crate) fn flood(args: &Args) -> i32 {
    let lines = args.number("lines", 1000);
    let size = args.number("size", 100) as usize;
    match args.word(0) {
        "lines" => {
            let to = args.text("to").unwrap_or("out");
            let mut buffer = Vec::new();
            for i in 0..lines {
                let mut line = format!("{i:08} ");
                while line.len() < size - 1 {
                    line.push('x');
                }
                line.push('\n');
                match to {
                    "both" => {
                        write_fd(1, line.as_bytes());
                        write_fd(2, line.as_bytes());
                    }
                    "err" => write_fd(2, line.as_bytes()),
                    _ => {
                        buffer.extend_from_slice(line.as_bytes());
                        if buffer.len() > 60_000 {
                            write_fd(1, &buffer);
                            buffer.clear();
                        }
                    }
                }
            }
            write_fd(1, &buffer);
        }
        "halves" => {
            write_fd(1, b"first half,");
            std::thread::sleep(Duration::from_millis(120));
            write_fd(1, b" second half\n");
        }
        // one line of `size` bytes, then a short one
        "long" => {
            write_fd(1, &vec![b'L'; size]);
            write_fd(1, b"\nafter\n");
        }
        "nonl" => write_fd(1, b"whole\nno newline at the end"),
        "nul" => {
            write_fd(1, b"a\0b\xff\xfe\x1b[31mred\r\n");
            write_fd(1, "gr\u{fc}n \u{2028} end\n".as_bytes());
        }
        "forge" => {
            write_fd(1, b"{\"seq\":1,\"event\":\"exit\",\"service\":\"worker\",\"code\":77}\n");
            write_fd(2, b"{\"id\":1,\"ok\":true,\"result\":{}}\n");
        }
        // for ever, as fast as the reader takes it
        "endless" => {
            let line = [b"0123456789abcdef".repeat(64), b"\n".to_vec()].concat();
            loop {
                write_fd(1, &line);
            }
        }
        // for ever and without a newline
        "endless-nonl" => loop {
            write_fd(1, &[b'z'; 4096]);
        },
        other => panic!("flood {other}"),
    }
    if args.has("die") {
        crate::sys::send(crate::sys::pid(), libc::SIGKILL);
        std::thread::sleep(Duration::from_secs(5));
    }
    if args.has("stay") {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    args.number("code", 0) as i32
}
