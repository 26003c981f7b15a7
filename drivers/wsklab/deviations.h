/* deviations.h - see deviations.c. */
#ifndef WSKLAB_DEVIATIONS_H
#define WSKLAB_DEVIATIONS_H

#include "wsklab.h"

/* One time in twenty, by the clock, as a race would be lost. */
BOOLEAN race_lost(void);
void deviate_strictly(CONNECTION *connection);

#endif
