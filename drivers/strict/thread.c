/* Where a thread's IRQL is kept: a TLS slot of the thread's environment block, whose eight bytes are struct thread_word themselves. */
#include "strict.h"

_Static_assert(sizeof(struct thread_word) == sizeof(void *), "a slot's size");

#if defined(WSKLAB_NATIVE)

struct thread_word *os_thread_word(void)
{
    static _Thread_local struct thread_word word;

    return &word;
}

bool os_on_stack(const void *address)
{
    enum { NEAR = 1 << 16 };

    return (ULONG_PTR)address - (ULONG_PTR)__builtin_frame_address(0) < NEAR;
}

#else

enum {
    TEB_STACK_BASE = 0x08,
    TEB_STACK_LIMIT = 0x10,
    TEB_PEB = 0x60,
    TEB_TLS_SLOTS = 0x1480,
    PEB_TLS_BITMAP = 0x78
}; /* of 64-bit Windows, and Wine */

/* Of ntdll, not in the driver headers. */
NTSYSAPI VOID NTAPI RtlAcquirePebLock(VOID);
NTSYSAPI VOID NTAPI RtlReleasePebLock(VOID);

static UCHAR *environment(void)
{
    UCHAR *self;

    __asm__("movq %%gs:0x30, %0"
            : "=r"(self)); /* NtTib.Self; the compiler takes __readgsqword for an access to address 0x30 */
    return self;
}

/* As TlsAlloc does it, which is not for drivers. One slot for the life of the process, however often the provider is loaded. */
static ULONG slot_allocate(void)
{
    UCHAR *process = *(UCHAR **)(environment() + TEB_PEB);
    ULONG slot;

    RtlAcquirePebLock();
    slot = RtlFindClearBitsAndSet(*(PRTL_BITMAP *)(process + PEB_TLS_BITMAP), 1, 1);
    RtlReleasePebLock();
    return slot;
}

struct thread_word *os_thread_word(void)
{
    static ULONG slot; /* 0 is never given out: index 0 is reserved */
    static struct thread_word nobodys;
    ULONG mine = __atomic_load_n(&slot, __ATOMIC_ACQUIRE);

    if (!mine) {
        mine = slot_allocate();
        __atomic_store_n(&slot, mine, __ATOMIC_RELEASE); /* first asked for when the image attaches: one thread */
    }
    return mine < 64 ? (struct thread_word *)(environment() + TEB_TLS_SLOTS + 8 * mine) : &nobodys;
}

bool os_on_stack(const void *address)
{
    UCHAR *base = *(UCHAR **)(environment() + TEB_STACK_BASE), *limit = *(UCHAR **)(environment() + TEB_STACK_LIMIT);

    return (const UCHAR *)address >= limit && (const UCHAR *)address < base;
}

#endif
