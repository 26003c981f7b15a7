/*
 * follow.c - what follows a completion, outside of its routine (R85). All of it runs in the worker's thread.
 */
#include "follow.h"
#include "account.h"
#include "closing.h"
#include "log.h"
#include "operation.h"
#include "start.h"

static void work(OPERATION *operation)
{
    CONNECTION *connection = operation->target;
    if (operation->follow == FOLLOW_RESEND) { /* only the twin that sends for ever */
        sleep_ms(20);
        (void)start_sends(connection, &operation->command);
        return;
    }
    if (operation->follow == FOLLOW_REPEAT) { /* only the twin that tells of a disconnect again, and late */
        sleep_ms(200);
        log_line(connection->id, "ev=disc flags=%08x ab=%u disp=0 irql=0 cpu=0 n=2 depth=1 rdepth=0 cookie=%08x",
                 operation->command.flags, operation->command.flags & WSK_FLAG_ABORTIVE, connection->cookie);
        return;
    }
    if (operation->follow == FOLLOW_ABORT) { /* only the twin that resets what it has sent on */
        (void)start_disconnect(connection, &(WSKLAB_COMMAND){.flags = WSK_FLAG_ABORTIVE});
        return;
    }
    connection_try_close(connection); /* a close that came while the socket was being made */
    if (NT_SUCCESS(operation->status))
        follow_connect(connection, &operation->command);
}

void follow(OPERATION *operation)
{
    work(operation);
    operation_drop(operation);
}

void follow_clean(void)
{
    if (ReadAcquire(&wsklab.cleaning))
        sweep(0); /* a connection accepted after CLOSE_ALL had passed its place in the table */
}
