/* start.h - see start.c. */
#ifndef WSKLAB_START_H
#define WSKLAB_START_H

#include "wsklab.h"

void follow_connect(CONNECTION *connection, const WSKLAB_COMMAND *command);
NTSTATUS start_events(CONNECTION *connection, const WSKLAB_COMMAND *command, uint32_t verb);
NTSTATUS start_receives(CONNECTION *connection, const WSKLAB_COMMAND *command);
NTSTATUS start_sends(CONNECTION *connection, const WSKLAB_COMMAND *command);
NTSTATUS start_disconnect(CONNECTION *connection, const WSKLAB_COMMAND *command);

#endif
