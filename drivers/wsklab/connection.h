/* connection.h - see connection.c. */
#ifndef WSKLAB_CONNECTION_H
#define WSKLAB_CONNECTION_H

#include "wsklab.h"

void connections_start(void);
void connections_stop(void);
CONNECTION *connection_create(uint32_t id, uint32_t kind, uint32_t cookie);
BOOLEAN connection_publish(CONNECTION *connection);
CONNECTION *connection_find(uint32_t id);
CONNECTION *connection_next_open(uint32_t *bucket);
void connection_hold(CONNECTION *connection);
void connection_drop(CONNECTION *connection);
BOOLEAN connection_enter(CONNECTION *connection, PWSK_SOCKET *socket);
void connection_leave(CONNECTION *connection);
BOOLEAN connection_making(CONNECTION *connection, OPERATION *maker);
void connection_made(CONNECTION *connection, PWSK_SOCKET socket);
void connection_closed(CONNECTION *connection);
PWSK_DATA_INDICATION connection_take_retained(CONNECTION *connection);
BOOLEAN connection_retain(CONNECTION *connection, PWSK_DATA_INDICATION list);

#endif
