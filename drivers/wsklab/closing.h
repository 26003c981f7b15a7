/* closing.h - see closing.c. */
#ifndef WSKLAB_CLOSING_H
#define WSKLAB_CLOSING_H

#include "wsklab.h"

NTSTATUS connection_open(uint32_t id, uint32_t kind, uint32_t cookie, CONNECTION **made);
NTSTATUS connection_close(CONNECTION *connection, uint32_t id);
void connection_try_close(CONNECTION *connection);
void close_all(uint32_t id);
void sweep(uint32_t id);

#endif
