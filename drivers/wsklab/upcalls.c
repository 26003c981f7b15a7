/*
 * upcalls.c - the one place where what is below learns what is above.
 */
#include "accept.h"
#include "closing.h"
#include "events.h"
#include "follow.h"

const UPCALLS upcalls = {
    .connection = &connection_events,
    .listen = &listen_events,
    .idle = connection_try_close,
    .follow = follow,
    .woken = follow_clean,
};
