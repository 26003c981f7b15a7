/* system.h - ping, versions, set_time. */
#ifndef WSKAGENT_SYSTEM_H
#define WSKAGENT_SYSTEM_H

#include "call.h"

#define AGENT_VERSION 2

OPERATION_FUNCTION op_ping, op_versions, op_set_time;
void system_text(char *text, size_t size); /* "wine 8.0" or "windows 10.0.19045" */

#endif
