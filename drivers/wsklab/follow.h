/* follow.h - see follow.c. */
#ifndef WSKLAB_FOLLOW_H
#define WSKLAB_FOLLOW_H

#include "wsklab.h"

void follow(OPERATION *operation);
void follow_clean(void);

#endif
