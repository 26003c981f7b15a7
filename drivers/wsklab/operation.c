/*
 * operation.c - one call of a WSK function with its IRP: made, started, completed, freed exactly once.
 *
 * The IRP is completed whatever the function returns, also with an error (R86), and nothing says whether that
 * happens before or after the return. So two hold an operation, its starter and its IRP, and only the last of
 * them frees it. Every IRP has a completion routine for success, error and cancel, which returns
 * STATUS_MORE_PROCESSING_REQUIRED: the IRP stays ours (R83).
 */
#include "operation.h"
#include "account.h"
#include "call.h"
#include "connection.h"
#include "log.h"
#include "worker.h"

#define QUICK (-10ll * 10000000) /* 10 s for calls that end at once; longer is a fault of the provider */

const char *verb_name(uint32_t verb)
{
    static const char *const names[] = {
        [WSKLAB_OP_CANARY] = "canary",
        [WSKLAB_OP_SOCKET] = "socket",
        [WSKLAB_OP_BIND] = "bind",
        [WSKLAB_OP_CONNECT] = "connect",
        [WSKLAB_OP_SOCKET_CONNECT] = "socket_connect",
        [WSKLAB_OP_OPEN] = "open",
        [WSKLAB_OP_ACCEPT] = "accept",
        [WSKLAB_OP_ACCEPT_EVENTS] = "accept_events",
        [WSKLAB_OP_ENABLE] = "enable",
        [WSKLAB_OP_DISABLE] = "disable",
        [WSKLAB_OP_STATIC_EVENTS] = "static_events",
        [WSKLAB_OP_RECEIVE] = "receive",
        [WSKLAB_OP_SEND] = "send",
        [WSKLAB_OP_DISCONNECT] = "disconnect",
        [WSKLAB_OP_CLOSE] = "close",
        [WSKLAB_OP_CLOSE_ALL] = "close_all",
        [WSKLAB_OP_CANCEL] = "cancel",
        [WSKLAB_OP_RELEASE] = "release",
        [WSKLAB_OP_CONTROL] = "control",
        [WSKLAB_OP_ADDRESSES] = "addresses",
        [WSKLAB_OP_CALLBACK] = "callback",
        [OP_LOCAL] = "local",
        [OP_REMOTE] = "remote",
    };
    return verb < RTL_NUMBER_OF(names) && names[verb] ? names[verb] : "unknown";
}

/* NULL when memory is short. `irp` says whether WSK is given one: it is needed by all calls but ENABLE. */
OPERATION *operation_create(CONNECTION *connection, uint32_t verb, const WSKLAB_COMMAND *command, BOOLEAN irp)
{
    OPERATION *operation = allocate(sizeof *operation);
    if (!operation)
        return NULL;
    if (irp) {
        operation->irp = IoAllocateIrp(1, FALSE);
        if (!operation->irp && !TWIN(USES_MISSING_IRP)) {
            if (!TWIN(LEAKS_WHEN_SHORT))
                release_memory(operation);
            return NULL;
        }
        InterlockedIncrement(&wsklab.allocations);
    }
    operation->references = irp ? 2 : 1;
    operation->verb = verb;
    operation->command = *command;
    RtlCopyMemory(operation->local.bytes, command->local, WSKLAB_ADDRESS);
    RtlCopyMemory(operation->remote.bytes, command->remote, WSKLAB_ADDRESS);
    operation->connection = operation->target = connection;
    connection_hold(connection);
    KeInitializeEvent(&operation->done, NotificationEvent, FALSE);
    return operation;
}

/* A nonpaged buffer of `length` bytes, described by an MDL, as the operation's WSK_BUF. */
NTSTATUS operation_give_buffer(OPERATION *operation, uint32_t length)
{
    operation->data = allocate(length);
    if (!operation->data)
        return STATUS_INSUFFICIENT_RESOURCES;
    operation->mdl = IoAllocateMdl(operation->data, length, FALSE, FALSE, NULL);
    if (!operation->mdl)
        return STATUS_INSUFFICIENT_RESOURCES;
    InterlockedIncrement(&wsklab.allocations);
    MmBuildMdlForNonPagedPool(operation->mdl);
    operation->buffer = (WSK_BUF){.Mdl = operation->mdl, .Offset = 0, .Length = length};
    return STATUS_SUCCESS;
}

