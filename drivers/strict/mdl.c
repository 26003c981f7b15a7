/*
 * MDLs: allocated from special pool, and with a state that Wine's do not have. Wine's MmBuildMdlForNonPagedPool does nothing, and its
 * MmMapLockedPagesSpecifyCache returns NULL.
 */
#include "strict.h"

#define MDL_TAG 0x206c644d /* 'Mdl ' */

enum { MDL_PAGE = 4096, PARTIAL = 0x0010 };

/* An MDL describes memory that cannot go away once it is built, or its pages are locked; until then it is an address and a length. */
static bool describes(const MDL *mdl)
{
    return (mdl->MdlFlags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | PARTIAL)) != 0;
}

static UCHAR *address_of(const MDL *mdl)
{
    return (UCHAR *)mdl->StartVa + mdl->ByteOffset;
}

PMDL mdl_allocate(const struct site *site, void *address, ULONG length)
{
    ULONG offset = (ULONG)((ULONG_PTR)address % MDL_PAGE);
    SIZE_T pages = ((SIZE_T)offset + length + MDL_PAGE - 1) / MDL_PAGE;
    SIZE_T size = sizeof(MDL) + pages * sizeof(ULONG_PTR);
    bool exhausted;
    PMDL mdl = pool_allocate(site, false, size, MDL_TAG, &exhausted);

    if (!mdl)
        return NULL;
    RtlZeroMemory(mdl, sizeof *mdl);
    mdl->Size = (CSHORT)(size < 0x7fff ? size : 0x7fff);
    mdl->StartVa = (UCHAR *)address - offset;
    mdl->ByteOffset = offset;
    mdl->ByteCount = length;
    return mdl;
}

void mdl_free(const struct site *site, PMDL mdl)
{
    if (pool_owns(mdl) && pool_is_live(mdl) && (mdl->MdlFlags & MDL_PAGES_LOCKED))
        STOP(site, 0xCB, 0, 0, mdl, (mdl->ByteOffset + mdl->ByteCount + MDL_PAGE - 1) / MDL_PAGE,
             "frees an MDL whose pages are locked");
    (void)pool_free(site, mdl, MDL_TAG);
}

void mdl_build(const struct site *site, PMDL mdl)
{
    if (describes(mdl))
        STOP(site, CHECK_VERIFIER, 0x140, irql_now(), mdl, address_of(mdl),
             "builds an MDL that is built or locked already");
    if (pool_is_paged(address_of(mdl)))
        STOP(site, CHECK_VERIFIER, 0x7F, irql_now(), mdl, mdl->MdlFlags, "builds an MDL of paged pool");
    if (os_on_stack(address_of(mdl)))
        STOP(site, CHECK_VERIFIER, 0x140, irql_now(), mdl, address_of(mdl), "builds an MDL of the thread's stack");
    mdl->MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
    mdl->MappedSystemVa = address_of(mdl);
}

void mdl_lock(const struct site *site, PMDL mdl)
{
    if (describes(mdl))
        STOP(site, CHECK_VERIFIER, 0xB0, mdl, mdl->MdlFlags, mdl->MdlFlags,
             "locks the pages of an MDL twice, or of a built one");
    mdl->MdlFlags |= MDL_PAGES_LOCKED;
}

void mdl_unlock(const struct site *site, PMDL mdl)
{
    if (mdl->MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL)
        STOP(site, CHECK_VERIFIER, 0x7D, mdl, mdl->MdlFlags, 0, "unlocks an MDL of nonpaged pool");
    if (mdl->MdlFlags & PARTIAL)
        STOP(site, CHECK_VERIFIER, 0xB4, mdl, mdl->MdlFlags, 0, "unlocks a partial MDL");
    if (!(mdl->MdlFlags & MDL_PAGES_LOCKED))
        STOP(site, CHECK_VERIFIER, 0x7C, mdl, mdl->MdlFlags, 0, "unlocks an MDL whose pages are not locked");
    mdl->MdlFlags &= (CSHORT) ~(MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA);
}

void *mdl_map(const struct site *site, PMDL mdl)
{
    if (!describes(mdl))
        STOP(site, CHECK_VERIFIER, 0x140, irql_now(), mdl, address_of(mdl),
             "maps an MDL that is neither built nor locked");
    mdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
    mdl->MappedSystemVa = address_of(mdl);
    return mdl->MappedSystemVa;
}

void mdl_check_chain(const struct site *site, PMDL mdl)
{
    for (; mdl; mdl = mdl->Next)
        if (!describes(mdl))
            STOP(site, CHECK_VERIFIER, 0x140, irql_now(), mdl, address_of(mdl),
                 "is given an MDL that is neither built nor locked");
}

#if !defined(WSKLAB_NATIVE)

static PMDL NTAPI allocate(PVOID address, ULONG length, BOOLEAN secondary, BOOLEAN charge, PIRP irp)
{
    const struct site site = SITE("IoAllocateMdl");
    PMDL mdl = scarce_fails(&site, site.caller) ? NULL : mdl_allocate(&site, address, length);
    PMDL *end;

    (void)charge;
    if (!mdl || !irp)
        return mdl;
    for (end = &irp->MdlAddress; secondary && *end;)
        end = &(*end)->Next;
    *end = mdl;
    return mdl;
}

static VOID NTAPI release(PMDL mdl)
{
    mdl_free(&SITE("IoFreeMdl"), mdl);
}

static VOID NTAPI build(PMDL mdl)
{
    mdl_build(&SITE("MmBuildMdlForNonPagedPool"), mdl);
}

static VOID NTAPI probe_and_lock(PMDL mdl, KPROCESSOR_MODE mode, LOCK_OPERATION operation)
{
    (void)mode, (void)operation;
    mdl_lock(&SITE("MmProbeAndLockPages"), mdl);
}

static VOID NTAPI unlock(PMDL mdl)
{
    mdl_unlock(&SITE("MmUnlockPages"), mdl);
}

static PVOID NTAPI map(PMDL mdl, KPROCESSOR_MODE mode, MEMORY_CACHING_TYPE cache, PVOID wanted, ULONG bugcheck,
                       ULONG priority)
{
    const struct site site = SITE("MmMapLockedPagesSpecifyCache");

    (void)mode, (void)cache, (void)wanted, (void)bugcheck, (void)priority;
    return scarce_fails(&site, site.caller) ? NULL : mdl_map(&site, mdl);
}

const struct replacement mdl_replacements[] = {
    {"IoAllocateMdl", allocate},
    {"IoFreeMdl", release},
    {"MmBuildMdlForNonPagedPool", build},
    {"MmProbeAndLockPages", probe_and_lock},
    {"MmUnlockPages", unlock},
    {"MmMapLockedPagesSpecifyCache", map},
    {NULL, NULL},
};

#endif
