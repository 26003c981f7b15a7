/* operation.h - see operation.c. */
#ifndef WSKLAB_OPERATION_H
#define WSKLAB_OPERATION_H

#include "wsklab.h"

OPERATION *operation_create(CONNECTION *connection, uint32_t verb, const WSKLAB_COMMAND *command, BOOLEAN irp);
NTSTATUS operation_give_buffer(OPERATION *operation, uint32_t length);
NTSTATUS operation_start(OPERATION *operation);
NTSTATUS operation_run(OPERATION *operation);
NTSTATUS operation_refuse(OPERATION *operation, NTSTATUS status);
NTSTATUS refuse(uint32_t connection, uint32_t verb, uint32_t id, NTSTATUS status);
NTSTATUS operation_issue(OPERATION *operation, PWSK_SOCKET socket);
void operation_hold(OPERATION *operation);
BOOLEAN operation_cancel(CONNECTION *connection, uint32_t id);
void operation_drop(OPERATION *operation);
const char *verb_name(uint32_t verb);

#endif
