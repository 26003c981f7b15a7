/* MDLs. */
#include "breaker.h"

static PMDL Mdl(PVOID block)
{
    return IoAllocateMdl(block, 64, FALSE, FALSE, NULL);
}

BREACH(maps_unbuilt, "maps an MDL that is neither built nor locked")
{
    UNUSED;
    (void)MmGetSystemAddressForMdlSafe(Mdl(Block(POOL, 64)), NormalPagePriority);
}

BREACH(sends_unbuilt, "WskSend.*is given an MDL that is neither built nor locked")
{
    WSK_BUF buffer = {Mdl(Block(POOL, 64)), 0, 64};

    (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
    (void)Wait(link);
}

BREACH(builds_twice, "builds an MDL that is built or locked already")
{
    MmBuildMdlForNonPagedPool(link->mdl);
}

BREACH(builds_paged, "builds an MDL of paged pool")
{
    UNUSED;
    MmBuildMdlForNonPagedPool(Mdl(Block(PagedPool, 64)));
}

BREACH(builds_stack, "builds an MDL of the thread's stack")
{
    UCHAR room[64];

    UNUSED;
    MmBuildMdlForNonPagedPool(Mdl(room));
}

BREACH(locks_built, "locks the pages of an MDL twice, or of a built one")
{
    MmProbeAndLockPages(link->mdl, KernelMode, IoReadAccess);
}

BREACH(unlocks_built, "unlocks an MDL of nonpaged pool")
{
    MmUnlockPages(link->mdl);
}

BREACH(unlocks_partial, "unlocks a partial MDL")
{
    PMDL mdl = Mdl(Block(PagedPool, 64));

    UNUSED;
    mdl->MdlFlags |= MDL_PARTIAL;
    MmUnlockPages(mdl);
}

BREACH(unlocks_unlocked, "unlocks an MDL whose pages are not locked")
{
    UNUSED;
    MmUnlockPages(Mdl(Block(PagedPool, 64)));
}

BREACH(frees_locked_mdl, "frees an MDL whose pages are locked")
{
    PMDL mdl = Mdl(Block(PagedPool, 64));

    UNUSED;
    MmProbeAndLockPages(mdl, KernelMode, IoReadAccess);
    IoFreeMdl(mdl);
}

BREACH(frees_mdl_twice, "IoFreeMdl.*frees a block twice")
{
    PMDL mdl = Mdl(Block(POOL, 64));

    UNUSED;
    IoFreeMdl(mdl);
    IoFreeMdl(mdl);
}

BREACH(frees_buffer_in_use, "finds the memory of its buffer freed before the IRP was completed")
{
    PVOID block = Block(POOL, 64);
    PMDL mdl = Mdl(block);
    WSK_BUF buffer = {mdl, 0, 64};

    MmBuildMdlForNonPagedPool(mdl);
    Free(block);
    (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
    (void)Wait(link);
    IoFreeMdl(mdl);
}
