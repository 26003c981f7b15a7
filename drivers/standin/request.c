/* IRPs: each is completed exactly once, whatever happens (R86), and can be cancelled while it waits. */
#include "standin.h"

static LIST_ENTRY *bucket_of(PIRP irp)
{
    return &provider.in_flight[((ULONG_PTR)irp >> 5) % IN_FLIGHT_BUCKETS];
}

/* With the lock held. */
static struct request *find_in_flight(PIRP irp)
{
    LIST_ENTRY *bucket = bucket_of(irp);

    for (LIST_ENTRY *entry = bucket->Flink; entry != bucket; entry = entry->Flink) {
        struct request *request = CONTAINING_RECORD(entry, struct request, in_flight);

        if (request->irp == irp)
            return request;
    }
    return NULL;
}

void request_complete(const struct seen *seen, struct level level)
{
    PIRP irp = seen->irp;
    NTSTATUS status = seen->status;
    ULONG_PTR information = seen->information;
    PIO_COMPLETION_ROUTINE routine = IoGetCurrentIrpStackLocation(irp)->CompletionRoutine;

    witness(seen);
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    irp_with_wsk(irp, false);
    if (strict_on(STRICT_MEMORY) && irp_is_ours(irp))
        irp_complete(&(struct site){"IoCompletion", (const void *)(ULONG_PTR)routine}, irp);
    else
        IoCompleteRequest(irp, IO_NO_INCREMENT);
    level_leave(level, "IoCompletion", (const void *)(ULONG_PTR)routine);
}

/* A call that is answered at once, without a request. */
static void complete_refused(const char *function, struct client *client, PIRP irp, NTSTATUS status)
{
    struct seen seen = {.what = "call", .function = function, .client = client, .irp = irp, .status = status};

    witness(&seen);
    seen.what = "done";
    request_complete(&seen, level_begin(false));
}

/* Still in another call: such an IRP must not be completed a second time. */
static bool irp_busy(const char *function, PIRP irp)
{
    bool busy;

    lock_acquire(&provider.lock);
    busy = irp && find_in_flight(irp);
    lock_release(&provider.lock);
    if (busy)
        REPORT("R84", "%s with an IRP that has not been completed yet", function);
    return busy;
}

/* What R83 asks of an IRP; false when it cannot be used at all. */
static bool irp_usable(const char *function, PIRP irp)
{
    PIO_STACK_LOCATION next;

    if (!irp) {
        REPORT("R83", "%s without an IRP", function);
        return false;
    }
    if (irp->CurrentLocation < 2) {
        REPORT("R83", "%s with an IRP that has no stack location", function);
        return false;
    }
    next = IoGetNextIrpStackLocation(irp);
    if (!next->CompletionRoutine ||
        (next->Control & 0xe0) != (SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_SUCCESS))
        REPORT("R83", "%s with an IRP whose completion routine is not set for success, error and cancel", function);
    return true;
}

struct socket *socket_enter(const char *function, PWSK_SOCKET wsk)
{
    struct socket *socket = CONTAINING_RECORD(wsk, struct socket, wsk);
    bool usable, dead;

    lock_acquire(&provider.lock);
    dead = socket->magic != SOCKET_LIVE;
    usable = !dead && !socket->closing;
    if (usable)
        socket->calls++;
    lock_release(&provider.lock);
    if (usable)
        return socket;
    REPORT("R72", "%s on a socket that is %s (socket %u)", function, dead ? "closed" : "being closed",
           (unsigned)socket->serial);
    return NULL;
}

void socket_leave(struct socket *socket)
{
    lock_acquire(&provider.lock);
    socket->calls--;
    lock_release(&provider.lock);
}

/* Whether the scenario has WSK short of memory here. Never in a close: nothing says how a driver could go on then. */
static bool fails_on_purpose(const char *function, const struct client *client, enum operation operation)
{
    return operation != OP_CLOSE && scarce_fails(&(struct site){function, NULL}, client->dispatch);
}

