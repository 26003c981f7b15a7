/* worker.h - see worker.c. */
#ifndef WSKLAB_WORKER_H
#define WSKLAB_WORKER_H

#include "wsklab.h"

NTSTATUS worker_start(void);
void worker_stop(void);
void worker_queue(OPERATION *operation);
void worker_wake(void);

#endif
