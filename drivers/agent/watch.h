/* watch.h - a thread that is stuck in a driver is replaced. */
#ifndef WSKAGENT_WATCH_H
#define WSKAGENT_WATCH_H

#include "windows_only.h"

/*
 * Between begin and end the thread is given up after `limit_ms`; end does not return to a thread given up. `replace` then
 * runs in its place, once, and begins with a watch of its own.
 */
bool watch_start(void (*replace)(void));
void watch_begin(DWORD limit_ms);
void watch_end(void);

#endif
