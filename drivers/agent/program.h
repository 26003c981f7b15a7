/* program.h - run. */
#ifndef WSKAGENT_PROGRAM_H
#define WSKAGENT_PROGRAM_H

#include "call.h"

OPERATION_FUNCTION op_run;

#endif