void operation_hold(OPERATION *operation)
{
    InterlockedIncrement(&operation->references);
}

void operation_drop(OPERATION *operation)
{
    if (InterlockedDecrement(&operation->references) != 0)
        return;
    if (operation->mdl && !TWIN(LEAKS_MDL)) {
        IoFreeMdl(operation->mdl);
        InterlockedDecrement(&wsklab.allocations);
    }
    if (operation->irp && !TWIN(LEAKS_IRP)) {
        IoFreeIrp(operation->irp);
        InterlockedDecrement(&wsklab.allocations);
    }
    release_memory(operation->data);
    CONNECTION *connection = operation->connection;
    CONNECTION *target = operation->target;
    release_memory(operation); /* first: the last drop of a connection may print ev=clean with the counters */
    if (target != connection)
        connection_drop(target);
    connection_drop(connection);
}

static void link_operation(OPERATION *operation, BOOLEAN in)
{
    KIRQL irql;
    KeAcquireSpinLock(&operation->connection->lock, &irql);
    if (in)
        InsertTailList(&operation->connection->operations, &operation->link);
    else
        RemoveEntryList(&operation->link);
    KeReleaseSpinLock(&operation->connection->lock, irql);
}

/* The function returned. A line for each, unless OPT_BRIEF was asked for and there is nothing to say. */
static void report_call(const OPERATION *operation, NTSTATUS status)
{
    const WSKLAB_COMMAND *command = &operation->command;
    const char *name = verb_name(operation->verb);
    uint32_t connection = operation->connection->id;

    if ((command->options & WSKLAB_OPT_BRIEF) && NT_SUCCESS(status) && status != STATUS_EVENT_PENDING)
        return;
    switch (operation->verb) {
    case WSKLAB_OP_RECEIVE:
    case WSKLAB_OP_SEND:
    case WSKLAB_OP_DISCONNECT:
        log_line(connection, "ev=call op=%s id=%u ret=%08x flags=%08x len=%u seed=%u", name, command->id,
                 (uint32_t)status, command->flags, command->length, command->seed);
        break;
    case WSKLAB_OP_ENABLE:
    case WSKLAB_OP_DISABLE:
        log_line(connection, "ev=call op=%s id=%u ret=%08x mask=%08x", name, command->id, (uint32_t)status,
                 command->mask);
        break;
    case WSKLAB_OP_ACCEPT:
        log_line(connection, "ev=call op=%s id=%u ret=%08x target=%u", name, command->id, (uint32_t)status,
                 command->target);
        break;
    default:
        log_line(connection, "ev=call op=%s id=%u ret=%08x", name, command->id, (uint32_t)status);
    }
}

/* The command `id` makes no WSK call: that is its end. */
NTSTATUS refuse(uint32_t connection, uint32_t verb, uint32_t id, NTSTATUS status)
{
    log_line(connection, "ev=refused op=%s id=%u st=%08x", verb_name(verb), id, (uint32_t)status);
    return status;
}

/* WSK never sees this operation: say what became of it, and give it away. */
NTSTATUS operation_refuse(OPERATION *operation, NTSTATUS status)
{
    operation->status = status;
    KeSetEvent(&operation->done, IO_NO_INCREMENT, FALSE);
    if (operation->irp)
        operation_drop(operation); /* the IRP's hold */
    if (!NT_SUCCESS(status))
        (void)refuse(operation->connection->id, operation->verb, operation->command.id, status);
    operation_drop(operation);
    return status;
}

/* Parts of OPEN that succeed say nothing when OPT_BRIEF was asked for. */
static BOOLEAN is_silent(const OPERATION *operation)
{
    BOOLEAN part =
        operation->verb == WSKLAB_OP_SOCKET || operation->verb == WSKLAB_OP_BIND || operation->verb == OP_LOCAL;
    return part && (operation->command.options & WSKLAB_OPT_BRIEF) && NT_SUCCESS(operation->status);
}

