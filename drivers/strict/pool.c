/*
 * Special pool: every block ends at the end of a page of its own, and a page without access follows.
 *
 * A write beyond the end, or any access after the free, is an access violation at once (faults.c tells which). The up to 15 bytes
 * between the block's end and the page's, and all before the block, hold a pattern that is looked at when the block is freed. New
 * blocks are filled, as what ExAllocatePoolWithTag gives is not zeroed.
 *
 * The arena is used from its beginning to its end, and nothing in it twice: a freed page stays without access for good. When it is used
 * up, the driver gets Wine's pool, as it gets the ordinary pool on Windows.
 */
#include "strict.h"

enum {
    PAGE = 4096,
    ALIGNMENT = 16, /* of every block of the pool, on x64 */
    FILL = 0xCD,
    PATTERN = 0xFD,
};

#define ARENA_PAGES ((ULONG)(1 << 19)) /* 2 GiB of addresses */

enum block_state { BLOCK_NONE, BLOCK_LIVE, BLOCK_FREED };

/* What is known of a block; kept by the number of its first page. */
struct block {
    ULONG tag;
    UCHAR state;
    bool paged;
    ULONG pages, size;
    const void *allocated, *freed; /* the driver's instructions */
};

static struct {
    struct lock lock;
    UCHAR *arena;
    struct block *blocks;
    ULONG used; /* pages given out so far */
} pool;

/* With pool.lock held. */
static bool pool_open(void)
{
    if (pool.arena)
        return true;
    pool.blocks = os_pages_reserve(ARENA_PAGES * sizeof *pool.blocks);
    if (!pool.blocks || !os_pages_commit(pool.blocks, ARENA_PAGES * sizeof *pool.blocks))
        return false;
    pool.arena = os_pages_reserve((SIZE_T)ARENA_PAGES * PAGE);
    return pool.arena != NULL;
}

