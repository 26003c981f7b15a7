/* account.h - see account.c. */
#ifndef WSKLAB_ACCOUNT_H
#define WSKLAB_ACCOUNT_H

#include "wsklab.h"

PVOID allocate(SIZE_T size);
void release_memory(PVOID memory);
void kept(LONG count);
void settle(void);
void wait_until_clean(void);
KIRQL current_irql(void);
void stall(uint32_t microseconds);
void sleep_ms(uint32_t milliseconds);

#endif
