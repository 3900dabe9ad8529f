#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| watchdog_engine::fuzzing::request(bytes));