static UCHAR *start_of(const struct block *block)
{
    UCHAR *end = pool.arena + (SIZE_T)(block - pool.blocks + block->pages) * PAGE;

    return end - (block->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The block whose pages, or whose guard page, hold the address; NULL when it is none of ours. */
static struct block *block_at(const void *address)
{
    SIZE_T offset = (SIZE_T)((const UCHAR *)address - pool.arena);

    if (!pool.arena || offset >= (SIZE_T)pool.used * PAGE)
        return NULL;
    for (struct block *block = &pool.blocks[offset / PAGE]; block >= pool.blocks; block--)
        if (block->state != BLOCK_NONE)
            return block;
    return NULL;
}

bool pool_owns(const void *address)
{
    return block_at(address) != NULL;
}

bool pool_is_live(const void *address)
{
    const struct block *block = block_at(address);

    return block && block->state == BLOCK_LIVE;
}

bool pool_is_paged(const void *address)
{
    const struct block *block = block_at(address);

    return block && block->paged;
}

ULONG pool_tag_of(const void *address)
{
    const struct block *block = block_at(address);

    return block ? block->tag : 0;
}

static void check_request(const struct site *site, bool paged, SIZE_T size, ULONG tag)
{
    KIRQL irql = irql_now();

    stack_check(site);
    if (irql > (paged ? APC_LEVEL : DISPATCH_LEVEL))
        STOP(site, CHECK_VERIFIER, paged ? 1 : 2, irql, paged, size, "allocates %s pool at %s",
             paged ? "paged" : "nonpaged", irql_name(irql));
    if (!size)
        STOP(site, CHECK_VERIFIER, 0, irql, paged, 0, "allocates a block of no bytes");
    if (!tag)
        STOP(site, CHECK_BAD_POOL_CALLER, 0x9B, paged, size, site->caller, "allocates a block without a tag");
}

void *pool_allocate(const struct site *site, bool paged, SIZE_T size, ULONG tag, bool *exhausted)
{
    ULONG pages = (ULONG)((size + PAGE - 1) / PAGE);
    struct block *block = NULL;
    UCHAR *start;

    *exhausted = false;
    check_request(site, paged, size, tag);
    lock_acquire(&pool.lock);
    if (size < (SIZE_T)ARENA_PAGES * PAGE && pool_open() && pages < ARENA_PAGES - pool.used) {
        block = &pool.blocks[pool.used];
        *block = (struct block){.tag = tag,
                                .state = BLOCK_LIVE,
                                .paged = paged,
                                .pages = pages,
                                .size = (ULONG)size,
                                .allocated = site->caller};
        pool.used += pages + 1;
    }
    lock_release(&pool.lock);
    if (!block || !os_pages_commit(pool.arena + (SIZE_T)(block - pool.blocks) * PAGE, (SIZE_T)pages * PAGE)) {
        *exhausted = true;
        return NULL;
    }
    start = start_of(block);
    RtlFillMemory(pool.arena + (SIZE_T)(block - pool.blocks) * PAGE, (SIZE_T)pages * PAGE, PATTERN);
    RtlFillMemory(start, size, FILL);
    return start;
}

/* The first byte that is not the pattern any more; NULL when all are. */
static const UCHAR *damage_in(const UCHAR *from, const UCHAR *end)
{
    for (; from < end; from++)
        if (*from != PATTERN)
            return from;
    return NULL;
}

static void check_edges(const struct site *site, const struct block *block)
{
    const UCHAR *start = start_of(block), *page = (const UCHAR *)((ULONG_PTR)start & ~(ULONG_PTR)(PAGE - 1));
    const UCHAR *end = start + block->size,
                *damage = damage_in(end, (const UCHAR *)(((ULONG_PTR)end + PAGE - 1) & ~(ULONG_PTR)(PAGE - 1)));

    if (damage)
        STOP(site, CHECK_SPECIAL_POOL, start, damage, 0, 0x24,
             "frees a block of %u bytes that was written beyond its end", (unsigned)block->size);
    damage = damage_in(page, start);
    if (damage)
        STOP(site, CHECK_SPECIAL_POOL, start, damage, 0, 0x23,
             "frees a block of %u bytes that was written before its start", (unsigned)block->size);
}

/* False: it is none of this pool's, and may be Wine's. */
bool pool_free(const struct site *site, void *address, ULONG tag)
{
    struct block *block = block_at(address);
    KIRQL irql = irql_now();

    if (!block)
        return false;
    if (block->state == BLOCK_FREED)
        STOP(site, CHECK_VERIFIER, 0x13, address, block->tag, 0, "frees a block twice");
    if (address != start_of(block))
        STOP(site, CHECK_VERIFIER, 0x16, address, start_of(block), 0, "frees an address that is inside a block");
    if (tag && tag != block->tag)
        STOP(site, CHECK_BAD_POOL_CALLER, 0x0A, address, block->tag, tag, "frees a block with another tag than it has");
    if (irql > (block->paged ? APC_LEVEL : DISPATCH_LEVEL))
        STOP(site, CHECK_VERIFIER, block->paged ? 0x11 : 0x12, irql, block->paged, address, "frees %s pool at %s",
             block->paged ? "paged" : "nonpaged", irql_name(irql));
    check_edges(site, block);
    if (spin_held_in(address, block->size))
        STOP(site, CHECK_VERIFIER, 0x100B, address, 0, 0, "frees a block with a spin lock in it that is held");
    objects_check_block(site, address, block->size);
    order_forget(address, block->size);
    block->freed = site->caller;
    block->state = BLOCK_FREED;
    os_pages_decommit(pool.arena + (SIZE_T)(block - pool.blocks) * PAGE, (SIZE_T)block->pages * PAGE);
    return true;
}

/* A driver's access violation at this address: what it means if that is the pool's; otherwise nothing. */
void pool_fault(const void *address, const void *at, bool write, bool drivers)
{
    const struct block *block = block_at(address);
    const struct site site = {write ? "a write" : "a read", at};

    if (!block)
        return;
    if (block->state == BLOCK_FREED)
        STOP(&site, drivers ? 0xD5 : 0xCC, address, write, at, 0, "is made of pool that was freed");
    STOP(&site, drivers ? 0xD6 : 0xCD, address, write, at, 0, "is made beyond the end of a block of %u bytes",
         (unsigned)block->size);
}

/* An image goes: what its code has allocated must have been freed. */
void pool_check_leaks(const void *base, ULONG size, const char *name)
{
    const struct block *first = NULL;
    ULONG count = 0, bytes = 0;

    for (ULONG page = 0; page < pool.used; page++) {
        const struct block *block = &pool.blocks[page];

        if (block->state != BLOCK_LIVE || (ULONG_PTR)block->allocated - (ULONG_PTR)base >= size)
            continue;
        first = first ? first : block;
        count++;
        bytes += block->size;
    }
    if (first) {
        const struct site site = {"DriverUnload", first->allocated};
        const char *tag = (const char *)&first->tag;

        STOP(&site, CHECK_VERIFIER, 0x62, name, 0, count,
             "%u blocks, %u bytes, are not freed at the unload; the first has tag %c%c%c%c, %u bytes, and was "
             "allocated there",
             (unsigned)count, (unsigned)bytes, tag[0], tag[1], tag[2], tag[3], (unsigned)first->size);
    }
}

#if !defined(WSKLAB_NATIVE)

/* A block of special pool, or of Wine's when that is used up; NULL when the scenario has it fail. */
static PVOID give(const struct site *site, POOL_TYPE type, SIZE_T size, ULONG tag)
{
    bool exhausted;
    PVOID block;

    check_request(site, (type & 1) != 0, size, tag);
    if (scarce_fails(site, site->caller))
        return NULL;
    block = pool_allocate(site, (type & 1) != 0, size, tag, &exhausted);
    return exhausted ? ExAllocatePoolWithTag(type, size, tag) : block;
}

static PVOID NTAPI allocate(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    return give(&SITE("ExAllocatePoolWithTag"), type, size, tag);
}

static PVOID NTAPI allocate_untagged(POOL_TYPE type, SIZE_T size)
{
    return give(&SITE("ExAllocatePool"), type, size, 0x656e6f4e /* 'None' */);
}

/* Windows 10 2004 and later; Wine 8.0 has none. */
static PVOID NTAPI allocate_zeroed(ULONGLONG flags, SIZE_T size, ULONG tag)
{
    enum { POOL_UNINITIALIZED = 0x2, POOL_PAGED = 0x100 };
    PVOID block = give(&SITE("ExAllocatePool2"), (flags & POOL_PAGED) ? PagedPool : NonPagedPool, size, tag);

    if (block && !(flags & POOL_UNINITIALIZED))
        RtlZeroMemory(block, size);
    return block;
}

static void take(const struct site *site, PVOID block, ULONG tag)
{
    if (irp_is_ours(block) && pool_is_live(block))
        STOP(site, CHECK_VERIFIER, 0x105, block, 0, 0, "frees an IRP, which goes back by IoFreeIrp");
    if (!pool_free(site, block, tag))
        ExFreePoolWithTag(block, tag);
}

static VOID NTAPI free_tagged(PVOID block, ULONG tag)
{
    take(&SITE("ExFreePoolWithTag"), block, tag);
}

static VOID NTAPI free_untagged(PVOID block)
{
    take(&SITE("ExFreePool"), block, 0);
}

PVOID NTAPI pool_routine_allocate(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    return give(&SITE("a lookaside list"), type, size, tag);
}

VOID NTAPI pool_routine_free(PVOID block)
{
    take(&SITE("a lookaside list"), block, 0);
}

const struct replacement pool_replacements[] = {
    {"ExAllocatePoolWithTag", allocate}, {"ExAllocatePool", allocate_untagged}, {"ExAllocatePool2", allocate_zeroed},
    {"ExFreePoolWithTag", free_tagged},  {"ExFreePool", free_untagged},         {NULL, NULL},
};

#endif
