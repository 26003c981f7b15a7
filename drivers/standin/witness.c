/*
 * The provider as a witness: with the strict mode on, a line for each WSK function that a driver calls, each IRP that is completed
 * and each callback that is called and returns. What a driver did is known then without a word of its own.
 *
 * A call is told before anything can come of it, so that its line stands before the one of its completion; a callback is told
 * before the driver's code runs, and once more when it has returned. drivers/witness.py reads the lines.
 */
#include "standin.h"

static unsigned high(ULONG_PTR word)
{
    return (unsigned)((ULONGLONG)word >> 32);
}

bool witness_on(void)
{
    return strict_on(STRICT_WITNESS) && !__atomic_load_n(&provider.quiet, __ATOMIC_RELAXED);
}

void witness(const struct seen *seen)
{
    static LONG lines;
    const void *client = seen->client ? seen->client->dispatch : NULL;
    ULONG_PTR irp = (ULONG_PTR)seen->irp, context = (ULONG_PTR)seen->context;

    if (!witness_on())
        return;
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL,
               "WSKSEEN n=%08x ev=%s fn=%s drv=%s irql=%u thr=%08x sock=%08x irp=%08x%08x ctx=%08x%08x flags=%08x "
               "st=%08x info=%08x%08x\n",
               (unsigned)InterlockedIncrement(&lines), seen->what, seen->function, strict_image_name(client),
               irql_now(), (unsigned)os_thread_id(), (unsigned)seen->socket, high(irp), (unsigned)irp, high(context),
               (unsigned)context, (unsigned)seen->flags, (unsigned)seen->status, high(seen->information),
               (unsigned)seen->information);
}

/* R4, R42: WSK hands the context to callbacks at up to DISPATCH_LEVEL for as long as the socket lives. */
void witness_context(const char *function, const void *context)
{
    if (!strict_on(STRICT_MEMORY) || !context)
        return;
    if (os_on_stack(context))
        REPORT("R4", "%s is given a socket context that lies on the stack of its caller", function);
    else if (pool_owns(context) && !pool_is_live(context))
        REPORT("R4", "%s is given a socket context that has been freed", function);
    else if (pool_is_paged(context))
        REPORT("R42", "%s is given a socket context in paged pool", function);
}

void witness_event(const char *function, const struct socket *socket, ULONG flags)
{
    if (strict_on(STRICT_MEMORY) && pool_owns(socket->context) && !pool_is_live(socket->context))
        REPORT("R4", "the context of a socket was freed before the socket was closed; %s is called with it (socket %u)",
               function, (unsigned)socket->serial);
    witness(&(struct seen){.what = "event",
                           .function = function,
                           .client = socket->client,
                           .socket = socket->serial,
                           .context = socket->context,
                           .flags = flags});
}

void witness_return(const char *function, const struct socket *socket, NTSTATUS status)
{
    witness(&(struct seen){
        .what = "back", .function = function, .client = socket->client, .socket = socket->serial, .status = status});
}

void witness_call(const struct request *request, NTSTATUS returned)
{
    witness(&(struct seen){.what = "call",
                           .function = request->function,
                           .client = request->client,
                           .socket = request->socket ? request->socket->serial : 0,
                           .irp = request->irp,
                           .context = request->context,
                           .flags = request->flags,
                           .status = returned});
}
