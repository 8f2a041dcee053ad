#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vfw_tests::fuzz::run("bench", bytes));
