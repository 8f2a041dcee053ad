//! A reachable panic becomes an endless loop, which the verifier refuses: such a program does not load.

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
