/*
 * storm.c - the driver and the stand-in provider as one Linux program, under the sanitizers.
 *
 * Two threads give commands for their own connections to a real peer in this process, which ends them with FIN
 * or reset at random, while connections are closed, cancelled and used at the same time; a CLOSE_ALL falls into
 * the middle. Then everything must be back. Usage: storm [ROUNDS [FILE]], where the file
 * has what a scenario asks of the stand-in's strict mode; exit code 0 when all is back.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../account.h"
#include "../closing.h"
#include "../commands.h"
#include "../connection.h"
#include "../log.h"
#include "../worker.h"
#include "peer.h"
#include "strict.h"

DRIVER wsklab; /* what driver.c has in the kernel */
static const WSK_CLIENT_DISPATCH client_dispatch = {.Version = MAKE_WSK_VERSION(1, 0)};

static unsigned port, rounds;
static volatile LONG events, wrong;

/* IoSetCompletionRoutineEx as documents tell of it: it keeps a note of its own until the routine has returned, or fails. */
typedef struct NOTE {
    PIO_COMPLETION_ROUTINE routine;
    PVOID context;
} NOTE;

static volatile LONG asked, notes;

static NTSTATUS NTAPI complete_note(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    NOTE note = *(NOTE *)context;
    free(context);
    NTSTATUS status = note.routine(device, irp, note.context);
    InterlockedDecrement(&notes);
    return status;
}

static NTSTATUS NTAPI set_completion(PDEVICE_OBJECT device, PIRP irp, PIO_COMPLETION_ROUTINE routine, PVOID context,
                                     BOOLEAN success, BOOLEAN error, BOOLEAN cancel)
{
    (void)device;
    if (InterlockedIncrement(&asked) % 5 == 0)
        return STATUS_INSUFFICIENT_RESOURCES;
    NOTE *note = malloc(sizeof *note);
    *note = (NOTE){routine, context};
    InterlockedIncrement(&notes);
    IoSetCompletionRoutine(irp, complete_note, note, success, error, cancel);
    return STATUS_SUCCESS;
}

/* A line says that a connection is closed, and the number still finds it: the next command would be refused for another reason. */
static BOOLEAN found_closed(const char *text)
{
    const char *conn = strstr(text, " conn=");
    if (!conn || !strstr(text, " ev=done op=close "))
        return FALSE;
    CONNECTION *connection = connection_find((uint32_t)strtoul(conn + 6, NULL, 10));
    if (connection)
        connection_drop(connection);
    return connection != NULL;
}

static void on_line(const char *text)
{
    if (strstr(text, " ev=disc "))
        InterlockedIncrement(&events);
    BOOLEAN bad = strstr(text, " ev=late ") || strstr(text, " ev=again ") ||
                  (strstr(text, "WSKPROV") && !strstr(text, "rule=R65")); /* R65: the storm does that on purpose */
    bad = bad || found_closed(text);
    if (bad)
        InterlockedIncrement(&wrong);
    if (bad || getenv("STORM_PRINT"))
        fputs(text, stderr);
}

static void fill(uint8_t *address, unsigned to_port)
{
    ADDRESS made = {.v4 = {.sin_family = AF_INET, .sin_addr.S_un.S_un_b = {127, 0, 0, 1}}};
    made.bytes[2] = (uint8_t)(to_port >> 8);
    made.bytes[3] = (uint8_t)to_port;
    memcpy(address, made.bytes, WSKLAB_ADDRESS);
}

static NTSTATUS give(uint32_t op, WSKLAB_COMMAND command)
{
    command.size = sizeof command;
    command.version = WSKLAB_PROTOCOL;
    command.op = (uint16_t)op;
    fill(command.local, 0);
    fill(command.remote, port);
    return command_execute(&command);
}

static void *storm(void *argument)
{
    uint32_t base = (uint32_t)(uintptr_t)argument * 100000;
    unsigned seed = base;
    for (uint32_t i = 1; i <= rounds; i++) {
        uint32_t conn = base + i, id = 10 * i;
        uint32_t op = rand_r(&seed) % 2 ? WSKLAB_OP_OPEN : WSKLAB_OP_SOCKET_CONNECT;
        give(op, (WSKLAB_COMMAND){
                     .id = id, .conn = conn, .cookie = conn, .mask = 0xc0, .count = rand_r(&seed) % 3, .length = 3});
        give(WSKLAB_OP_CALLBACK, (WSKLAB_COMMAND){.conn = conn,
                                                  .mask = 0xc0,
                                                  .hold_us = 50,
                                                  .action = rand_r(&seed) % 5,
                                                  .take = rand_r(&seed) % 4,
                                                  .length = 8,
                                                  .count = 1});
        if (rand_r(&seed) % 3 == 0)
            sleep_ms(rand_r(&seed) % 4); /* so that commands fall into every phase; nothing depends on it */
        give(WSKLAB_OP_SEND, (WSKLAB_COMMAND){.id = id + 3, .conn = conn, .length = 100, .count = 2});
        give(WSKLAB_OP_CANCEL, (WSKLAB_COMMAND){.id = id + 5, .conn = conn, .target = id});
        if (rand_r(&seed) % 2)
            give(WSKLAB_OP_DISCONNECT, (WSKLAB_COMMAND){.id = id + 6, .conn = conn, .flags = rand_r(&seed) % 2});
        give(WSKLAB_OP_RELEASE, (WSKLAB_COMMAND){.conn = conn});
        if (rand_r(&seed) % 3)
            give(WSKLAB_OP_CLOSE, (WSKLAB_COMMAND){.id = id + 7, .conn = conn});
        if (i == rounds / 2 && base == 100000)
            close_all(1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    WSK_CLIENT_NPI client = {.Dispatch = &client_dispatch};
    pthread_t threads[2];
    rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 100;
    if (argc > 2) {
        strict_settings_from(argv[2]);
        strict_turn_on(STRICT_IRQL);
    }
    shim_on_debug(on_line);
    KeInitializeEvent(&wsklab.clean, NotificationEvent, FALSE);
    wsklab.set_completion = set_completion;
    connections_start();
    if (log_start() || worker_start() || WskRegister(&client, &wsklab.registration) ||
        WskCaptureProviderNPI(&wsklab.registration, 1000, &wsklab.provider))
        return 2;
    port = peer_start();

    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, storm, (void *)(i + 1));
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    close_all(2);
    wait_until_clean();

    peer_stop();
    worker_stop();
    WskReleaseProviderNPI(&wsklab.registration);
    WskDeregister(&wsklab.registration);
    connections_stop();
    log_stop();
    printf("sockets=%d irps=%d indications=%d connections=%d allocs=%d notes=%d wrong=%d events=%d\n", wsklab.sockets,
           wsklab.irps, wsklab.indications, wsklab.connections, wsklab.allocations, notes, wrong, events);
    return wsklab.sockets || wsklab.irps || wsklab.indications || wsklab.connections || wsklab.allocations || notes ||
           wrong || !events || asked < 5;
}
