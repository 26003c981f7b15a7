/* deviations.h - see deviations.c. */
#ifndef WSKLAB_DEVIATIONS_H
#define WSKLAB_DEVIATIONS_H

#include "wsklab.h"

void deviate_strictly(CONNECTION *connection);

#endif
