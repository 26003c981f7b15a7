/* accept.h - see accept.c. */
#ifndef WSKLAB_ACCEPT_H
#define WSKLAB_ACCEPT_H

#include "wsklab.h"

extern const WSK_CLIENT_LISTEN_DISPATCH listen_events;

#endif
