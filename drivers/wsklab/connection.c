/*
 * connection.c - one socket and its context: found by number, counted in while it is used, freed last.
 *
 * The rule that shapes this file is R68: WskCloseSocket must not be called while another function of the same
 * socket runs in another thread. So every call is bracketed by connection_enter and connection_leave.
 */
#include "connection.h"
#include "account.h"
#include "log.h"

#define BUCKETS 1024u
#define GRAVES 64u /* closed contexts kept in memory, so that a callback that comes too late is seen (R73) */

static LIST_ENTRY table[BUCKETS];
static LIST_ENTRY graves;
static uint32_t grave_count;
static KSPIN_LOCK table_lock; /* guards the table and the graves */

void connections_start(void)
{
    KeInitializeSpinLock(&table_lock);
    InitializeListHead(&graves);
    for (uint32_t i = 0; i < BUCKETS; i++)
        InitializeListHead(&table[i]);
}

/* Every connection must be closed. */
void connections_stop(void)
{
    kept(-(LONG)grave_count);
    grave_count = 0;
    while (!IsListEmpty(&graves))
        release_memory(CONTAINING_RECORD(RemoveHeadList(&graves), CONNECTION, link));
}

static CONNECTION *look_up(uint32_t id)
{
    LIST_ENTRY *head = &table[id % BUCKETS];
    for (LIST_ENTRY *entry = head->Flink; entry != head; entry = entry->Flink) {
        CONNECTION *connection = CONTAINING_RECORD(entry, CONNECTION, link);
        if (connection->id == id)
            return connection;
    }
    return NULL;
}

/* Not to be found yet: connection_publish does that, or two drops. NULL when memory is short. */
CONNECTION *connection_create(uint32_t id, uint32_t kind, uint32_t cookie)
{
    CONNECTION *connection = allocate(sizeof *connection);
    if (!connection)
        return NULL;
    connection->magic = MAGIC_ALIVE;
    connection->id = id;
    connection->kind = kind;
    connection->cookie = cookie;
    connection->references = 2; /* the table's and the caller's */
    KeInitializeSpinLock(&connection->lock);
    InitializeListHead(&connection->operations);
    InterlockedIncrement(&wsklab.connections);
    return connection;
}

/* FALSE: there is one of that number. */
BOOLEAN connection_publish(CONNECTION *connection)
{
    KIRQL irql;
    KeAcquireSpinLock(&table_lock, &irql);
    BOOLEAN taken = look_up(connection->id) != NULL;
    if (!taken)
        InsertTailList(&table[connection->id % BUCKETS], &connection->link);
    KeReleaseSpinLock(&table_lock, irql);
    return !taken;
}

/* NULL when there is none of that number; else the caller drops it. */
CONNECTION *connection_find(uint32_t id)
{
    KIRQL irql;
    KeAcquireSpinLock(&table_lock, &irql);
    CONNECTION *connection = look_up(id);
    if (connection)
        connection_hold(connection);
    KeReleaseSpinLock(&table_lock, irql);
    return connection;
}

/* Goes through the table from bucket 0 on: the next connection nobody has asked to close, held; NULL at the end. */
CONNECTION *connection_next_open(uint32_t *bucket)
{
    for (; *bucket < BUCKETS; ++*bucket) {
        LIST_ENTRY *head = &table[*bucket];
        CONNECTION *found = NULL;
        KIRQL irql;
        KeAcquireSpinLock(&table_lock, &irql);
        for (LIST_ENTRY *entry = head->Flink; entry != head && !found; entry = entry->Flink) {
            CONNECTION *connection = CONTAINING_RECORD(entry, CONNECTION, link);
            if (!ReadAcquire(&connection->closing))
                found = connection;
        }
        if (found)
            connection_hold(found);
        KeReleaseSpinLock(&table_lock, irql);
        if (found)
            return found;
    }
    return NULL;
}