/* What a completed call has changed, and its line. */
static void report(OPERATION *operation, ULONG_PTR information)
{
    CONNECTION *connection = operation->connection;
    CONNECTION *target = operation->target;
    const char *name = verb_name(operation->verb);
    uint32_t id = operation->command.id;
    uint32_t status = (uint32_t)operation->status;

    if (operation->verb == OP_LOCAL && NT_SUCCESS(operation->status))
        connection->local = operation->local;
    if (operation->target->maker == operation) /* Information is the new socket */
        connection_made(target, NT_SUCCESS(operation->status) ? (PWSK_SOCKET)information : NULL);
    if (is_silent(operation))
        return;
    switch (operation->verb) {
    case WSKLAB_OP_SOCKET_CONNECT:
    case WSKLAB_OP_ACCEPT:
        log_line(target->id, "ev=done op=%s id=%u st=%08x len=0 lport=%u rport=%u cookie=%08x", name, id, status,
                 port_of(&operation->local), port_of(&operation->remote), target->cookie);
        break;
    case WSKLAB_OP_CONNECT:
        log_line(connection->id, "ev=done op=%s id=%u st=%08x len=0 lport=%u rport=%u cookie=%08x", name, id, status,
                 port_of(&connection->local), port_of(&operation->remote), connection->cookie);
        break;
    case WSKLAB_OP_RECEIVE:
        if (TWIN(CORRUPTS_RECEIVES) && information)
            operation->data[information / 2] ^= 0x20;
        log_line(connection->id, "ev=done op=%s id=%u st=%08x len=%u sum=%08x", name, id, status, (uint32_t)information,
                 fnv1a(FNV1A_START, operation->data, min(information, operation->buffer.Length)));
        break;
    case WSKLAB_OP_CONTROL: {
        char out[2 * WSKLAB_DATA + 1] = "";
        if (NT_SUCCESS(operation->status))
            hex_text(out, operation->out,
                     (uint32_t)min(operation->returned, min(operation->command.count, WSKLAB_DATA)));
        log_line(connection->id, "ev=done op=%s id=%u st=%08x len=%u out=%s", name, id, status, (uint32_t)information,
                 out);
        break;
    }
    case WSKLAB_OP_CLOSE:
        InterlockedDecrement(&wsklab.sockets);
        connection_closed(connection); /* first: who reads the line may use the number again */
        log_line(connection->id, "ev=done op=%s id=%u st=%08x len=%u", name, id, status, (uint32_t)information);
        break;
    case WSKLAB_OP_SOCKET:
        log_line(connection->id, "ev=done op=%s id=%u st=%08x len=0", name, id, status);
        break;
    default:
        log_line(connection->id, "ev=done op=%s id=%u st=%08x len=%u", name, id, status, (uint32_t)information);
    }
}

/* The completion routine of every IRP, at any IRQL up to DISPATCH_LEVEL. Starts nothing (R85). */
static NTSTATUS NTAPI completed(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    OPERATION *operation = context;
    UNREFERENCED_PARAMETER(device);
    if (InterlockedIncrement(&operation->completions) > 1) {
        log_line(operation->connection->id, "ev=again op=%s id=%u", verb_name(operation->verb), operation->command.id);
        return STATUS_MORE_PROCESSING_REQUIRED;
    }
    operation->status = irp->IoStatus.Status;
    link_operation(operation, FALSE);
    report(operation, irp->IoStatus.Information);
    InterlockedDecrement(&wsklab.irps);
    if (TWIN(SENDS_FOREVER) && operation->verb == WSKLAB_OP_SEND && !NT_SUCCESS(operation->status))
        operation->follow = FOLLOW_RESEND;
    if (TWIN(RESETS_AFTER_SEND) && operation->verb == WSKLAB_OP_SEND && NT_SUCCESS(operation->status))
        operation->follow = FOLLOW_ABORT;
    if (operation->follow != FOLLOW_NOTHING) {
        operation_hold(operation);
        worker_queue(operation);
    }
    KeSetEvent(&operation->done, IO_NO_INCREMENT, FALSE);
    operation_drop(operation);
    settle();
    return TWIN(DOUBLE_COMPLETION) ? STATUS_SUCCESS : STATUS_MORE_PROCESSING_REQUIRED;
}

