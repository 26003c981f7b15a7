/* Special pool. */
#include "breaker.h"

BREACH(reads_freed, "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL.*a read.*is made of pool that was freed")
{
    volatile UCHAR *block = Block(POOL, 64);

    UNUSED;
    Free((PVOID)(ULONG_PTR)block);
    (void)block[0];
}

BREACH(hands_on_freed, "\\bPAGE_FAULT_IN_FREED_SPECIAL_POOL.*is made of pool that was freed")
{
    CHAR *block = Block(POOL, 64);
    ANSI_STRING text;

    UNUSED;
    Free(block);
    RtlInitAnsiString(&text, block);
}

BREACH(writes_beyond,
       "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION.*a write.*is made beyond the end of a block of 64 bytes")
{
    volatile UCHAR *block = Block(POOL, 64);

    UNUSED;
    block[64] = 1;
}

BREACH(hands_on_too_short, "\\bPAGE_FAULT_BEYOND_END_OF_ALLOCATION.*is made beyond the end of a block of 64 bytes")
{
    CHAR *block = Block(POOL, 64);
    ANSI_STRING text;

    UNUSED;
    RtlFillMemory(block, 64, 'x');
    RtlInitAnsiString(&text, block);
}

BREACH(writes_into_slack,
       "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION.*frees a block of 20 bytes that was written beyond its end")
{
    volatile UCHAR *block = Block(POOL, 20);

    UNUSED;
    block[20] = 1;
    Free((PVOID)(ULONG_PTR)block);
}

BREACH(writes_before,
       "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION.*frees a block of 64 bytes that was written before its start")
{
    UCHAR *block = Block(POOL, 64);
    volatile UCHAR *before = block - 1;

    UNUSED;
    *before = 1;
    Free(block);
}

BREACH(frees_twice, "frees a block twice")
{
    PVOID block = Block(POOL, 64);

    UNUSED;
    Free(block);
    Free(block);
}

BREACH(frees_inside, "frees an address that is inside a block")
{
    UCHAR *block = Block(POOL, 64);

    UNUSED;
    Free(block + 16);
}

BREACH(frees_by_other_tag, "BAD_POOL_CALLER.*frees a block with another tag than it has")
{
    UNUSED;
    ExFreePoolWithTag(Block(POOL, 64), TAG + 1);
}

BREACH(frees_held_lock, "frees a block with a spin lock in it that is held")
{
    PKSPIN_LOCK block = Block(POOL, 64);
    KIRQL irql;

    UNUSED;
    *block = 0;
    KeAcquireSpinLock(block, &irql);
    Free(block);
}

BREACH(paged_at_dispatch, "allocates paged pool at DISPATCH_LEVEL")
{
    UNUSED;
    (void)Dispatch();
    (void)Block(PagedPool, 64);
}

BREACH(frees_paged_at_dispatch, "frees paged pool at DISPATCH_LEVEL")
{
    PVOID block = Block(PagedPool, 64);

    UNUSED;
    (void)Dispatch();
    Free(block);
}

BREACH(nonpaged_too_high, "allocates nonpaged pool at a device's IRQL")
{
    UNUSED;
    (void)High();
    (void)Block(POOL, 64);
}

BREACH(frees_nonpaged_too_high, "frees nonpaged pool at a device's IRQL")
{
    PVOID block = Block(POOL, 64);

    UNUSED;
    (void)High();
    Free(block);
}

BREACH(allocates_nothing, "allocates a block of no bytes")
{
    UNUSED;
    (void)Block(POOL, 0);
}

BREACH(allocates_untagged, "BAD_POOL_CALLER.*allocates a block without a tag")
{
    UNUSED;
    (void)ExAllocatePoolWithTag(POOL, 64, 0);
}

BREACH(leaks_pool, "1 blocks, 40 bytes, are not freed at the unload; the first has tag Brak, 40 bytes")
{
    UNUSED;
    (void)Block(POOL, 40);
}
