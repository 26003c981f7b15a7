/* commands.h - see commands.c. */
#ifndef WSKLAB_COMMANDS_H
#define WSKLAB_COMMANDS_H

#include "wsklab.h"

NTSTATUS command_execute(const WSKLAB_COMMAND *command);

#endif
