/*
 * IRPs of special pool, of which is known who has them.
 *
 * Wine's IoFreeIrp frees the MDLs that are chained to the IRP, and its IoCompleteRequest frees an IRP whose completion routine lets it;
 * Windows does neither for an IRP that a driver has allocated for itself.
 */
#include "strict.h"

#define IRP_TAG 0x20707249 /* 'Irp ' */

enum { WITH_WSK_MOST = 4096 };

/* The IRPs that WSK has. */
static struct {
    struct lock lock;
    const IRP *irps[WITH_WSK_MOST];
    ULONG count;
} out;

void irp_with_wsk(PIRP irp, bool with)
{
    if (!strict_on(STRICT_MEMORY) || !irp_is_ours(irp))
        return;
    lock_acquire(&out.lock);
    if (with && out.count < WITH_WSK_MOST)
        out.irps[out.count++] = irp;
    for (ULONG i = 0; !with && i < out.count; i++)
        if (out.irps[i] == irp) {
            out.irps[i] = out.irps[--out.count];
            break;
        }
    lock_release(&out.lock);
}

static bool is_out(const IRP *irp)
{
    bool found = false;

    lock_acquire(&out.lock);
    for (ULONG i = 0; i < out.count && !found; i++)
        found = out.irps[i] == irp;
    lock_release(&out.lock);
    return found;
}

bool irp_is_ours(const IRP *irp)
{
    return irp && pool_tag_of(irp) == IRP_TAG;
}

PIRP irp_allocate(const struct site *site, CCHAR locations)
{
    SIZE_T size = sizeof(IRP) + (SIZE_T)locations * sizeof(IO_STACK_LOCATION);
    bool exhausted;
    PIRP irp = pool_allocate(site, false, size, IRP_TAG, &exhausted);

    if (!irp)
        return NULL;
    RtlZeroMemory(irp, size);
#if !defined(WSKLAB_NATIVE)
    irp->Type = 6; /* IO_TYPE_IRP */
    irp->Size = (USHORT)size;
    InitializeListHead(&irp->ThreadListEntry);
#endif
    irp->StackCount = locations;
    irp->CurrentLocation = (CHAR)(locations + 1);
    irp->Tail.Overlay.CurrentStackLocation = (PIO_STACK_LOCATION)(irp + 1) + locations;
    return irp;
}

bool irp_free(const struct site *site, PIRP irp)
{
    if (!pool_owns(irp))
        return false;
    if (pool_is_live(irp) && is_out(irp))
        STOP(site, 0xC9, 0x20A, irp, 0, 0, "frees an IRP that WSK has not completed");
    return pool_free(site, irp, IRP_TAG);
}

void irp_reuse_check(const struct site *site, const IRP *irp)
{
    if (irp_is_ours(irp) && pool_is_live(irp) && is_out(irp))
        STOP(site, 0xC9, 0x310, irp, 0, 0, "makes an IRP ready for another use that WSK has not completed");
}

void irp_complete(const struct site *site, PIRP irp)
{
    while (irp->CurrentLocation <= irp->StackCount) {
        PIO_STACK_LOCATION at = IoGetCurrentIrpStackLocation(irp);
        UCHAR wanted = NT_SUCCESS(irp->IoStatus.Status) ? SL_INVOKE_ON_SUCCESS : SL_INVOKE_ON_ERROR;

        irp->PendingReturned = (at->Control & SL_PENDING_RETURNED) != 0;
        if (irp->Cancel)
            wanted |= SL_INVOKE_ON_CANCEL;
        irp->CurrentLocation++;
        irp->Tail.Overlay.CurrentStackLocation++;
        if (at->CompletionRoutine && (at->Control & wanted) &&
            at->CompletionRoutine(NULL, irp, at->Context) == STATUS_MORE_PROCESSING_REQUIRED)
            return;
    }
    STOP(site, 0xC9, 0x02, irp, 0, 0,
         "lets the I/O manager complete an IRP of the driver's own: the routine returns "
         "STATUS_MORE_PROCESSING_REQUIRED");
}

#if !defined(WSKLAB_NATIVE)

static PIRP NTAPI allocate(CCHAR locations, BOOLEAN charge)
{
    const struct site site = SITE("IoAllocateIrp");
    PIRP irp;

    irql_rule_of(&site);
    if (scarce_fails(&site, site.caller))
        return NULL;
    irp = irp_allocate(&site, locations);
    return irp ? irp : IoAllocateIrp(locations, charge);
}

static VOID NTAPI release(PIRP irp)
{
    const struct site site = SITE("IoFreeIrp");

    irql_rule_of(&site);
    if (!irp_free(&site, irp))
        IoFreeIrp(irp);
}

static VOID NTAPI reuse(PIRP irp, NTSTATUS status)
{
    const struct site site = SITE("IoReuseIrp");

    irql_rule_of(&site);
    irp_reuse_check(&site, irp);
    IoReuseIrp(irp, status);
}

const struct replacement irp_replacements[] = {
    {"IoAllocateIrp", allocate},
    {"IoFreeIrp", release},
    {"IoReuseIrp", reuse},
    {NULL, NULL},
};

#endif