struct request *request_begin(const char *function, struct client *client, struct socket *socket, PIRP irp,
                              enum operation operation, NTSTATUS *status)
{
    struct request *request;

    *status = STATUS_INVALID_PARAMETER;
    if (irql_now() > DISPATCH_LEVEL)
        STOP(&((const struct site){function, NULL}), 0x0A, 0, irql_now(), 0, 0,
             "is called at IRQL %u, and may be at most at DISPATCH_LEVEL", irql_now());
    if (irp_busy(function, irp) || !irp_usable(function, irp)) {
        if (socket)
            socket_leave(socket);
        return NULL;
    }
    request = fails_on_purpose(function, client, operation)
                  ? NULL
                  : ExAllocatePoolWithTag(NonPagedPool, sizeof *request, POOL_TAG);
    if (!request) {
        *status = STATUS_INSUFFICIENT_RESOURCES;
        IoSetNextIrpStackLocation(irp);
        complete_refused(function, client, irp, *status);
        if (socket)
            socket_leave(socket);
        return NULL;
    }
    RtlZeroMemory(request, sizeof *request);
    InitializeListHead(&request->link);
    InitializeListHead(&request->cancelled);
    request->operation = operation;
    request->function = function;
    request->client = client;
    request->socket = socket;
    request->irp = irp;

    lock_acquire(&provider.lock);
    InsertTailList(bucket_of(irp), &request->in_flight);
    client->requests++;
    lock_release(&provider.lock);
    irp_with_wsk(irp, true);
    IoSetNextIrpStackLocation(irp);
    *status = STATUS_SUCCESS;
    return request;
}

NTSTATUS request_lost(const char *function, PIRP irp)
{
    if (!irp_busy(function, irp) && irp_usable(function, irp)) {
        IoSetNextIrpStackLocation(irp);
        complete_refused(function, NULL, irp, STATUS_INVALID_HANDLE);
    }
    return STATUS_INVALID_HANDLE;
}

/* IoCancelIrp calls it with the cancel lock held, which it has to release. */
static VOID NTAPI cancel_routine(PDEVICE_OBJECT device, PIRP irp)
{
    struct request *request;

    (void)device;
    lock_acquire(&provider.lock);
    request = find_in_flight(irp);
    if (request && IsListEmpty(&request->cancelled))
        InsertTailList(&provider.cancelled, &request->cancelled);
    lock_release(&provider.lock);
    IoReleaseCancelSpinLock(irp->CancelIrql);
    engine_wake();
}

NTSTATUS request_submit(struct request *request)
{
    struct socket *socket = request->socket;
    PIRP irp = request->irp;
    struct client *client = request->client;
    struct request copy; /* the request is gone when the engine has finished it */
    bool was_empty;
    struct inline_call *waiter = NULL;
    struct seen seen;

    if (request->operation != OP_CLOSE && request->operation != OP_EVENTS_OFF)
        waiter = request->waiter = inline_begin(socket);
    if (!waiter)
        witness_call(request, STATUS_PENDING);
    IoMarkIrpPending(irp);
    request->cancellable = request->operation != OP_CLOSE && request->operation != OP_EVENTS_OFF;
    /* All under one lock: the engine takes the request, and may complete the IRP, only when everything is in place. */
    lock_acquire(&provider.lock);
    copy = *request; /* with its links, which other threads change when their requests come and go */
    if (request->cancellable) {
        IoSetCancelRoutine(irp, cancel_routine);
        if (irp->Cancel && IoSetCancelRoutine(irp, NULL))
            InsertTailList(&provider.cancelled, &request->cancelled);
    }
    was_empty = IsListEmpty(&provider.inbox);
    InsertTailList(&provider.inbox, &request->link);
    if (socket) {
        socket->calls--;
        if (request->operation == OP_RECEIVE)
            socket->receives_coming++;
    }
    lock_release(&provider.lock);
    if (was_empty)
        engine_wake();
    if (!waiter || !inline_await(waiter, &copy, &seen))
        return STATUS_PENDING;
    IoGetCurrentIrpStackLocation(irp)->Control &= (UCHAR)~SL_PENDING_RETURNED;
    request_complete(&seen, level_begin(false));
    request_returned(client);
    return seen.status;
}

