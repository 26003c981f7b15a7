/* events.h - see events.c. */
#ifndef WSKLAB_EVENTS_H
#define WSKLAB_EVENTS_H

#include "wsklab.h"

BOOLEAN callback_enter(const CONNECTION *connection, const char *name);
void callback_leave(void);
void run_program(CONNECTION *connection, enum callback which);
extern const WSK_CLIENT_CONNECTION_DISPATCH connection_events;

#endif
