/*
 * Ends at once, without a libc: the program of `watchdog -- true` in the budgets. Compiled with -nostdlib -static.
 */
#include <sys/syscall.h>

void _start(void) {
#if defined(__x86_64__)
    __asm__ volatile("syscall" : : "a"((long)SYS_exit_group), "D"(0L) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = SYS_exit_group;
    register long x0 __asm__("x0") = 0;
    __asm__ volatile("svc 0" : : "r"(x8), "r"(x0) : "memory");
#else
#error "no system calls are known for this processor"
#endif
    __builtin_unreachable();
}