NTSTATUS request_refuse(struct request *request, NTSTATUS status)
{
    witness_call(request, status);
    if (request->socket)
        socket_leave(request->socket);
    request->at_once = true;
    request_finish(request, status, 0);
    return status;
}

/* Of the socket that the request is about, or has made. */
static ULONG serial_of(const struct request *request, NTSTATUS status, ULONG_PTR information)
{
    bool makes =
        request->operation == OP_OPEN || request->operation == OP_OPEN_CONNECT || request->operation == OP_ACCEPT;

    if (makes && status == STATUS_SUCCESS && information)
        return CONTAINING_RECORD((PWSK_SOCKET)information, struct socket, wsk)->serial;
    return request->socket ? request->socket->serial : 0;
}

void request_finish(struct request *request, NTSTATUS status, ULONG_PTR information)
{
    struct client *client = request->client;
    struct socket *socket = in_engine() ? request->socket : NULL; /* else in the driver's own thread, at its IRQL */
    PIRP irp = request->irp;
    struct inline_call *waiter;
    enum operation operation = request->operation;
    bool at_once; /* or events could come for a socket of which the driver does not know yet */
    const struct seen seen = {.what = "done",
                              .function = request->function,
                              .client = client,
                              .socket = serial_of(request, status, information),
                              .irp = irp,
                              .status = status,
                              .information = information};

    if (request->cancellable && !IoSetCancelRoutine(irp, NULL)) {
        KIRQL irql;

        /* The cancel routine has been taken. It runs under the cancel lock; afterwards it does not touch the IRP any more. */
        IoAcquireCancelSpinLock(&irql);
        IoReleaseCancelSpinLock(irql);
    }
    lock_acquire(&provider.lock);
    RemoveEntryList(&request->in_flight);
    RemoveEntryList(&request->cancelled);
    lock_release(&provider.lock);
    RemoveEntryList(&request->link);
    waiter = request->waiter;
    at_once = request->at_once || operation == OP_CONNECT || operation == OP_OPEN_CONNECT || operation == OP_ACCEPT;
    ExFreePoolWithTag(request, POOL_TAG);

    if ((waiter && inline_finish(waiter, &seen)) || (socket && !at_once && threads_complete(socket, client, &seen)))
        return;
    request_complete(&seen, level_enter(socket, LEVEL_COMPLETION));
    request_returned(client);
}

/* Only now may WskDeregister return: the completion routine was the driver's code (R80). */
void request_returned(struct client *client)
{
    lock_acquire(&provider.lock);
    client->requests--;
    condition_broadcast(&provider.changed);
    lock_release(&provider.lock);
}

void request_finish_all(LIST_ENTRY *queue, NTSTATUS status)
{
    while (!IsListEmpty(queue))
        request_finish(request_first(queue), status, 0);
}

struct request *request_first(LIST_ENTRY *queue)
{
    return CONTAINING_RECORD(queue->Flink, struct request, link);
}

void request_wake(struct socket *socket)
{
    struct request *request = ExAllocatePoolWithTag(NonPagedPool, sizeof *request, POOL_TAG);
    bool was_empty;

    if (!request)
        return;
    RtlZeroMemory(request, sizeof *request);
    request->operation = OP_WAKE;
    request->socket = socket;
    lock_acquire(&provider.lock);
    was_empty = IsListEmpty(&provider.inbox);
    InsertTailList(&provider.inbox, &request->link);
    lock_release(&provider.lock);
    if (was_empty)
        engine_wake();
}
