/* call.h - see call.c. */
#ifndef WSKLAB_CALL_H
#define WSKLAB_CALL_H

#include "wsklab.h"

NTSTATUS call_wsk(OPERATION *operation, PWSK_SOCKET socket);
NTSTATUS call_static_events(const WSKLAB_COMMAND *command);
void call_release(PWSK_SOCKET socket, PWSK_DATA_INDICATION list);
void set_event_control(OPERATION *operation);
PVOID accepted_context(CONNECTION *connection);

#endif