/*
 * With IoSetCompletionRoutineEx the driver cannot be unloaded before its routine has returned: what waits for the last
 * IRP in DriverUnload is woken by that routine. It allocates; without memory the plain one has to do.
 */
static void set_completion(PIRP irp, OPERATION *operation)
{
    if (wsklab.set_completion &&
        NT_SUCCESS(wsklab.set_completion(wsklab.device, irp, completed, operation, TRUE, TRUE, TRUE)))
        return;
    IoSetCompletionRoutine(irp, completed, operation, TRUE, TRUE, TRUE);
}

/* Calls WSK on `socket` and gives the starter's hold away. The caller sees to R68. */
NTSTATUS operation_issue(OPERATION *operation, PWSK_SOCKET socket)
{
    if (operation->irp) {
        link_operation(operation, TRUE);
        set_completion(operation->irp, operation);
        InterlockedIncrement(&wsklab.irps);
    }
    NTSTATUS status = call_wsk(operation, socket);
    if (TWIN(TOUCHES_AFTER_CALL)) {
        operation_drop(operation); /* wrong: from here on the IRP alone holds it, and may be completed by now */
        report_call(operation, status);
        return status;
    }
    report_call(operation, status);
    if (TWIN(FREES_PENDING_IRP) && operation->verb == WSKLAB_OP_RECEIVE && status == STATUS_PENDING)
        IoFreeIrp(operation->irp);
    if (TWIN(FREES_IRP_ON_ERROR) && operation->irp && !NT_SUCCESS(status)) {
        IoFreeIrp(operation->irp); /* wrong: the IRP is completed, and freed, all the same (R86) */
        InterlockedDecrement(&wsklab.allocations);
    }
    operation_drop(operation);
    return status;
}

/* Starts the call and gives the operation away. Calls that make a socket have none to run on. */
NTSTATUS operation_start(OPERATION *operation)
{
    CONNECTION *connection = operation->connection;
    BOOLEAN bare = operation->verb == WSKLAB_OP_SOCKET || operation->verb == WSKLAB_OP_SOCKET_CONNECT;
    BOOLEAN makes = bare || operation->verb == WSKLAB_OP_ACCEPT;
    PWSK_SOCKET socket = NULL;

    if (!bare && !connection_enter(connection, &socket))
        return operation_refuse(operation, STATUS_INVALID_DEVICE_STATE);
    connection_hold(connection); /* the operation may be gone when the call returns */
    NTSTATUS status = makes && !connection_making(operation->target, operation)
                          ? operation_refuse(operation, STATUS_INVALID_DEVICE_STATE)
                          : operation_issue(operation, socket);
    if (!bare)
        connection_leave(connection);
    connection_drop(connection);
    return status;
}

/* Starts the call and waits until it is completed: for calls that end at once. PASSIVE_LEVEL. */
NTSTATUS operation_run(OPERATION *operation)
{
    LARGE_INTEGER limit = {.QuadPart = QUICK};
    operation_hold(operation);
    (void)operation_start(operation);
    NTSTATUS status = KeWaitForSingleObject(&operation->done, Executive, KernelMode, FALSE, &limit);
    status = status == STATUS_TIMEOUT ? STATUS_IO_TIMEOUT : operation->status;
    operation_drop(operation);
    return status;
}

/* IoCancelIrp for the operation `id` of this connection; TRUE when a cancel routine was there to be called. */
BOOLEAN operation_cancel(CONNECTION *connection, uint32_t id)
{
    OPERATION *found = NULL;
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    LIST_ENTRY *head = &connection->operations;
    for (LIST_ENTRY *entry = head->Flink; entry != head && !found; entry = entry->Flink) {
        OPERATION *operation = CONTAINING_RECORD(entry, OPERATION, link);
        if (operation->command.id == id)
            found = operation;
    }
    if (found)
        operation_hold(found); /* so that the IRP is not freed under IoCancelIrp */
    KeReleaseSpinLock(&connection->lock, irql);
    if (!found)
        return FALSE;
    BOOLEAN cancelled = IoCancelIrp(found->irp);
    operation_drop(found);
    return cancelled;
}
