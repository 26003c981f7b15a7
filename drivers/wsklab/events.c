/*
 * events.c - the callbacks of a connection: WskReceiveEvent, WskDisconnectEvent, WskSendBacklogEvent.
 *
 * They run in an arbitrary thread (R17) at any IRQL up to DISPATCH_LEVEL (R14), never wait (R15), touch the
 * context with interlocked operations only, print what they were told, and return STATUS_SUCCESS (R10).
 */
#include "events.h"
#include "account.h"
#include "closing.h"
#include "connection.h"
#include "deviations.h"
#include "log.h"
#include "operation.h"
#include "start.h"
#include "worker.h"

/* FALSE: not a context to work with, and that has been said. */
BOOLEAN callback_enter(const CONNECTION *connection, const char *name)
{
    if (!connection) {
        log_line(0, "ev=late cb=%s magic=00000000", name); /* events without a context: never asked for (R42) */
        return FALSE;
    }
    if (connection->magic != MAGIC_ALIVE) {
        log_line(0, "ev=late cb=%s magic=%08x", name, connection->magic); /* R73 */
        return FALSE;
    }
    InterlockedIncrement(&wsklab.callbacks);
    return TRUE;
}

void callback_leave(void)
{
    InterlockedDecrement(&wsklab.callbacks);
}

/* What CALLBACK asked for: be busy, then start one thing without waiting for it (R16). */
void run_program(CONNECTION *connection, enum callback which)
{
    static const char *const names[CALLBACKS] = {[CALLBACK_DISCONNECT] = "disc", [CALLBACK_RECEIVE] = "recv"};
    const PROGRAM *program = ReadPointerAcquire(&connection->programs[which]);
    if (!program || (program->command.hold_us == 0 && program->command.action == WSKLAB_ACT_NONE))
        return;
    const WSKLAB_COMMAND *command = &program->command;
    if (command->hold_us)
        stall(command->hold_us);
    switch (command->action) {
    case WSKLAB_ACT_RECEIVE:
        (void)start_receives(connection, command);
        break;
    case WSKLAB_ACT_SEND:
        (void)start_sends(connection, command);
        break;
    case WSKLAB_ACT_DISCONNECT:
        (void)start_disconnect(connection, command);
        break;
    case WSKLAB_ACT_CLOSE:
        (void)connection_close(connection, command->id);
        break;
    }
    log_line(connection->id, "ev=cbout cb=%s", names[which]);
}

/* Everything that is wrong on purpose here: see drivers/twins.yaml. */
static void deviate(CONNECTION *connection, BOOLEAN abortive)
{
    if (TWIN(CRASHES))
        *(volatile uint32_t *)NULL = connection->id; // cppcheck-suppress nullPointer
    if (TWIN(FIN_AS_ABORT) && !abortive)
        (void)start_disconnect(connection, &(WSKLAB_COMMAND){.flags = WSK_FLAG_ABORTIVE});
    if (TWIN(HALF_CLOSE_CUTS) && !abortive)
        (void)start_disconnect(connection, &(WSKLAB_COMMAND){.flags = 0});
    if (TWIN(REPEATS_LATE)) {
        OPERATION *again = operation_create(connection, WSKLAB_OP_CALLBACK,
                                            &(WSKLAB_COMMAND){.flags = abortive ? WSK_FLAG_ABORTIVE : 0}, FALSE);
        if (again) {
            again->follow = FOLLOW_REPEAT;
            worker_queue(again);
        }
    }
    if (TWIN(SENDS_FOREVER) && abortive)
        (void)start_sends(connection, &(WSKLAB_COMMAND){.length = 1, .count = 1});
    deviate_strictly(connection);
    if (TWIN(WAITS_IN_CALLBACK)) {
        (void)connection_close(connection, 0);
        while (connection->magic == MAGIC_ALIVE) /* the close waits for this callback (R70) */
            sleep_ms(100);
    }
}

