/*
 * The kernel's stacks: 24 KB on x64, where Wine gives a megabyte.
 *
 * How deep a driver is, is known where its code was called by the provider, a DPC or a thread's start, and is looked at whenever it
 * calls a routine that the strict mode has replaced. A leaf function with a large frame that calls none is not seen.
 */
#include "strict.h"

enum { KERNEL_STACK = 24 * 1024, ELSEWHERE = 1 << 20 /* beyond it the thread is on another stack */ };

bool stack_begin(void)
{
    struct thread_word *word = os_thread_word();

    if (word->stack)
        return false;
    word->stack = (ULONG)(ULONG_PTR)__builtin_frame_address(0);
    return true;
}

void stack_end(bool begun)
{
    if (begun)
        os_thread_word()->stack = 0;
}

void stack_check(const struct site *site)
{
    ULONG from = os_thread_word()->stack, used = from - (ULONG)(ULONG_PTR)__builtin_frame_address(0);

    if (!from || used <= KERNEL_STACK || used > ELSEWHERE || !strict_on(STRICT_MEMORY))
        return;
    os_thread_word()->stack = 0; /* what reports it needs more */
    STOP(site, 0x7F, 8, used, 0, 0, "is called with %u bytes of stack in use; a kernel stack has 24 KB",
         (unsigned)used);
}
