/*
 * Lookaside lists: without depth, so that each block comes from special pool and goes back there, as with Driver Verifier.
 *
 * Drivers allocate and free inline, by way of the pointers in the list.
 */
#include "strict.h"

#if !defined(WSKLAB_NATIVE)

static VOID NTAPI initialize_nonpaged(PNPAGED_LOOKASIDE_LIST list, PALLOCATE_FUNCTION allocate, PFREE_FUNCTION release,
                                      ULONG flags, SIZE_T size, ULONG tag, USHORT depth)
{
    const struct site site = SITE("ExInitializeNPagedLookasideList");

    ExInitializeNPagedLookasideList(list, allocate ? allocate : pool_routine_allocate,
                                    release ? release : pool_routine_free, flags, size, tag, depth);
    list->L.Depth = 0;
    object_used(OBJECT_LOOKASIDE, list, site.caller, NULL);
}

static VOID NTAPI initialize_paged(PPAGED_LOOKASIDE_LIST list, PALLOCATE_FUNCTION allocate, PFREE_FUNCTION release,
                                   ULONG flags, SIZE_T size, ULONG tag, USHORT depth)
{
    const struct site site = SITE("ExInitializePagedLookasideList");

    irql_rule_of(&site);
    ExInitializePagedLookasideList(list, allocate ? allocate : pool_routine_allocate,
                                   release ? release : pool_routine_free, flags, size, tag, depth);
    list->L.Depth = 0;
    object_used(OBJECT_LOOKASIDE, list, site.caller, NULL);
}

static VOID NTAPI delete_nonpaged(PNPAGED_LOOKASIDE_LIST list)
{
    (void)object_unused(OBJECT_LOOKASIDE, list);
    ExDeleteNPagedLookasideList(list);
}

static VOID NTAPI delete_paged(PPAGED_LOOKASIDE_LIST list)
{
    irql_rule_of(&SITE("ExDeletePagedLookasideList"));
    (void)object_unused(OBJECT_LOOKASIDE, list);
    ExDeletePagedLookasideList(list);
}

const struct replacement lookaside_replacements[] = {
    {"ExInitializeNPagedLookasideList", initialize_nonpaged},
    {"ExInitializePagedLookasideList", initialize_paged},
    {"ExDeleteNPagedLookasideList", delete_nonpaged},
    {"ExDeletePagedLookasideList", delete_paged},
    {NULL, NULL},
};

#endif
