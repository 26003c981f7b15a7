/* service.h - service. */
#ifndef WSKAGENT_SERVICE_H
#define WSKAGENT_SERVICE_H

#include "call.h"

OPERATION_FUNCTION op_service;

#endif