static NTSTATUS WSKAPI on_disconnect(PVOID context, ULONG told)
{
    CONNECTION *connection = context;
    uint32_t flags = told;
    KIRQL irql = current_irql();
    if (!callback_enter(connection, "disc"))
        return STATUS_SUCCESS;
    if (TWIN(IGNORES_FLAG) || (TWIN(RACES_FLAG) && race_lost()))
        flags &= ~(uint32_t)WSK_FLAG_ABORTIVE;
    BOOLEAN abortive = (flags & WSK_FLAG_ABORTIVE) != 0;
    LONG count = InterlockedIncrement(&connection->disconnects);
    LONG depth = InterlockedIncrement(&connection->in_disconnect);
    if (abortive)
        InterlockedExchange(&connection->aborted, 1);
    BOOLEAN lost = TWIN(LOSES_WITHOUT_RECEIVE) && IsListEmpty(&connection->operations);
    for (uint32_t times = lost ? 0 : TWIN(REPEATS_EVENT) ? 2 : 1; times > 0; times--)
        log_line(connection->id, "ev=disc flags=%08x ab=%u disp=%u irql=%u cpu=%u n=%u depth=%u rdepth=%u cookie=%08x",
                 flags, abortive, (flags & WSK_FLAG_AT_DISPATCH_LEVEL) != 0, irql,
                 (uint32_t)KeGetCurrentProcessorNumberEx(NULL), (uint32_t)count, (uint32_t)depth,
                 (uint32_t)ReadAcquire(&connection->in_receive), connection->cookie);
    run_program(connection, CALLBACK_DISCONNECT);
    deviate(connection, abortive);
    InterlockedDecrement(&connection->in_disconnect);
    callback_leave();
    return TWIN(RETURNS_FAILURE) ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
}

/* FNV-1a over all bytes of the list. WSK maps what it indicates, so the mapping is only read here. */
static uint32_t sum_of(const WSK_DATA_INDICATION *list)
{
    uint32_t sum = FNV1A_START;
    for (; list; list = list->Next) {
        SIZE_T left = list->Buffer.Length;
        SIZE_T offset = TWIN(IGNORES_OFFSET) ? 0 : list->Buffer.Offset;
        for (PMDL mdl = list->Buffer.Mdl; mdl && left; mdl = mdl->Next) {
            SIZE_T here = min(MmGetMdlByteCount(mdl) - offset, left);
            const UCHAR *bytes = MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);
            if (!bytes)
                return 0;
            sum = fnv1a(sum, bytes + offset, here);
            left -= here;
            offset = 0;
        }
    }
    return sum;
}

static NTSTATUS WSKAPI on_receive(PVOID context, ULONG flags, PWSK_DATA_INDICATION list, SIZE_T indicated,
                                  SIZE_T *accepted)
{
    CONNECTION *connection = context;
    KIRQL irql = current_irql();
    if (!callback_enter(connection, "recv"))
        return STATUS_SUCCESS;
    LONG depth = InterlockedIncrement(&connection->in_receive);
    const PROGRAM *program = ReadPointerAcquire(&connection->programs[CALLBACK_RECEIVE]);
    uint32_t take = program && list ? program->command.take : WSKLAB_TAKE_ALL;
    uint32_t sum = sum_of(list); /* before the list may be given back by another thread */
    SIZE_T took = list ? indicated : 0;
    NTSTATUS status = STATUS_SUCCESS;
    BOOLEAN kept = FALSE;

    switch (take) {
    case WSKLAB_TAKE_PART: /* R53 */
        took = min(indicated, program->command.take_length);
        if (took < indicated)
            *accepted = TWIN(TAKES_FIRST_BUFFER) ? min(took, list->Buffer.Length) : took;
        break;
    case WSKLAB_TAKE_REFUSE: /* R52 */
        took = 0;
        status = STATUS_DATA_NOT_ACCEPTED;
        break;
    case WSKLAB_TAKE_RETAIN: /* R54 */
        kept = connection_retain(connection, list);
        if (kept)
            status = STATUS_PENDING;
        break;
    }
    log_line(connection->id,
             "ev=recv flags=%08x len=%u took=%u null=%u keep=%u irql=%u depth=%u ddepth=%u cookie=%08x sum=%08x",
             (uint32_t)flags, (uint32_t)indicated, (uint32_t)took, list == NULL, kept, irql, (uint32_t)depth,
             (uint32_t)ReadAcquire(&connection->in_disconnect), connection->cookie, sum);
    run_program(connection, CALLBACK_RECEIVE);
    InterlockedDecrement(&connection->in_receive);
    callback_leave();
    return status;
}

static NTSTATUS WSKAPI on_backlog(PVOID context, SIZE_T size)
{
    CONNECTION *connection = context;
    KIRQL irql = current_irql();
    if (!callback_enter(connection, "backlog"))
        return STATUS_SUCCESS;
    log_line(connection->id, "ev=backlog size=%u irql=%u cookie=%08x", (uint32_t)size, irql, connection->cookie);
    callback_leave();
    return STATUS_SUCCESS;
}

const WSK_CLIENT_CONNECTION_DISPATCH connection_events = {
    .WskReceiveEvent = on_receive,
    .WskDisconnectEvent = on_disconnect,
    .WskSendBacklogEvent = on_backlog,
};