void connection_hold(CONNECTION *connection)
{
    InterlockedIncrement(&connection->references);
}

static void bury(CONNECTION *connection)
{
    CONNECTION *oldest = NULL;
    KIRQL irql;
    KeAcquireSpinLock(&table_lock, &irql);
    InsertTailList(&graves, &connection->link);
    if (++grave_count > GRAVES) {
        oldest = CONTAINING_RECORD(RemoveHeadList(&graves), CONNECTION, link);
        grave_count--;
    }
    KeReleaseSpinLock(&table_lock, irql);
    kept(1);
    if (oldest) {
        kept(-1);
        release_memory(oldest);
    }
}

void connection_drop(CONNECTION *connection)
{
    LONG left = InterlockedDecrement(&connection->references);
    if (left < 0) /* it lies among the graves, or did */
        log_line(0, "ev=unheld refs=%u", (uint32_t)-left);
    if (left != 0)
        return;
    for (uint32_t i = 0; i < CALLBACKS; i++) {
        while (connection->programs[i]) {
            PROGRAM *program = connection->programs[i];
            connection->programs[i] = program->older;
            release_memory(program);
        }
    }
    bury(connection);
    InterlockedDecrement(&wsklab.connections);
    settle();
}

/* Brackets a call of one of the socket's functions; FALSE: there is no socket, or it is being closed. */
BOOLEAN connection_enter(CONNECTION *connection, PWSK_SOCKET *socket)
{
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    BOOLEAN may = connection->socket && (!connection->closing || TWIN(USES_AFTER_CLOSE));
    if (may) {
        connection->calls++;
        *socket = connection->socket;
    }
    KeReleaseSpinLock(&connection->lock, irql);
    return may;
}

void connection_leave(CONNECTION *connection)
{
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    connection->calls--;
    KeReleaseSpinLock(&connection->lock, irql);
    upcalls.idle(connection);
}

/* `maker` is about to ask WSK for this connection's socket; FALSE: CLOSE was quicker. */
BOOLEAN connection_making(CONNECTION *connection, OPERATION *maker)
{
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    BOOLEAN may = !connection->closing && !connection->socket && !connection->maker;
    if (may)
        connection->maker = maker;
    KeReleaseSpinLock(&connection->lock, irql);
    return may;
}

/* The maker is done; `socket` is NULL when it failed. A close that waits is not started here: see R85. */
void connection_made(CONNECTION *connection, PWSK_SOCKET socket)
{
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    connection->maker = NULL;
    connection->socket = socket;
    KeReleaseSpinLock(&connection->lock, irql);
    if (socket)
        InterlockedIncrement(&wsklab.sockets);
}

/* The close has completed: no callback can come any more (R70), the number is free again. */
void connection_closed(CONNECTION *connection)
{
    KIRQL irql;
    KeAcquireSpinLock(&table_lock, &irql);
    RemoveEntryList(&connection->link);
    KeReleaseSpinLock(&table_lock, irql);
    connection->magic = MAGIC_CLOSED;
    connection_drop(connection);
}

/* Keeps an indication list (R54); FALSE: full, or being closed, so the caller must not keep it. */
BOOLEAN connection_retain(CONNECTION *connection, PWSK_DATA_INDICATION list)
{
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    BOOLEAN may = !connection->closing && connection->retained_count < RETAINED;
    if (may)
        connection->retained[connection->retained_count++] = list;
    KeReleaseSpinLock(&connection->lock, irql);
    if (may)
        InterlockedIncrement(&wsklab.indications);
    return may;
}

/* One kept list, which the caller now must give back to WSK; NULL when there is none. */
PWSK_DATA_INDICATION connection_take_retained(CONNECTION *connection)
{
    PWSK_DATA_INDICATION list = NULL;
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    if (connection->retained_count > 0)
        list = connection->retained[--connection->retained_count];
    KeReleaseSpinLock(&connection->lock, irql);
    return list;
}
