/* windows_only.h - the system's header, without what nobody here uses. */
#ifndef WSKAGENT_WINDOWS_ONLY_H
#define WSKAGENT_WINDOWS_ONLY_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#endif
