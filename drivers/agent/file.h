/* file.h - get, put. */
#ifndef WSKAGENT_FILE_H
#define WSKAGENT_FILE_H

#include "call.h"

OPERATION_FUNCTION op_get, op_put;

#endif
