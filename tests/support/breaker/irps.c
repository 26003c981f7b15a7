/* IRPs. */
#include "breaker.h"

static PIRP Pending(LINK *link)
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, WSK_FLAG_WAITALL, Ready(link));
    return link->irp;
}

BREACH(frees_pending_irp, "frees an IRP that WSK has not completed")
{
    IoFreeIrp(Pending(link));
}

BREACH(reuses_pending_irp, "makes an IRP ready for another use that WSK has not completed")
{
    IoReuseIrp(Pending(link), STATUS_UNSUCCESSFUL);
}

BREACH(frees_irp_as_pool, "frees an IRP, which goes back by IoFreeIrp")
{
    UNUSED;
    Free(IoAllocateIrp(1, FALSE));
}

/* Tells nobody: whoever waited would use the IRP again, which is another breach, before this one is noticed. */
static NTSTATUS NTAPI LetsGo(PDEVICE_OBJECT device, PIRP irp, PVOID done)
{
    (void)device, (void)irp, (void)done;
    return STATUS_SUCCESS;
}

BREACH(lets_irp_go, "lets the I/O manager complete an IRP of the driver's own")
{
    WSK_BUF buffer = {link->mdl, 0, 1};

    (void)Ready(link);
    IoSetCompletionRoutine(link->irp, LetsGo, &link->done, TRUE, TRUE, TRUE);
    (void)Of(link)->WskSend(link->socket, &buffer, 0, link->irp);
    (void)Wait(link);
}
